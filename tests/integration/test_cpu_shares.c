/*
 * The ground truth of the CPU profile: functions whose share of the CPU is known
 * from the thread's own clock. With SPANPROF_TEST_LONG set, ten runs of 20 s.
 */
#include "cpu_profile.h"
#include "victim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const functions[] = {"share_40", "share_30", "share_20", "share_10"};
#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

static void check_one_run(const char *cpu_ms)
{
	struct victim *victim = victim_run_agent("shares", cpu_ms);
	double true_ns[FUNCTIONS], true_sum_ns = 0, seen_ns[FUNCTIONS], seen_sum_ns = 0;
	struct cpu_profile *profile;
	char path[PATH_MAX];
	double samples;

	victim_assert_success(victim);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	samples = (double)cpu_profile_samples(profile);
	ck_assert_msg(samples > atof(cpu_ms) / 1e3 * 60, "only %.0f samples", samples);
	for (size_t i = 0; i < FUNCTIONS; i++) {
		true_ns[i] = (double)victim_number(victim->output, functions[i]);
		seen_ns[i] = (double)cpu_profile_with_ns(profile, functions[i]);
		true_sum_ns += true_ns[i];
		seen_sum_ns += seen_ns[i];
	}
	ck_assert_msg(fabs(seen_sum_ns / true_sum_ns - 1) < 0.03,
		      "the four functions: %.0f ns, in truth %.0f ns", seen_sum_ns,
		      true_sum_ns);
	for (size_t i = 0; i < FUNCTIONS; i++) {
		double truth = true_ns[i] / true_sum_ns, seen = seen_ns[i] / seen_sum_ns;
		double error = sqrt(truth * (1 - truth) / samples);

		printf("%s: %.4f, in truth %.4f: %+.2f standard errors\n", functions[i],
		       seen, truth, (seen - truth) / error);
		ck_assert_msg(fabs(seen - truth) <= 3 * error,
			      "%s has %.4f, in truth %.4f, standard error %.4f",
			      functions[i], seen, truth, error);
	}
	cpu_profile_free(profile);
	victim_free(victim);
}

START_TEST(each_function_has_its_true_share)
{
	bool is_long = getenv("SPANPROF_TEST_LONG") != NULL;

	for (int run = 0; run < (is_long ? 10 : 2); run++)
		check_one_run(is_long ? "20000" : "4000");
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, each_function_has_its_true_share);
}

int main(void)
{
	return victim_main("cpu_shares", add);
}
