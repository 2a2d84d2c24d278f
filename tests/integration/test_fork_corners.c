/*
 * Children that begin or end where there is little room for us: on a small stack, and
 * in a signal's handler with the program's heap half changed.
 */
#include "cpu_profile.h"
#include "heap_profile.h"
#include "victim.h"

#define CHILDREN 20

/* The run under the agent, with that many profiles. */
static struct victim *run_mode(const char *mode, const char *setting, size_t profiles)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"fork_corners", mode, NULL},
		.environment =
			(const char *const[]){"SPANPROF_CPU_HZ=1000", setting, NULL},
		.timeout_s = 120,
	};
	struct victim *victim = victim_run_both(&setup);

	ck_assert_ptr_nonnull(victim);
	ck_assert_msg(victim_count(victim->profiles, "*.cpu.pb.gz") == profiles,
		      "%zu profiles; the agent said: %s",
		      victim_count(victim->profiles, "*.cpu.pb.gz"), victim->agent_lines);
	return victim;
}

/* How many profiles have more than that of the function. */
static unsigned count_with(const struct victim *victim, const char *function,
			   int64_t more_than_ns)
{
	struct victim_files files;
	unsigned count = 0;

	victim_list(victim->profiles, "*.cpu.pb.gz", &files);
	for (size_t i = 0; i < files.count; i++) {
		struct cpu_profile *profile = cpu_profile_read(files.paths[i]);

		count += cpu_profile_with_ns(profile, function) > more_than_ns;
		cpu_profile_free(profile);
	}
	victim_files_free(&files);
	return count;
}

/* Two threads of 300 ms each. */
START_TEST(child_of_a_small_stack_is_profiled)
{
	struct victim *victim = run_mode("small_stack", NULL, 2);

	ck_assert_uint_eq(count_with(victim, "child_work", 540000000), 1);
	victim_free(victim);
}
END_TEST

/* Blocks sampled now and then, and each of them. */
static const char *const rates[] = {"SPANPROF_HEAP_RATE=512K", "SPANPROF_HEAP_RATE=1"};

/* 40 ms of CPU time and more each. */
START_TEST(handler_that_interrupted_malloc_ends_the_child)
{
	struct victim *victim = run_mode("exit_in_malloc", rates[_i], 1 + CHILDREN);

	ck_assert_uint_eq(count_with(victim, "child_allocate", 20000000), CHILDREN);
	victim_free(victim);
}
END_TEST

/* It neither works on for ever nor ends without its profile. */
START_TEST(fork_that_a_jump_left_holds_up_nobody)
{
	struct victim *victim = run_mode("jump_out", NULL, 1);

	ck_assert_str_eq(victim->output, "jumped\n");
	ck_assert_uint_eq(count_with(victim, "child_work", 270000000), 1);
	victim_free(victim);
}
END_TEST

START_TEST(child_that_jumped_out_of_its_abort_is_profiled)
{
	struct victim *victim = run_mode("abort_and_jump", NULL, 2);

	ck_assert_uint_eq(count_with(victim, "child_work", 270000000), 1);
	victim_free(victim);
}
END_TEST

static const char *const same_numbers[] = {"same_number", "same_number_by_call"};

START_TEST(child_with_its_parents_number_is_another_process)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"fork_corners", same_numbers[_i], NULL},
		.environment = (const char *const[]){"SPANPROF_CPU_HZ=1000", NULL},
	};
	struct victim *victim = victim_run_both(&setup);

	/* NULL: no namespaces for us here. */
	if (!victim)
		return;
	ck_assert_uint_eq(victim_count(victim->profiles, "*.cpu.pb.gz"), 2);
	ck_assert_uint_eq(count_with(victim, "child_work", 540000000), 1);
	victim_free(victim);
}
END_TEST

/* It begins nothing in its own name, and leaves that to its parent. */
START_TEST(vfork_child_of_a_child_begins_no_recording)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"fork_corners", "vfork_first", NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1", NULL},
	};
	struct victim *victim = victim_run(&setup);
	struct cpu_profile *profile;
	char path[PATH_MAX];

	victim_assert_success(victim);
	victim_profile(victim, (int)victim_number(victim->output, "child_pid"), path);
	profile = cpu_profile_read(path);
	ck_assert_int_ge(cpu_profile_with_ns(profile, "child_work"), 270000000);
	cpu_profile_free(profile);
	victim_assert_clean(victim);
	victim_free(victim);
}
END_TEST

/* It goes on by itself, whatever it does; a child of its own is profiled again. */
START_TEST(child_that_nobody_knows_of_is_harmless)
{
	const struct heap_sums kept = {.alloc_objects = 1000,
				       .alloc_bytes = 1000000,
				       .inuse_objects = 750,
				       .inuse_bytes = 750000};
	const struct victim_setup setup = {
		.argv = (const char *const[]){"in_line_children", NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1",
						     "SPANPROF_CPU_HZ=1000", NULL},
	};
	struct victim *victim = victim_run_both(&setup);
	struct heap_profile *heap;
	struct cpu_profile *cpu;
	char path[PATH_MAX];

	ck_assert_ptr_nonnull(victim);
	cpu = cpu_profile_read(victim_profile(victim, 0, path));
	ck_assert_int_gt(cpu_profile_with_ns(cpu, "parent_work"), 180000000);
	ck_assert_int_eq(cpu_profile_with_ns(cpu, "child_work"), 0);
	cpu_profile_free(cpu);
	heap = heap_profile_of(victim, "heap");
	heap_profile_assert_site(heap, "parent_keep", &kept);
	ck_assert_int_eq(heap_profile_with(heap, "child_work").alloc_objects, 0);
	ck_assert_int_eq(heap_profile_with(heap, "work_with_thread").alloc_objects, 0);
	heap_profile_free(heap);
	/* The parent, and the children's children. */
	ck_assert_uint_eq(victim_count(victim->profiles, "in_line_children.*.cpu.pb.gz"),
			  5);
	victim_free(victim);
}
END_TEST

/* nginx clears it in all processes. */
START_TEST(recording_of_a_child_without_environment_is_where_its_parents_was)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"fork_corners", "no_environment", NULL},
	};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	ck_assert_uint_eq(victim_count(victim->recordings, "fork_corners.*.spanprof"), 1);
	victim_free(victim);
}
END_TEST

/* As master of postfix does. putenv() has freed the old array when we come by, and the
 * program's variable still points there. */
START_TEST(recording_of_a_child_begins_while_its_environment_moves)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"fork_corners", "first_in_putenv", NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1", NULL},
	};
	struct victim *victim = victim_run_both(&setup);

	ck_assert_ptr_nonnull(victim);
	ck_assert_str_eq(victim->output, "all moved\n");
	victim_free(victim);
}
END_TEST

/* As a worker of php-fpm: it has no thread of ours, and no end. */
START_TEST(killed_child_keeps_its_clocks_and_counters)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"fork_corners", "killed", NULL},
	};
	struct victim *victim = victim_run(&setup);
	const char *const recover[] = {"recover", "-o", victim->profiles,
				       victim->recordings, NULL};
	struct heap_profile *heap;
	struct heap_account account;
	double user_s, system_s;
	char path[PATH_MAX];
	int child;

	victim_assert_success(victim);
	child = (int)victim_number(victim->output, "child_pid");
	ck_assert_int_eq(victim_cli(recover), 0);
	heap = heap_profile_read(heap_profile_path(victim, child, "heap", path), "heap");
	account = heap_profile_account(heap);
	ck_assert_msg(account.allocations == 1000 && account.bytes == 100000 &&
			      account.frees == 1000,
		      "%.0f allocations of %.0f bytes, %.0f frees", account.allocations,
		      account.bytes, account.frees);
	/* 300 ms, but for the last period, the tick it waits for, and the pause between
	 * two notes. */
	user_s = heap_profile_told(heap, ", user ");
	system_s = heap_profile_told(heap, " s, system ");
	ck_assert_msg(user_s + system_s > 0.25, "user %.3f s, system %.3f s", user_s,
		      system_s);
	heap_profile_free(heap);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase,
		       recording_of_a_child_without_environment_is_where_its_parents_was);
	tcase_add_test(tcase, recording_of_a_child_begins_while_its_environment_moves);
	tcase_add_test(tcase, killed_child_keeps_its_clocks_and_counters);
	tcase_add_test(tcase, child_that_nobody_knows_of_is_harmless);
	tcase_add_test(tcase, vfork_child_of_a_child_begins_no_recording);
	tcase_add_test(tcase, child_of_a_small_stack_is_profiled);
	tcase_add_test(tcase, child_that_jumped_out_of_its_abort_is_profiled);
	tcase_add_loop_test(tcase, handler_that_interrupted_malloc_ends_the_child, 0, 2);
	tcase_add_test(tcase, fork_that_a_jump_left_holds_up_nobody);
	tcase_add_loop_test(tcase, child_with_its_parents_number_is_another_process, 0,
			    sizeof(same_numbers) / sizeof(same_numbers[0]));
}

int main(void)
{
	return victim_main("fork_corners", add);
}
