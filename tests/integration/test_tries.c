/* What only looks like an end, and ends that only the C library sees. */
#include "cpu_profile.h"
#include "victim.h"

#include <stdio.h>
#include <sys/wait.h>

START_TEST(failing_exec_writes_no_profile_each_time)
{
	struct victim *bare = victim_run_bare("tries", "exec");
	struct victim *agent = victim_run_agent("tries", "exec");

	victim_assert_success(bare);
	victim_assert_same(bare, agent);
	victim_assert_clean(agent);
	/* A profile takes milliseconds to write, the calls microseconds. */
	ck_assert_msg(victim_cpu_ns(&agent->usage) < 500000000,
		      "%lld ns of CPU time, %lld ns without the agent",
		      (long long)victim_cpu_ns(&agent->usage),
		      (long long)victim_cpu_ns(&bare->usage));
	victim_free(bare);
	victim_free(agent);
}
END_TEST

START_TEST(daemon_leaves_the_profile_of_both_processes)
{
	struct victim *bare = victim_run_bare("tries", "daemon");
	struct victim *agent = victim_run_agent("tries", "daemon");
	struct cpu_profile *profile;
	char path[PATH_MAX];

	victim_assert_success(bare);
	victim_assert_success(agent);
	profile = cpu_profile_read(victim_profile(agent, agent->pid, path));
	ck_assert_int_gt(cpu_profile_with_ns(profile, "burn"), 50000000);
	cpu_profile_free(profile);
	ck_assert(victim_wait_for_files(agent->profiles, "tries.*.cpu.pb.gz", 2, 10));
	/* The recording goes when the last profile of the daemon is there. */
	ck_assert(victim_wait_for_none(agent->recordings, "*", 10));
	victim_free(bare);
	victim_free(agent);
}
END_TEST

START_TEST(new_root_at_once_keeps_the_output_outside)
{
	struct victim *bare = victim_run_bare("tries", "chroot");
	struct victim *agent;
	char path[PATH_MAX];

	if (WIFEXITED(bare->status) && WEXITSTATUS(bare->status) == 77) {
		printf("chroot is not permitted here\n");
		victim_free(bare);
		return;
	}
	victim_assert_success(bare);
	agent = victim_run_agent("tries", "chroot");
	victim_assert_same(bare, agent);
	victim_assert_clean(agent);
	cpu_profile_free(cpu_profile_read(victim_profile(agent, 0, path)));
	snprintf(path, sizeof(path), "%s/root", agent->folder);
	ck_assert_uint_eq(victim_count(path, "*"), 0);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

/* Nobody would end what begins after the end was told. */
START_TEST(child_that_ends_begins_no_recording)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"tries", "late_child", NULL},
	};
	struct victim *victim = victim_run_both(&setup);

	/* Its own, too, if a tick came before its end. */
	ck_assert_uint_ge(victim_count(victim->profiles, "*.cpu.pb.gz"), 1);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, failing_exec_writes_no_profile_each_time);
	tcase_add_test(tcase, daemon_leaves_the_profile_of_both_processes);
	tcase_add_test(tcase, child_that_ends_begins_no_recording);
	tcase_add_test(tcase, new_root_at_once_keeps_the_output_outside);
}

int main(void)
{
	return victim_main("tries", add);
}
