/*
 * Children: whatever way a process makes them, its own profile neither gains nor
 * loses, and children that work have profiles of their own.
 */
#include "cpu_profile.h"
#include "victim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a child that only the kernel knows nothing is known. */
static const struct {
	const char *mode;
	bool has_child_profile;
} modes[] = {
	{"fork", true},		  {"fork_exit_now", false},
	{"_Fork", true},	  {"_Fork_in_handler", true},
	{"clone", true},	  {"clone_exit", true},
	{"clone3", true},	  {"fork_by_number", true},
	{"clone_function", true}, {"in_line", false},
	{"vfork", false},	  {"vfork_fails", false},
	{"spawn", false},	  {"system", false},
};

/* The profile of that process holds what the process said it used. */
static void check_process(const struct victim *victim, const char *who, const char *work)
{
	char name[64], path[PATH_MAX];
	struct cpu_profile *profile;
	double told_ns, total_ns;
	int pid;

	snprintf(name, sizeof(name), "%s_pid", who);
	pid = (int)victim_number(victim->output, name);
	snprintf(name, sizeof(name), "%s_cpu_ns", who);
	told_ns = (double)victim_number(victim->output, name);
	profile = cpu_profile_read(victim_profile(victim, pid, path));
	total_ns = (double)cpu_profile_total_ns(profile);
	/* Beyond what it told: its last few instructions and our writing. */
	ck_assert_msg(total_ns > 0.99 * told_ns && total_ns < 1.01 * told_ns + 30e6,
		      "%s: profile %.0f ns, getrusage %.0f ns", who, total_ns, told_ns);
	ck_assert_msg((double)cpu_profile_with_ns(profile, work) > 0.9 * told_ns - 20e6,
		      "%s: %s has %lld of %.0f ns", who, work,
		      (long long)cpu_profile_with_ns(profile, work), told_ns);
	if (strcmp(who, "parent") == 0)
		ck_assert_int_eq(cpu_profile_with_ns(profile, "child_work"), 0);
	else
		ck_assert_int_eq(cpu_profile_with_ns(profile, "parent_work"), 0);
	cpu_profile_free(profile);
}

START_TEST(parent_total_is_its_own)
{
	struct victim *victim = victim_run_agent("forker", modes[_i].mode, "500", "2");

	victim_assert_success(victim);
	check_process(victim, "parent", "parent_work");
	victim_assert_clean(victim);
	victim_free(victim);
}
END_TEST

START_TEST(working_child_has_its_own_profile)
{
	struct victim *victim;

	if (!modes[_i].has_child_profile)
		return;
	victim = victim_run_agent("forker", modes[_i].mode, "600", "1");
	victim_assert_success(victim);
	check_process(victim, "child", "child_work");
	ck_assert_uint_eq(victim_count(victim->profiles, "*.cpu.pb.gz"), 2);
	victim_free(victim);
}
END_TEST

START_TEST(child_forked_at_once_has_whole_stacks)
{
	struct victim *victim = victim_run_agent("forker", "fork_at_once", "500", "1");
	struct cpu_profile *profile;
	char path[PATH_MAX];
	int pid;

	victim_assert_success(victim);
	check_process(victim, "child", "child_work");
	pid = (int)victim_number(victim->output, "child_pid");
	profile = cpu_profile_read(victim_profile(victim, pid, path));
	ck_assert_msg(cpu_profile_complete_share(profile) > 0.9, "%.1f %% are complete",
		      cpu_profile_complete_share(profile) * 100);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(many_children_leave_a_profile_each)
{
	struct victim *victim = victim_run_agent("forker", "fork", "50", "20");

	victim_assert_success(victim);
	ck_assert_uint_eq(victim_count(victim->profiles, "forker.*.cpu.pb.gz"), 21);
	victim_assert_clean(victim);
	victim_free(victim);
}
END_TEST

/* At such a rate none gets a sample but by chance. */
START_TEST(child_without_a_sample_leaves_its_time)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"forker", "fork", "100", "5", NULL},
		.environment = (const char *const[]){"SPANPROF_CPU_HZ=1", NULL},
	};
	struct victim *victim = victim_run(&setup);
	struct victim_files files;

	victim_assert_success(victim);
	victim_list(victim->profiles, "forker.*.cpu.pb.gz", &files);
	ck_assert_uint_eq(files.count, 6);
	for (size_t i = 0; i < files.count; i++) {
		struct cpu_profile *profile = cpu_profile_read(files.paths[i]);

		ck_assert_int_gt(cpu_profile_total_ns(profile), 99000000);
		cpu_profile_free(profile);
	}
	victim_files_free(&files);
	victim_free(victim);
}
END_TEST

START_TEST(daemon_is_profiled_after_its_parents_are_gone)
{
	struct victim *victim = victim_run_agent("forker", "daemon", "500");
	struct victim_files files;
	struct cpu_profile *profile;
	bool has_child_work = false;

	victim_assert_success(victim);
	check_process(victim, "parent", "parent_work");
	/* One of the parent, one of the daemon; the process between them did nothing. */
	ck_assert(victim_wait_for_files(victim->profiles, "*.cpu.pb.gz", 2, 20));
	for (int tries = 0; !has_child_work && tries < 100; tries++) {
		victim_list(victim->profiles, "*.cpu.pb.gz", &files);
		for (size_t i = 0; i < files.count; i++) {
			profile = cpu_profile_read(files.paths[i]);
			has_child_work |=
				cpu_profile_with_ns(profile, "child_work") > 400000000;
			cpu_profile_free(profile);
		}
		victim_files_free(&files);
		usleep(100000);
	}
	ck_assert(has_child_work);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	int count = sizeof(modes) / sizeof(modes[0]);

	tcase_add_loop_test(tcase, parent_total_is_its_own, 0, count);
	tcase_add_loop_test(tcase, working_child_has_its_own_profile, 0, count);
	tcase_add_test(tcase, child_forked_at_once_has_whole_stacks);
	tcase_add_test(tcase, many_children_leave_a_profile_each);
	tcase_add_test(tcase, child_without_a_sample_leaves_its_time);
	tcase_add_test(tcase, daemon_is_profiled_after_its_parents_are_gone);
}

int main(void)
{
	return victim_main("fork", add);
}
