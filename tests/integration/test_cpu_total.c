/*
 * The total of the CPU profile is what the kernel charged the process: few
 * threads, many threads, and threads too short for any sample.
 */
#include "cpu_profile.h"
#include "victim.h"

#include <math.h>
#include <stdio.h>
#include <sys/resource.h>

static const struct {
	const char *threads, *cpu_ms, *at_once;
	bool are_long_lived; /* for more than a second */
} cases[] = {
	{"1", "2500", "1", true},  {"8", "500", "8", true},   {"200", "25", "200", true},
	{"2000", "3", "4", false}, {"3000", "1", "2", false},
};

START_TEST(total_is_that_of_getrusage)
{
	struct victim *victim = victim_run_agent("threads", cases[_i].threads,
						 cases[_i].cpu_ms, cases[_i].at_once);
	double threads_ns, self_ns, program_ns, total_ns, waited_ns, unsampled_ns;
	struct cpu_profile *profile;
	char path[PATH_MAX];

	victim_assert_success(victim);
	victim_assert_clean(victim);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	threads_ns = (double)victim_number(victim->output, "threads_cpu_ns");
	self_ns = (double)victim_number(victim->output, "self_cpu_ns");
	waited_ns = (double)victim_cpu_ns(&victim->usage);
	program_ns = (double)cpu_profile_program_ns(profile);
	total_ns = (double)cpu_profile_total_ns(profile);
	unsampled_ns = (double)cpu_profile_with_ns(profile, "[unsampled]");
	printf("%s threads: program %.0f, clocks %.0f; total %.0f, getrusage %.0f, wait4 "
	       "%.0f; unsampled %.0f\n",
	       cases[_i].threads, program_ns, threads_ns, total_ns, self_ns, waited_ns,
	       unsampled_ns);

	/* The clocks are read by each thread at its end: its exit is beyond them. */
	ck_assert_msg(program_ns > 0.99 * threads_ns && program_ns < 1.03 * self_ns,
		      "program's threads: %.0f ns, their clocks %.0f ns", program_ns,
		      threads_ns);
	/* The program asked a little before its end, wait4 a little after. */
	ck_assert_msg(total_ns > 0.99 * self_ns, "%.0f ns, getrusage %.0f ns", total_ns,
		      self_ns);
	ck_assert_msg(total_ns < 1.01 * waited_ns, "%.0f ns, wait4 %.0f ns", total_ns,
		      waited_ns);
	if (cases[_i].are_long_lived)
		ck_assert_msg(unsampled_ns < 0.01 * total_ns, "[unsampled] %.0f of %.0f",
			      unsampled_ns, total_ns);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(short_threads_are_charged_to_their_entry)
{
	struct victim *victim = victim_run_agent("threads", "2000", "3", "4");
	struct cpu_profile *profile;
	char path[PATH_MAX];
	double entry_ns;

	victim_assert_success(victim);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	entry_ns = (double)cpu_profile_with_ns(profile, "thread_entry");
	ck_assert_msg(entry_ns > 0.97 * 2000 * 3e6 && entry_ns < 1.10 * 2000 * 3e6,
		      "thread_entry: %.0f ns", entry_ns);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* Twenty 1 ms threads in all: no sample is likely, the time is there nevertheless. */
START_TEST(time_without_samples_is_shown_as_unsampled)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"threads", "20", "1", "1", NULL},
		.environment = (const char *const[]){"SPANPROF_CPU_HZ=1", NULL},
	};
	struct victim *victim = victim_run(&setup);
	struct cpu_profile *profile;
	char path[PATH_MAX];
	double unsampled_ns, entry_ns;

	victim_assert_success(victim);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	entry_ns = (double)cpu_profile_with_ns(profile, "thread_entry");
	unsampled_ns =
		(double)cpu_profile_with_both_ns(profile, "thread_entry", "[unsampled]");
	ck_assert_msg(entry_ns > 0.95 * 20e6 && entry_ns < 1.5 * 20e6,
		      "thread_entry: %.0f ns", entry_ns);
	/* Unless one of the threads was sampled after all, all of it. */
	if (cpu_profile_with_ns(profile, "burn") == 0)
		ck_assert_msg(unsampled_ns == entry_ns, "[unsampled]: %.0f of %.0f ns",
			      unsampled_ns, entry_ns);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, total_is_that_of_getrusage, 0,
			    sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(tcase, short_threads_are_charged_to_their_entry);
	tcase_add_test(tcase, time_without_samples_is_shown_as_unsampled);
}

int main(void)
{
	return victim_main("cpu_total", add);
}
