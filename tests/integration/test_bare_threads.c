/*
 * Threads and processes that end, or begin, behind the C library's back.
 */
#include "cpu_profile.h"
#include "victim.h"

#include <string.h>
#include <sys/wait.h>

/* Bare and under the agent, which is returned; both end with that status. */
static struct victim *run_mode(const char *mode, const char *library, int status)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"bare_threads", mode, library, NULL},
		.environment = (const char *const[]){"SPANPROF_CPU_HZ=1000", NULL},
		.is_bare = true,
	};
	struct victim *bare = victim_run(&setup);
	struct victim *agent;

	setup.is_bare = false;
	agent = victim_run(&setup);
	ck_assert_int_eq(WEXITSTATUS(bare->status), status);
	victim_assert_same(bare, agent);
	victim_free(bare);
	return agent;
}

static int64_t function_ns(const struct victim *victim, const char *function)
{
	char path[PATH_MAX];
	struct cpu_profile *profile = cpu_profile_read(victim_profile(victim, 0, path));
	int64_t ns = cpu_profile_with_ns(profile, function);

	cpu_profile_free(profile);
	return ns;
}

START_TEST(thread_with_its_own_thread_pointer_is_sampled)
{
	struct victim *victim = run_mode("own_tls", NULL, 0);

	victim_assert_clean(victim);
	ck_assert_int_gt(function_ns(victim, "own_tls_work"), 0);
	victim_free(victim);
}
END_TEST

START_TEST(last_thread_that_ends_by_system_call_ends_the_process)
{
	struct victim *victim = run_mode("main_exits", NULL, 6);

	victim_assert_clean(victim);
	ck_assert_int_gt(function_ns(victim, "main"), 0);
	victim_free(victim);
}
END_TEST

START_TEST(end_by_system_call_writes_the_profile)
{
	struct victim *victim = run_mode("group_exits", NULL, 6);

	victim_assert_clean(victim);
	ck_assert_int_gt(function_ns(victim, "main"), 0);
	victim_free(victim);
}
END_TEST

/* 300 ms each: in a library that came late, and on a stack that no thread owns. */
START_TEST(threads_that_outlive_the_main_one_are_profiled)
{
	char library[PATH_MAX], path[PATH_MAX];
	struct cpu_profile *profile;
	int64_t clock_ns;
	struct victim *victim =
		run_mode("main_gone", victim_program_path("lib_churn.so", library), 0);

	victim_assert_clean(victim);
	ck_assert_int_gt(function_ns(victim, "churn_work"), 200000000);
	ck_assert_int_gt(function_ns(victim, "coroutine_work"), 400000000);
	/* Names come from this process's memory, which the main thread has no more. */
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	clock_ns = cpu_profile_with_ns(profile, "look_at_the_clock");
	ck_assert_int_gt(clock_ns, 200000000);
	ck_assert_int_gt(cpu_profile_with_both_ns(profile, "look_at_the_clock",
						  "__vdso_clock_gettime"),
			 clock_ns / 2);
	ck_assert_int_eq(cpu_profile_matching_ns(profile, "[vdso]+"), 0);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(process_without_descriptors_tells_where_its_profile_is)
{
	struct victim *victim = run_mode("no_files", NULL, 0);

	if (victim_count(victim->profiles, "*.cpu.pb.gz") == 0) {
		ck_assert_ptr_nonnull(
			strstr(victim->agent_lines, "cannot write profiles"));
		ck_assert_ptr_nonnull(strstr(victim->agent_lines, "spanprof recover"));
	}
	victim_free(victim);
}
END_TEST

/* Each of its threads works for more than a second. */
static const struct {
	const char *mode, *function;
	double work_ns;
} long_threads[] = {
	{"c11", "c11_work", 2.4e9},
	{"notify", "notified_work", 1.2e9},
	{"strangers", "stranger_work", 2.4e9},
};

START_TEST(threads_of_a_second_and_more_are_sampled_whoever_makes_them)
{
	struct victim *victim = run_mode(long_threads[_i].mode, NULL, 0);
	char path[PATH_MAX];
	struct cpu_profile *profile = cpu_profile_read(victim_profile(victim, 0, path));
	double total_ns = (double)cpu_profile_program_ns(profile);
	double work_ns = (double)cpu_profile_with_ns(profile, long_threads[_i].function);
	double unsampled_ns = (double)cpu_profile_with_ns(profile, "[unsampled]");

	victim_assert_clean(victim);
	ck_assert_msg(unsampled_ns < 0.01 * total_ns, "%s: %.0f of %.0f ns unsampled",
		      long_threads[_i].mode, unsampled_ns, total_ns);
	ck_assert_msg(work_ns > 0.97 * long_threads[_i].work_ns &&
			      work_ns < 1.05 * long_threads[_i].work_ns,
		      "%s: %.0f ns", long_threads[_i].mode, work_ns);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* No signal reaches it, and its stack is the kernel's; its time is no less known. */
START_TEST(thread_of_the_kernel_is_told_from_those_that_nobody_sampled)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"bare_threads", "polling", NULL},
	};
	struct victim *victim = victim_run_both(&setup);
	char path[PATH_MAX];
	struct cpu_profile *profile;
	double total_ns;

	if (!victim) /* no io_uring here */
		return;
	victim_assert_clean(victim);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	total_ns = (double)cpu_profile_program_ns(profile);
	ck_assert_double_gt((double)cpu_profile_with_ns(profile, "[kernel worker]"),
			    0.9 * total_ns);
	ck_assert_double_lt((double)cpu_profile_with_ns(profile, "[unsampled]"),
			    0.01 * total_ns);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase,
			    threads_of_a_second_and_more_are_sampled_whoever_makes_them,
			    0, sizeof(long_threads) / sizeof(long_threads[0]));

	tcase_add_test(tcase, thread_with_its_own_thread_pointer_is_sampled);
	tcase_add_test(tcase, last_thread_that_ends_by_system_call_ends_the_process);
	tcase_add_test(tcase, end_by_system_call_writes_the_profile);
	tcase_add_test(tcase, threads_that_outlive_the_main_one_are_profiled);
	tcase_add_test(tcase,
		       thread_of_the_kernel_is_told_from_those_that_nobody_sampled);
	tcase_add_test(tcase, process_without_descriptors_tells_where_its_profile_is);
}

int main(void)
{
	return victim_main("bare_threads", add);
}
