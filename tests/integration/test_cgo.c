/*
 * A program of Go and C. Go makes its threads without the C library or with it, keeps
 * an alternate stack for each, moves stacks, sends signals to its own threads, and ends
 * by a system call of its own: the recording is left for the command.
 */
#include "cpu_profile.h"
#include "victim.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

/* Into the victims' folder, with what the compiler keeps between runs. */
static bool build_program(char program[PATH_MAX])
{
	char command[4 * PATH_MAX], cache[PATH_MAX];

	victim_program_path("cgo_program", program);
	victim_program_path("go-cache", cache);
	snprintf(command, sizeof(command),
		 "cd '%s/tests/programs/cgo' && GOCACHE='%s' GOPATH='%s/path' GOFLAGS= "
		 "GOTOOLCHAIN=local CGO_ENABLED=1 go build -o '%s' .",
		 getenv("SPANPROF_TEST_SOURCE"), cache, cache, program);
	return system(command) == 0;
}

START_TEST(go_with_c_runs_as_without_us)
{
	char program[PATH_MAX], path[PATH_MAX];
	struct victim_setup setup = {
		.argv = (const char *const[]){program, NULL},
		/* As many signals as can be. */
		.environment = (const char *const[]){"SPANPROF_CPU_HZ=250", NULL},
	};
	struct victim *bare, *agent;
	struct cpu_profile *profile;
	double total_ns, waited_ns;

	if (!victim_has_command("go")) {
		printf("no go: skipped\n");
		return;
	}
	ck_assert(build_program(program));
	setup.is_bare = true;
	bare = victim_run(&setup);
	ck_assert(WIFEXITED(bare->status));
	ck_assert_int_eq(WEXITSTATUS(bare->status), 5);
	setup.is_bare = false;
	agent = victim_run(&setup);
	victim_assert_same(bare, agent);
	ck_assert_int_eq(
		victim_cli((const char *const[]){"recover", "-o", agent->profiles,
						 agent->recordings, NULL}),
		0);
	profile = cpu_profile_read(victim_profile(agent, 0, path));
	total_ns = (double)cpu_profile_total_ns(profile);
	waited_ns = (double)victim_cpu_ns(&agent->usage);
	/* The last reading of the clocks may be a quarter of a second old. */
	ck_assert_msg(total_ns > 0.5 * waited_ns && total_ns < 1.02 * waited_ns,
		      "total %.0f ns, wait4 %.0f ns", total_ns, waited_ns);
	ck_assert_int_gt(cpu_profile_with_ns(profile, "burn_in_c"), 50000000);
	ck_assert_int_gt(cpu_profile_with_ns(profile, "main.fibonacci"), 0);
	cpu_profile_free(profile);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

/* Who waits for it makes its profiles at its end. */
START_TEST(go_with_c_that_is_run_leaves_profiles)
{
	char program[PATH_MAX], path[PATH_MAX];
	const struct victim_setup setup = {
		.argv = (const char *const[]){victim_cli_path(), "run", program, NULL},
		.is_agent_preloaded_by_caller = true,
	};
	struct victim *victim;
	struct victim_files files;
	struct cpu_profile *profile;

	if (!victim_has_command("go"))
		return;
	ck_assert(build_program(program));
	victim = victim_run(&setup);
	ck_assert(WIFEXITED(victim->status));
	ck_assert_int_eq(WEXITSTATUS(victim->status), 5);
	victim_list(victim->profiles, "cgo_program.*.cpu.pb.gz", &files);
	ck_assert_uint_eq(files.count, 1);
	snprintf(path, sizeof(path), "%s", files.paths[0]);
	profile = cpu_profile_read(path);
	ck_assert_int_gt(cpu_profile_with_ns(profile, "burn_in_c"), 50000000);
	cpu_profile_free(profile);
	victim_files_free(&files);
	victim_assert_clean(victim);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, go_with_c_that_is_run_leaves_profiles);
	tcase_add_test(tcase, go_with_c_runs_as_without_us);
}

int main(void)
{
	return victim_main("cgo", add);
}
