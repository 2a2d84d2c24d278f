/*
 * How the loader takes the agent: beside an auditing library, for which it sets up static
 * thread-local storage before it knows of what is preloaded, and not by dlopen(), as what
 * comes late stands in front of nothing.
 */
#include "victim.h"

#include <stdio.h>
#include <string.h>

static const char *const allocators[] = {"SPANPROF_ALLOCATOR=system",
					 "SPANPROF_ALLOCATOR=jemalloc"};

START_TEST(program_is_profiled_under_an_auditor)
{
	char path[PATH_MAX], auditor[PATH_MAX + 16];
	const struct victim_setup setup = {
		.argv = (const char *const[]){"allocator", "threads", "50", NULL},
		.environment = (const char *const[]){auditor, allocators[_i], NULL},
	};
	struct victim *victim;

	snprintf(auditor, sizeof(auditor), "LD_AUDIT=%s",
		 victim_program_path("lib_auditor.so", path));
	victim = victim_run_both(&setup);
	ck_assert_ptr_nonnull(victim);
	ck_assert_uint_eq(victim_count(victim->profiles, "allocator.*.heap.pb.gz"), 1);
	victim_free(victim);
}
END_TEST

START_TEST(late_opening_is_refused)
{
	struct victim *victim = victim_run_bare("opener", victim_agent_path());

	victim_assert_success(victim);
	ck_assert_ptr_nonnull(strstr(victim->output, "cannot be dlopen()ed"));
	victim_free(victim);
}
END_TEST

START_TEST(preloaded_agent_can_be_opened_again)
{
	struct victim *victim = victim_run_agent("opener", victim_agent_path());

	victim_assert_success(victim);
	ck_assert_str_eq(victim->output, "opened\n");
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, program_is_profiled_under_an_auditor, 0, 2);
	tcase_add_test(tcase, late_opening_is_refused);
	tcase_add_test(tcase, preloaded_agent_can_be_opened_again);
}

int main(void)
{
	return victim_main("loading", add);
}
