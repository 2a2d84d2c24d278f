/* Names looked up in a module by its own tables, with nothing but guarded reads. */
/* The hooks are not in the library of the tests: they would interpose on it. */
#include "../../agent/hooks/got_image.c"
#include "../../agent/hooks/module_symbol.c"

#include <check.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/mman.h>

static uint64_t module_of(const void *address)
{
	Dl_info info;

	ck_assert_int_ne(dladdr(address, &info), 0);
	return (uint64_t)(uintptr_t)info.dli_fbase;
}

static uint64_t libc(void)
{
	return module_of(dlsym(RTLD_DEFAULT, "getenv"));
}

START_TEST(finds_what_the_loader_finds)
{
	static const char *const names[] = {"getenv", "qsort",	"abs",	  "puts",
					    "stdout", "strtol", "environ"};

	for (size_t i = 0; i < SP_ARRAY_COUNT(names); i++) {
		void *expected = dlsym(RTLD_NEXT, names[i]);

		ck_assert_msg(sp_module_symbol(libc(), names[i]) ==
				      (uint64_t)(uintptr_t)expected,
			      "%s", names[i]);
	}
}
END_TEST

START_TEST(finds_nothing_that_is_not_defined)
{
	static const char long_name[] =
		"a_name_that_is_a_good_deal_longer_than_any_name_that_is_ever_looked_up";

	ck_assert_uint_eq(sp_module_symbol(libc(), "custom_labels_abi_version"), 0);
	ck_assert_uint_eq(sp_module_symbol(libc(), ""), 0);
	ck_assert_uint_eq(sp_module_symbol(libc(), long_name), 0);
	/* Imported here, but not defined. */
	ck_assert_uint_eq(sp_module_symbol(module_of(module_of), "dladdr"), 0);
}
END_TEST

START_TEST(reads_nothing_where_no_module_is)
{
	char *page = mmap(NULL, SP_PAGE_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t start = (uint64_t)(uintptr_t)page;

	ck_assert_ptr_ne(page, MAP_FAILED);
	ck_assert_uint_eq(sp_module_symbol(start, "getenv"), 0);
	/* The beginning of one, and nothing else. */
	memcpy(page, (const void *)(uintptr_t)libc(), SP_PAGE_BYTES);
	ck_assert_uint_eq(sp_module_symbol(start, "getenv"), 0);
	munmap(page, SP_PAGE_BYTES);
	ck_assert_uint_eq(sp_module_symbol(start, "getenv"), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("module_symbol");
	TCase *tcase = tcase_create("look-up");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, finds_what_the_loader_finds);
	tcase_add_test(tcase, finds_nothing_that_is_not_defined);
	tcase_add_test(tcase, reads_nothing_where_no_module_is);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
