/*
 * Stays in spans and the gaps between them: of several threads, in the midst of a change,
 * and of those that nobody ends.
 */
#include "sp_clock.h"
#include "span_stays.h"
#include "span_use.h"
#include "test_span_absorb_fixture.h"

START_TEST(stay_arrives_bit_by_bit)
{
	struct sp_span *span = make_span(path, 1000);

	test_span_enter(span, 2000);
	now_ticks = 5000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 3000);
	ck_assert_uint_eq(idle_ticks_of(path), 1000);
	now_ticks = 6000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 4000);
	test_span_exit(span, 6100);
	test_span_close(span, 6300);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 4100);
	ck_assert_uint_eq(idle_ticks_of(path), 1200);
}
END_TEST

START_TEST(stays_of_several_threads_are_all_counted)
{
	struct sp_span *span = make_span(path, 1000);

	for (uint64_t i = 1; i <= 3; i++)
		test_span_enter(span, 1000 + 100 * i);
	now_ticks = 2000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 900 + 800 + 700);
	test_span_exit(span, 2500);
	now_ticks = 3000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 2500 + 2 * 3000 - 3 * 1000 - 600);
}
END_TEST

/* Idle is what nobody was in it, however many were. */
START_TEST(span_idles_while_no_thread_is_in_it)
{
	struct sp_span *span = make_span(path, 1000);

	test_span_enter(span, 1300);
	test_span_enter(span, 1400);
	test_span_exit(span, 1900);
	now_ticks = 1950;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 300);
	test_span_exit(span, 2000);
	now_ticks = 2100;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 400);
	for (unsigned int i = 0; i < 3; i++)
		test_span_enter(span, 2250);
	for (unsigned int i = 0; i < 3; i++)
		test_span_exit(span, 2300);
	now_ticks = 2400;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 300 + 250 + 100);
	test_span_close(span, 2500);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 300 + 250 + 200);
	ck_assert_uint_eq(busy_ticks_of(path), 700 + 500 + 3 * 50);
}
END_TEST

/* A pass has read its clock before: what it then finds is later than that. */
START_TEST(idle_time_is_never_more_than_there_was)
{
	struct sp_span *span = make_span(path, 1000);

	test_span_enter(span, 1600);
	now_ticks = 1500;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 500);
	test_span_exit(span, 1700);
	now_ticks = 1650;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 550);
	/* By another processor's clock. */
	test_span_close(span, 1690);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 590);
	ck_assert_uint_eq(idle_ticks_of(other), 0);
	test_span_close(make_span(other, 2000), 1900);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(other), 0);
}
END_TEST

/* The count of those inside and their stays are two words. */
START_TEST(thread_in_the_midst_of_a_change_is_counted_once)
{
	struct sp_span *span = make_span(path, 1000);
	struct sp_span_use use = sp_span_use_guess(span);

	/* It is about to be in it, when the pass comes late. */
	ck_assert(sp_span_use_change(span, &use, sp_span_use_with(use, 1500)));
	now_ticks = 5000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 0);
	ck_assert_uint_eq(idle_ticks_of(path), 500);
	sp_span_stay_begin(span, 1500);
	now_ticks = 6000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 4500);
	ck_assert_uint_eq(idle_ticks_of(path), 500);
	/* It is about to be out of it. */
	sp_span_stay_end(span, 6500);
	now_ticks = 8000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 5000);
	ck_assert_uint_eq(idle_ticks_of(path), 500);
	use = sp_span_use_guess(span);
	ck_assert(sp_span_use_change(span, &use, sp_span_use_without(use, 6500)));
	now_ticks = 9000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 5000);
	ck_assert_uint_eq(idle_ticks_of(path), 3000);
}
END_TEST

/* Of two words that change at once a change sees both. */
START_TEST(change_of_what_has_changed_is_refused)
{
	struct sp_span *span = make_span(path, 1000);
	struct sp_span_use use = sp_span_use_guess(span), before = use;

	test_span_enter(span, 1500);
	test_span_exit(span, 1600);
	ck_assert(!sp_span_use_change(span, &use, sp_span_use_with(use, 1700)));
	ck_assert_uint_eq(use.word, before.word | SP_SPAN_USE_ENTERED);
	ck_assert_uint_eq(use.idle_ticks, before.idle_ticks - 100);
	ck_assert(sp_span_use_change(span, &use, sp_span_use_with(use, 1700)));
	ck_assert_uint_eq(sp_span_entered_now(span), 1);
}
END_TEST

/* As a handler that jumps away can leave it. */
START_TEST(stay_that_nobody_ends_lasts_until_its_span_is_closed)
{
	struct sp_span *span = make_span(path, 1000);
	struct sp_span_use use;

	test_span_enter(span, 2000);
	use = sp_span_use_guess(span);
	ck_assert(sp_span_use_change(span, &use, sp_span_use_without(use, 2500)));
	now_ticks = 3000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 1000);
	test_span_close(span, 5000);
	now_ticks = 8000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 3000);
	ck_assert_uint_eq(idle_ticks_of(path), 1000 + 2500);
}
END_TEST

/* Clocks as of a machine that has been up for years, and of one that has just begun. */
START_TEST(stays_are_known_at_any_time)
{
	static const uint64_t clocks[] = {0, 1, UINT64_C(1) << 40, UINT64_C(1) << 58};
	struct sp_span *span = make_span(path, clocks[_i]);
	uint64_t idle_ticks = 0, last_ticks = clocks[_i];

	for (uint32_t inside = 1; inside <= 10000; inside *= 10) {
		uint64_t before = busy_ticks_of(path);

		for (uint32_t i = 0; i < inside; i++)
			test_span_enter(span, clocks[_i] + 20 * inside);
		idle_ticks += clocks[_i] + 20 * inside - last_ticks;
		now_ticks = last_ticks = clocks[_i] + 29 * inside;
		sp_span_absorb(absorber);
		ck_assert_uint_eq(busy_ticks_of(path) - before, inside * 9 * inside);
		ck_assert_uint_eq(idle_ticks_of(path), idle_ticks);
		for (uint32_t i = 0; i < inside; i++)
			test_span_exit(span, now_ticks);
	}
}
END_TEST

/* Killed, with one in it and one about to be. */
START_TEST(stays_of_a_killed_process_last_until_its_last_sign_of_life)
{
	struct sp_span *span = make_span(path, 1000);

	absorber->now_ticks = NULL;
	absorber->give_span_back = NULL;
	atomic_store(&recording.header->span_last_ticks, 1500);
	test_span_close(make_span(other, 1000), 4000);
	make_span(other, UINT64_MAX);
	test_span_enter(span, 2000);
	atomic_fetch_add(&span->use, 1);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 2000);
	ck_assert_uint_eq(idle_ticks_of(path), 1000);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 2000);
}
END_TEST

/* But no sign from so far beyond: that is damage. */
START_TEST(stays_of_a_killed_process_last_until_a_thread_was_seen_last)
{
	struct sp_span *span = make_span(path, 1000);
	struct sp_slot *seen = test_thread(&recording, 0, false);
	struct sp_slot *damaged = test_thread(&recording, 0, false);

	ck_assert_ptr_nonnull(seen);
	ck_assert_ptr_nonnull(damaged);
	absorber->now_ticks = NULL;
	absorber->give_span_back = NULL;
	atomic_store(&recording.header->span_last_ticks, 1500);
	atomic_store(&seen->span_seen_ticks, 4500);
	atomic_store(&damaged->span_seen_ticks, UINT64_C(1) << 60);
	test_span_enter(span, 2000);
	atomic_fetch_add(&span->use, 1);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 2500);
	ck_assert_uint_eq(idle_ticks_of(path), 1000);
}
END_TEST

/* As the command does it: nobody tells what time it is. */
START_TEST(open_span_of_a_killed_process_has_no_idle_time)
{
	struct sp_span *span = make_span(path, 1000);

	absorber->now_ticks = NULL;
	absorber->give_span_back = NULL;
	do_something(span, 2);
	sp_span_absorb(absorber);
	check_path(path, 2, 0, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_stays");
	TCase *tc = tcase_create("span_stays");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, stay_arrives_bit_by_bit);
	tcase_add_test(tc, stays_of_several_threads_are_all_counted);
	tcase_add_test(tc, span_idles_while_no_thread_is_in_it);
	tcase_add_test(tc, idle_time_is_never_more_than_there_was);
	tcase_add_test(tc, thread_in_the_midst_of_a_change_is_counted_once);
	tcase_add_test(tc, change_of_what_has_changed_is_refused);
	tcase_add_test(tc, stay_that_nobody_ends_lasts_until_its_span_is_closed);
	tcase_add_loop_test(tc, stays_are_known_at_any_time, 0, 4);
	tcase_add_test(tc, stays_of_a_killed_process_last_until_its_last_sign_of_life);
	tcase_add_test(tc, stays_of_a_killed_process_last_until_a_thread_was_seen_last);
	tcase_add_test(tc, open_span_of_a_killed_process_has_no_idle_time);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
