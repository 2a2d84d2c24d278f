/*
 * What the profiler's own thread needs of the C library is not in the program's heap,
 * whatever becomes of it there.
 */
#include "victim.h"

#include <stdio.h>
#include <unistd.h>

/* Places of 256 GiB, see sp_own_block.h. */
#define FIRST_TABLE 416
#define TABLES 16

static const char *const rates[] = {"SPANPROF_HEAP_RATE=524288", "SPANPROF_HEAP_RATE=1",
				    "SPANPROF_HEAP=no"};

START_TEST(heap_is_as_large_as_without_us)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"heap_info", "statistics", NULL},
		.environment = (const char *const[]){rates[_i], NULL},
	};

	victim_free(victim_run_both(&setup));
}
END_TEST

/* Whose own settings count from the first allocation on. */
START_TEST(checking_allocator_begins_with_the_program)
{
	static const char library[] = "/lib/x86_64-linux-gnu/libc_malloc_debug.so.0";
	char preload[2 * PATH_MAX];
	struct victim_setup setup = {
		.argv = (const char *const[]){"heap_info", "statistics", NULL},
		.environment = (const char *const[]){preload, rates[_i],
						     "MALLOC_CHECK_=3", NULL},
		.is_bare = true,
	};
	struct victim *bare, *agent;

	if (access(library, R_OK) != 0)
		return;
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", library);
	bare = victim_run(&setup);
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s:%s", victim_agent_path(),
		 library);
	setup.is_bare = false;
	setup.is_agent_preloaded_by_caller = true;
	agent = victim_run(&setup);
	victim_assert_success(bare);
	victim_assert_same(bare, agent);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

static const char *const allocators[] = {"NONE", "SPANPROF_ALLOCATOR=jemalloc"};

START_TEST(who_gets_the_stack_of_our_thread_can_work_with_it)
{
	char library[PATH_MAX];
	const struct victim_setup setup = {
		.argv = (const char *const[]){"heap_info", "stack", library, NULL},
		.environment =
			(const char *const[]){rates[_i / 2], allocators[_i % 2], NULL},
	};
	struct victim *victim;
	long long table;

	victim_program_path("lib_thread_local.so", library);
	victim = victim_run(&setup);
	victim_assert_success(victim);
	victim_assert_clean(victim);
	table = victim_number(victim->output, "table");
	ck_assert_int_ge(table, FIRST_TABLE);
	ck_assert_int_lt(table, FIRST_TABLE + TABLES);
	ck_assert_int_eq(victim_number(victim->output, "mapped"), 0);
	ck_assert_int_eq(victim_number(victim->output, "values"), 24);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	int count = sizeof(rates) / sizeof(rates[0]);

	tcase_add_loop_test(tcase, heap_is_as_large_as_without_us, 0, count);
	tcase_add_loop_test(tcase, checking_allocator_begins_with_the_program, 0, count);
	tcase_add_loop_test(tcase, who_gets_the_stack_of_our_thread_can_work_with_it, 0,
			    2 * count);
}

int main(void)
{
	return victim_main("heap_info", add);
}
