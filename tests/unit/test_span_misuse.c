/*
 * What becomes of calls that make no sense, and of spans that there is no room for.
 */
#include "test_span_capture_fixture.h"

#include "span_table.h"

/* --- wrong use --- */

START_TEST(exit_without_enter_is_counted)
{
	uint64_t entered = create("entered", SP_SPAN_NONE);
	uint64_t span = create("span", SP_SPAN_NONE);

	/* Also on a thread that never entered any. */
	sp_span_exit(span);
	sp_span_enter(entered, 0);
	sp_span_exit(span);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 2);
	ck_assert_str_eq(current_name(), "entered");
	ck_assert_uint_eq(busy_of(span), 0);
	ck_assert_uint_eq(entered_now(span), 0);
	sp_span_exit(entered);
	ck_assert_ptr_null(current_name());
}
END_TEST

START_TEST(exit_out_of_order_ends_that_stay_alone)
{
	uint64_t spans[3] = {create("a", SP_SPAN_NONE), create("b", SP_SPAN_NONE),
			     create("c", SP_SPAN_NONE)};

	for (unsigned int i = 0; i < 3; i++)
		sp_span_enter(spans[i], 0);
	sp_span_exit(spans[1]);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 1);
	ck_assert_str_eq(current_name(), "c");
	ck_assert_uint_eq(entered_now(spans[1]), 0);
	sp_span_exit(spans[2]);
	ck_assert_str_eq(current_name(), "a");
	sp_span_exit(spans[0]);
	ck_assert_ptr_null(current_name());
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 1);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_uint_gt(busy_of(spans[i]), 0);
}
END_TEST

START_TEST(close_while_entered_waits_for_the_exit)
{
	uint64_t span = create("span", SP_SPAN_NONE);

	sp_span_enter(span, 0);
	sp_span_close(span);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 1);
	ck_assert_uint_eq(state_of(span), SP_SPAN_OPEN);
	drain();
	ck_assert_uint_eq(state_of(span), SP_SPAN_OPEN);
	spend_ticks();
	sp_span_exit(span);
	ck_assert_uint_eq(state_of(span), SP_SPAN_CLOSED);
	ck_assert_uint_ge(busy_of(span), 2000);
	ck_assert_uint_ge(sp_atomic_value(&span_of(span)->closed_ticks),
			  span_of(span)->created_ticks + busy_of(span));
	drain();
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->spans), 1);
}
END_TEST

START_TEST(closed_span_is_not_used_again)
{
	uint64_t span = create("span", SP_SPAN_NONE);

	sp_span_close(span);
	sp_span_enter(span, 0);
	sp_span_close(span);
	sp_span_exit(span);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 3);
	ck_assert_ptr_null(current_name());
	ck_assert_uint_eq(sp_atomic_value(&span_of(span)->entered), 0);
}
END_TEST

START_TEST(old_handle_never_reaches_the_entrys_next_span)
{
	uint64_t old = create("old", SP_SPAN_NONE), young;

	sp_span_close(old);
	drain();
	young = create("young", SP_SPAN_NONE);
	ck_assert_uint_eq((uint32_t)young, (uint32_t)old);
	ck_assert_uint_ne(young, old);
	sp_span_enter(old, 0);
	ck_assert_ptr_null(current_name());
	sp_span_close(old);
	sp_span_follows(old, young);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 3);
	ck_assert_uint_eq(state_of(young), SP_SPAN_OPEN);
	ck_assert_uint_eq(span_of(young)->follows, SP_SPAN_NONE);
	/* A parent that is gone is none. */
	ck_assert_uint_eq(span_of(create("child", old))->parent, SP_SPAN_NONE);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 4);
}
END_TEST

START_TEST(no_span_is_a_span_that_does_nothing)
{
	sp_span_enter(SP_SPAN_NONE, 0);
	sp_span_exit(SP_SPAN_NONE);
	sp_span_close(SP_SPAN_NONE);
	sp_span_follows(SP_SPAN_NONE, 1);
	sp_span_label(SP_SPAN_NONE, "key", "value");
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
	/* Handles that were never given out. */
	sp_span_enter(UINT64_C(7) << 32 | 7, 0);
	sp_span_close(UINT64_C(7) << 32 | 7);
	sp_span_enter(UINT64_C(7) << 32, 0);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 3);
}
END_TEST

/* An index, a descriptor, an identifier of its own: what a program takes for a handle. */
START_TEST(small_number_is_no_span)
{
	uint64_t number, span = create("span", SP_SPAN_NONE);

	for (number = 1; number <= 3; number++) {
		sp_span_close(number);
		sp_span_enter(number, 0);
		sp_span_exit(number);
		sp_span_follows(number, span);
		sp_span_follows(span, number);
	}
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 12);
	ck_assert_ptr_null(current_name());
	ck_assert_uint_eq(state_of(span), SP_SPAN_OPEN);
}
END_TEST

/* Another thread has taken it, and not come to filling it in. */
START_TEST(entry_that_is_being_made_is_no_span)
{
	uint32_t index = UINT32_MAX;
	struct sp_span *span = sp_span_take(&index);

	ck_assert_ptr_nonnull(span);
	ck_assert_ptr_null(sp_span_find(index + 1));
	sp_span_enter(index + 1, 0);
	ck_assert_ptr_null(current_name());
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 1);
}
END_TEST

START_TEST(span_may_follow_another)
{
	uint64_t cause = create("cause", SP_SPAN_NONE);
	uint64_t span = create("span", SP_SPAN_NONE);

	sp_span_follows(span, cause);
	ck_assert_uint_eq(span_of(span)->follows, cause);
}
END_TEST

/* --- room --- */

START_TEST(entries_are_used_again_as_soon_as_they_are_free)
{
	uint64_t capacity = recorded()->header->sections[SP_SECTION_SPANS].capacity_items;

	for (uint64_t i = 0; i < 2 * capacity; i++) {
		uint64_t span = create("span", SP_SPAN_NONE);

		ck_assert_uint_ne(span, SP_SPAN_NONE);
		sp_span_enter(span, 0);
		sp_span_exit(span);
		sp_span_close(span);
	}
	drain();
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->spans),
			  2 * capacity);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_NO_ROOM), 0);
	/* Short spans need few entries. */
	ck_assert_uint_lt(sp_recording_used(recorded(), SP_SECTION_SPANS), capacity / 4);
}
END_TEST

START_TEST(spans_without_room_are_counted)
{
	uint64_t capacity = recorded()->header->sections[SP_SECTION_SPANS].capacity_items;
	uint64_t refused = 0;

	/* Nobody drains: storage is taken here, as long as there is any. */
	sp_capture.drain = NULL;
	for (uint64_t i = 0; i < capacity + 1000; i++) {
		uint64_t span = create("span", SP_SPAN_NONE);

		refused += span == SP_SPAN_NONE;
		sp_span_enter(span, 0);
		sp_span_exit(span);
	}
	ck_assert_uint_eq(refused, 1000);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_NO_ROOM), refused);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
}
END_TEST

START_TEST(nothing_happens_where_nothing_is_recorded)
{
	uint64_t span = create("span", SP_SPAN_NONE);

	sp_capture_set_state(SP_CAPTURE_OFF);
	ck_assert_uint_eq(create("span", SP_SPAN_NONE), SP_SPAN_NONE);
	sp_span_enter(span, 0);
	sp_span_exit(span);
	sp_span_close(span);
	sp_span_settle();
	ck_assert_uint_eq(sp_atomic_value(&span_of(span)->entered), 0);
	ck_assert_uint_eq(state_of(span), SP_SPAN_OPEN);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_misuse");
	TCase *tc = tcase_create("span_misuse");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, begin_plain_spans, end_spans);
	tcase_add_test(tc, exit_without_enter_is_counted);
	tcase_add_test(tc, exit_out_of_order_ends_that_stay_alone);
	tcase_add_test(tc, close_while_entered_waits_for_the_exit);
	tcase_add_test(tc, closed_span_is_not_used_again);
	tcase_add_test(tc, old_handle_never_reaches_the_entrys_next_span);
	tcase_add_test(tc, no_span_is_a_span_that_does_nothing);
	tcase_add_test(tc, small_number_is_no_span);
	tcase_add_test(tc, entry_that_is_being_made_is_no_span);
	tcase_add_test(tc, span_may_follow_another);
	tcase_add_test(tc, entries_are_used_again_as_soon_as_they_are_free);
	tcase_add_test(tc, spans_without_room_are_counted);
	tcase_add_test(tc, nothing_happens_where_nothing_is_recorded);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
