/*
 * The time of a span whose changes are interrupted at any instruction: what a kill
 * leaves, what the consumer counts when it looks, and when the last of several threads is
 * out.
 */
#include "span_stays.h"
#include "test_span_interrupted_fixture.h"

/* --- a kill leaves what there is at that moment --- */

static uint64_t begun_ticks, least_ticks, least_idle_ticks;

/* No more than there has been time for, and no less than there was before; and what it
 * has not been busy for it has idled, but for what the change takes. */
static void check_stays(void)
{
	uint64_t now_ticks = sp_clock_ticks(), busy_ticks = 0, idle_ticks = 0;

	ck_assert(sp_span_stays_at(span_of(span), now_ticks, &busy_ticks));
	ck_assert_uint_ge(busy_ticks, least_ticks);
	ck_assert(sp_span_idle_at(span_of(span), now_ticks, &idle_ticks));
	ck_assert_uint_ge(idle_ticks, least_idle_ticks);
	ck_assert_uint_le(busy_ticks + least_idle_ticks, now_ticks - begun_ticks);
	ck_assert_uint_le(idle_ticks + least_ticks, now_ticks - begun_ticks);
}

START_TEST(time_of_a_stay_is_whole_at_any_moment)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		least_ticks = least_idle_ticks = 0;
		begun_ticks = sp_clock_ticks();
		span = create("span", SP_SPAN_NONE);
		spend_ticks();
		least_idle_ticks = 4000;
		interrupt(enter_it, check_stays, at);
		spend_ticks();
		least_ticks = 4000;
		check_stays();
		interrupt(exit_it, check_stays, at);
		spend_ticks();
		least_idle_ticks = 8000;
		check_stays();
		close_it();
		drain();
	}
}
END_TEST

/* It does not idle from when it begins to when it ends. */
START_TEST(time_of_a_stay_is_whole_when_its_span_ends_with_it)
{
	uint64_t idle_before = sp_atomic_value(&test_path_at(recorded(), 0)->idle_ticks);
	for (uint32_t at = 1; at; at = next_step(at)) {
		least_ticks = least_idle_ticks = 0;
		begun_ticks = sp_clock_ticks();
		begin_it();
		spend_ticks();
		least_ticks = 4000;
		check_stays();
		interrupt(end_it, check_stays, at);
		spend_ticks();
		ck_assert_uint_ge(busy_of(span), least_ticks);
		ck_assert_uint_eq(state_of(span), SP_SPAN_CLOSED);
		drain();
	}
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->idle_ticks),
			  idle_before);
}
END_TEST

/* --- the consumer looks --- */

static uint64_t times_of_path(void)
{
	const struct sp_span_path *sums = test_path_at(recorded(), 0);

	return sp_atomic_value(&sums->busy_ticks) + sp_atomic_value(&sums->idle_ticks);
}

static void look(void)
{
	spend_ticks();
	drain();
}

/* A closed one was busy or idle at any time of its life, which ended at last_ticks or
 * before. */
static void check_life(uint64_t before, uint64_t last_ticks, uint32_t at)
{
	uint64_t life_ticks = span_of(span)->closed_ticks - span_of(span)->created_ticks;

	ck_assert_uint_le(span_of(span)->closed_ticks, last_ticks);
	drain();
	ck_assert_msg(times_of_path() - before == life_ticks,
		      "busy and idle for %ld ticks too long, looked at instruction %u",
		      (long)(times_of_path() - before - life_ticks), at);
}

/* Who looks counts the thread as it is then, be it in the middle of a change. */
START_TEST(no_time_is_counted_twice_when_a_stay_is_looked_at)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		uint64_t before = times_of_path();

		span = create("span", SP_SPAN_NONE);
		spend_ticks();
		interrupt(enter_it, look, at);
		/* Shorter than the look. */
		interrupt(exit_it, look, at);
		close_it();
		check_life(before, sp_clock_ticks(), at);
	}
}
END_TEST

/* One that is found open right before it is made final ends with that look. */
START_TEST(no_time_is_counted_twice_when_an_end_is_looked_at)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		uint64_t before = times_of_path(), begin_ticks, end_ticks;

		begin_it();
		begin_ticks = span_of(span)->created_ticks;
		interrupt(end_it, look, at);
		end_ticks = sp_clock_ticks();
		drain();
		ck_assert_uint_le(times_of_path() - before, end_ticks - begin_ticks);
	}
}
END_TEST

/* --- two leave at once --- */

static uint64_t left_ticks;

/* Another thread that was in it, too, as it goes. */
static void leave_as_another(void)
{
	spend_ticks();
	left_ticks = sp_clock_ticks();
	test_span_exit(span_of(span), left_ticks);
}

/* Who goes last has perhaps read its clock before the other one. */
START_TEST(span_idles_from_when_the_last_thread_has_left)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		uint64_t idle_ticks = 0, now_ticks;

		begin_it();
		test_span_enter(span_of(span), sp_clock_ticks());
		left_ticks = 0;
		if (!interrupt(exit_it, leave_as_another, at))
			leave_as_another();
		ck_assert_uint_eq(entered_now(span), 0);
		now_ticks = sp_clock_ticks();
		ck_assert(sp_span_idle_at(span_of(span), now_ticks, &idle_ticks));
		ck_assert_msg(idle_ticks <= now_ticks - left_ticks,
			      "idle before the last one left, at instruction %u", at);
		close_it();
		drain();
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_interrupted_times");
	TCase *tc = tcase_create("span_interrupted_times");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, end_spans);
	tcase_add_test(tc, time_of_a_stay_is_whole_at_any_moment);
	tcase_add_test(tc, time_of_a_stay_is_whole_when_its_span_ends_with_it);
	tcase_add_test(tc, no_time_is_counted_twice_when_a_stay_is_looked_at);
	tcase_add_test(tc, no_time_is_counted_twice_when_an_end_is_looked_at);
	tcase_add_test(tc, span_idles_from_when_the_last_thread_has_left);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
