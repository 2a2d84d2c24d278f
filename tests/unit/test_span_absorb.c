/*
 * From spans to the sums of their paths: what of which span arrives when, what is kept,
 * and what is told to those who want to know.
 */
#include "sp_clock.h"
#include "test_span_absorb_fixture.h"

/* --- sums --- */

START_TEST(closed_span_is_in_the_sums_of_its_path)
{
	struct sp_span *span = make_span(path, 1000);

	do_something(span, 3);
	test_span_close(span, 1700);
	ck_assert_uint_eq(sp_span_absorb(absorber), 1);
	check_path(path, 3, 400, 1);
	check_path(other, 0, 0, 0);
	ck_assert_uint_eq(state_of(span), SP_SPAN_FREE);
	ck_assert_uint_eq(told.given_count, 1);
	/* Once. */
	ck_assert_uint_eq(sp_span_absorb(absorber), 0);
	check_path(path, 3, 400, 1);
}
END_TEST

START_TEST(open_span_arrives_bit_by_bit)
{
	struct sp_span *span = make_span(path, 1000);

	for (uint64_t i = 1; i <= 5; i++) {
		do_something(span, i);
		now_ticks = 1000 + 1000 * i;
		ck_assert_uint_eq(sp_span_absorb(absorber), 0);
		check_path(path, i * (i + 1) / 2, 1000 * i - 100 * (i * (i + 1) / 2), 0);
	}
	do_something(span, 5);
	test_span_close(span, 9000);
	ck_assert_uint_eq(sp_span_absorb(absorber), 1);
	check_path(path, 20, 8000 - 2000, 1);
	ck_assert_uint_eq(told.given_count, 1);
}
END_TEST

START_TEST(many_spans_add_up)
{
	uint64_t times[2] = {0, 0}, spans[2] = {0, 0};

	for (uint64_t i = 0; i < 3000; i++) {
		struct sp_span *span = make_span(i % 3 ? path : other, 0);

		do_something(span, i);
		times[i % 3 != 0] += i;
		if (i % 4 == 0)
			continue;
		test_span_close(span, 100 * i);
		spans[i % 3 != 0]++;
	}
	ck_assert_uint_eq(sp_span_absorb(absorber), 2250);
	check_path(other, times[0], 0, spans[0]);
	check_path(path, times[1], 0, spans[1]);
	ck_assert_uint_eq(told.given_count, 2250);
	ck_assert_uint_eq(absorber->spans_in_use, 750);
}
END_TEST

START_TEST(span_that_is_being_created_is_left_alone)
{
	struct sp_span *span = make_span(path, 1000);

	do_something(span, 1);
	atomic_store(&span->state, SP_SPAN_CLAIMED);
	ck_assert_uint_eq(sp_span_absorb(absorber), 0);
	check_path(path, 0, 0, 0);
	ck_assert_uint_eq(state_of(span), SP_SPAN_CLAIMED);
	ck_assert_uint_eq(absorber->spans_in_use, 1);
}
END_TEST

START_TEST(drain_absorbs_spans_too)
{
	test_span_close(make_span(path, 1000), 1500);
	ck_assert_uint_eq(sp_absorber_drain(absorber), 1);
	check_path(path, 0, 500, 1);
}
END_TEST

/* --- memory --- */

START_TEST(closed_span_is_held_until_its_memory_is_gone)
{
	struct sp_span *span = make_span(path, 1000);

	do_something(span, 1);
	atomic_store(&span->live_blocks, 2);
	test_span_close(span, 1100);
	ck_assert_uint_eq(sp_span_absorb(absorber), 1);
	check_path(path, 1, 0, 1);
	ck_assert_uint_eq(state_of(span), SP_SPAN_HELD);
	ck_assert_uint_eq(absorber->spans_in_use, 1);
	atomic_store(&span->live_blocks, 1);
	ck_assert_uint_eq(sp_span_absorb(absorber), 0);
	ck_assert_uint_eq(state_of(span), SP_SPAN_HELD);
	atomic_store(&span->live_blocks, 0);
	ck_assert_uint_eq(sp_span_absorb(absorber), 0);
	ck_assert_uint_eq(state_of(span), SP_SPAN_FREE);
	ck_assert_uint_eq(told.given_count, 1);
	check_path(path, 1, 0, 1);
}
END_TEST

static void hold(uint64_t closed_ticks)
{
	struct sp_span *span = make_span(path, 0);

	atomic_store(&span->live_blocks, 1);
	test_span_close(span, closed_ticks);
}

static uint64_t evicted(void)
{
	return sp_atomic_value(&recording.header->losses[SP_LOSS_SPAN_EVICTED]);
}

START_TEST(those_that_were_closed_first_go_when_too_many_are_held)
{
	static const uint64_t closed_ticks[] = {500, 100, 900, 300, 700, 200, 800, 400};

	absorber->held_spans_max = 5;
	for (size_t i = 0; i < SP_ARRAY_COUNT(closed_ticks); i++)
		hold(closed_ticks[i] << 32);
	ck_assert_uint_eq(sp_span_absorb(absorber), SP_ARRAY_COUNT(closed_ticks));
	ck_assert_uint_eq(evicted(), 3);
	ck_assert_uint_eq(told.given_count, 3);
	for (uint32_t i = 0; i < SP_ARRAY_COUNT(closed_ticks); i++)
		ck_assert_uint_eq(state_of(test_span_at(&recording, i)),
				  closed_ticks[i] <= 300 ? SP_SPAN_FREE : SP_SPAN_HELD);
	ck_assert_uint_eq(absorber->spans_in_use, 5);
	/* As many as may be stay. */
	sp_span_absorb(absorber);
	ck_assert_uint_eq(evicted(), 3);
}
END_TEST

START_TEST(spans_closed_at_one_moment_go_by_number)
{
	absorber->held_spans_max = 5;
	for (unsigned int i = 0; i < 12; i++)
		hold(1000);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(evicted(), 7);
	absorber->held_spans_max = 0;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(evicted(), 12);
	ck_assert_uint_eq(absorber->spans_in_use, 0);
}
END_TEST

/* Of a program that forgets what every request allocates. */
START_TEST(very_many_go_at_once)
{
	uint64_t count = 0;
	uint64_t start_ns;

	absorber->held_spans_max = 10;
	while (count < 30000 && test_span(&recording, path, 0) != UINT32_MAX) {
		struct sp_span *span = test_span_at(&recording, count);

		atomic_store(&span->live_blocks, 1);
		test_span_close(span, count++);
	}
	ck_assert_uint_gt(count, 20000);
	start_ns = sp_clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
	sp_span_absorb(absorber);
	ck_assert_uint_lt(sp_clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) - start_ns,
			  SP_NS_PER_SECOND / 2);
	ck_assert_uint_eq(evicted(), count - 10);
	ck_assert_uint_eq(told.given_count, count - 10);
	/* The last 10 are among the youngest 64th. */
	for (uint64_t i = 0; i < count - count / 64 - 1; i++)
		ck_assert_uint_eq(state_of(test_span_at(&recording, i)), SP_SPAN_FREE);
}
END_TEST

START_TEST(command_evicts_nothing)
{
	absorber->held_spans_max = 0;
	absorber->give_span_back = NULL;
	hold(1000);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(evicted(), 0);
	ck_assert_uint_eq(state_of(test_span_at(&recording, 0)), SP_SPAN_HELD);
}
END_TEST

/* --- telling --- */

START_TEST(changes_are_told_and_then_the_end)
{
	struct sp_span *span = make_span(path, 1000);
	uint64_t busy_ticks = 0, idle_ticks = 0, allocations = 0;

	absorber->span_changed = note_changed;
	absorber->span_ended = note_ended;
	do_something(span, 2);
	now_ticks = 1500;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(told.changes, 1);
	/* Nothing new: nothing is told. */
	sp_span_absorb(absorber);
	ck_assert_uint_eq(told.changes, 1);
	do_something(span, 3);
	atomic_store(&span->live_blocks, 1);
	test_span_close(span, 2000);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(told.changes, 2);
	ck_assert_uint_eq(told.ends, 0);
	atomic_store(&span->live_blocks, 0);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(told.changes, 2);
	ck_assert_uint_eq(told.ends, 1);
	ck_assert_ptr_eq(told.ended[0], span);
	for (unsigned int i = 0; i < told.changes; i++) {
		ck_assert_ptr_eq(told.changed[i], span);
		busy_ticks += told.deltas[i].busy_ticks;
		idle_ticks += told.deltas[i].idle_ticks;
		allocations += told.deltas[i].allocations;
	}
	ck_assert_uint_eq(busy_ticks, 500);
	ck_assert_uint_eq(idle_ticks, 500);
	ck_assert_uint_eq(allocations, 5);
}
END_TEST

START_TEST(span_that_did_nothing_has_an_end_too)
{
	absorber->span_changed = note_changed;
	absorber->span_ended = note_ended;
	test_span_close(make_span(path, 1000), 1000);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(told.changes, 1);
	ck_assert_uint_eq(told.ends, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_absorb");
	TCase *tc = tcase_create("span_absorb");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, closed_span_is_in_the_sums_of_its_path);
	tcase_add_test(tc, open_span_arrives_bit_by_bit);
	tcase_add_test(tc, many_spans_add_up);
	tcase_add_test(tc, span_that_is_being_created_is_left_alone);
	tcase_add_test(tc, drain_absorbs_spans_too);
	tcase_add_test(tc, closed_span_is_held_until_its_memory_is_gone);
	tcase_add_test(tc, those_that_were_closed_first_go_when_too_many_are_held);
	tcase_add_test(tc, spans_closed_at_one_moment_go_by_number);
	tcase_add_test(tc, very_many_go_at_once);
	tcase_add_test(tc, command_evicts_nothing);
	tcase_add_test(tc, changes_are_told_and_then_the_end);
	tcase_add_test(tc, span_that_did_nothing_has_an_end_too);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
