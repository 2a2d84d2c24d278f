/* Finding the allocator: all that is known of it is written down, and nothing else. */
#include <check.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* The hooks are not in the library of the tests: they would interpose on it. */
#include "../../agent/hooks/next.c"

#include "../../agent/hooks/alloc_next.c"

/* Nobody asked for jemalloc; but for all that the compiler knows, each member is read. */
SP_NOINLINE void sp_alloc_choose(const struct link_map *library,
				 struct sp_alloc_next *next)
{
	(void)library;
	__asm__ volatile("" : : "r"(next) : "memory");
}

static SP_NOINLINE void dirty_stack(void)
{
	char bytes[64 << 10];

	memset(bytes, 0xa5, sizeof(bytes));
	__asm__ volatile("" : : "r"(bytes) : "memory");
}

START_TEST(allocator_without_block_caches_is_called_at_once)
{
	dirty_stack();
	find_all();
	ck_assert(!sp_alloc_next.has_block_caches);
	ck_assert(!sp_alloc_line.has_block_caches);
}
END_TEST

START_TEST(line_leads_to_the_same_functions)
{
	find_all();
	ck_assert(sp_alloc_line.malloc == sp_alloc_next.malloc);
	ck_assert(sp_alloc_line.free == sp_alloc_next.free);
	ck_assert(sp_alloc_line.calloc == sp_alloc_next.calloc);
	ck_assert(sp_alloc_line.realloc == sp_alloc_next.realloc);
	ck_assert(sp_alloc_line.malloc == dlsym(RTLD_NEXT, "malloc"));
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("allocator");
	Suite *suite = suite_create("next allocator");
	SRunner *runner;
	int failed;

	tcase_add_test(tests, allocator_without_block_caches_is_called_at_once);
	tcase_add_test(tests, line_leads_to_the_same_functions);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
