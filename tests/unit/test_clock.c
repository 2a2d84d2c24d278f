/*
 * The time-stamp counter and the kernel's clock, read together.
 */
#include "sp_clock.h"

#include <check.h>
#include <stdlib.h>

static void sleep_ms(long ms)
{
	struct timespec pause = {0, ms * 1000000};

	nanosleep(&pause, NULL);
}

/* Two rates from windows of some ten milliseconds differ by what a window's ends are
 * apart: with a millisecond between its two reads it would be some percent. */
START_TEST(both_clocks_are_read_at_one_moment)
{
	uint64_t ns[3] = {0}, cycles[3] = {0};
	double first, second;

	for (unsigned int i = 0; i < 3; i++) {
		if (i)
			sleep_ms(40);
		sp_clock_read_both(&ns[i], &cycles[i]);
	}
	first = (double)(cycles[1] - cycles[0]) / (double)(ns[1] - ns[0]);
	second = (double)(cycles[2] - cycles[1]) / (double)(ns[2] - ns[1]);
	ck_assert_msg(first / second > 0.9999 && first / second < 1.0001,
		      "%.9f and %.9f cycles for each ns", first, second);
}
END_TEST

START_TEST(they_are_between_what_is_read_before_and_after)
{
	uint64_t before_ns = sp_clock_monotonic_ns(), before = sp_clock_cycles();
	uint64_t ns, cycles;

	sp_clock_read_both(&ns, &cycles);
	ck_assert_uint_ge(ns, before_ns);
	ck_assert_uint_ge(cycles, before);
	ck_assert_uint_le(cycles, sp_clock_cycles());
	ck_assert_uint_le(ns, sp_clock_monotonic_ns());
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("clock");
	TCase *tc = tcase_create("clock");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, both_clocks_are_read_at_one_moment);
	tcase_add_test(tc, they_are_between_what_is_read_before_and_after);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
