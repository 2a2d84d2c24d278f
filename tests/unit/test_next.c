/* Looking up the next definition of a symbol without the dynamic loader's help. */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* The hooks are not in the library of the tests: they would interpose on it. */
#include "../../agent/hooks/next.c"

START_TEST(finds_what_the_loader_would_find)
{
	static const char *const names[] = {
		"malloc",
		"free",
		"poll",
		"pthread_create",
		"pthread_cond_wait",
		"memcpy",
		"strlen",
		"time",
		"clock_gettime",
		"sigaction",
		"dlopen",
		"_exit",
		"sem_wait",
		"posix_memalign",
		"realpath",
		"getenv",
		"setjmp",
		"__tls_get_addr",
		"epoll_pwait2",
		"sigtimedwait",
	};

	for (size_t i = 0; i < SP_ARRAY_COUNT(names); i++) {
		void *expected = dlsym(RTLD_NEXT, names[i]);

		ck_assert_ptr_nonnull(expected);
		ck_assert_msg(sp_next_find(names[i]) == expected, "%s", names[i]);
	}
}
END_TEST

START_TEST(finds_the_version_asked_for)
{
	void *old = dlvsym(RTLD_NEXT, "pthread_cond_wait", "GLIBC_2.2.5");
	void *new = dlvsym(RTLD_NEXT, "pthread_cond_wait", "GLIBC_2.3.2");

	ck_assert_ptr_ne(old, new);
	ck_assert_ptr_eq(sp_next_find_version("pthread_cond_wait", "GLIBC_2.2.5"), old);
	ck_assert_ptr_eq(sp_next_find_version("pthread_cond_wait", "GLIBC_2.3.2"), new);
	ck_assert_ptr_null(sp_next_find_version("pthread_cond_wait", "GLIBC_9.9"));
}
END_TEST

START_TEST(finds_what_is_kept_only_for_old_programs)
{
	void *expected = dlvsym(RTLD_NEXT, "ustat", "GLIBC_2.2.5");

	ck_assert_ptr_nonnull(expected);
	ck_assert_ptr_eq(sp_next_find("ustat"), expected);
}
END_TEST

START_TEST(unknown_and_empty_names_have_no_next_definition)
{
	errno = E2BIG;
	ck_assert_ptr_null(sp_next_find("spanprof_no_such_function"));
	ck_assert_ptr_null(sp_next_find(""));
	ck_assert_int_eq(errno, E2BIG);
}
END_TEST

START_TEST(own_definitions_are_skipped)
{
	/* Check is loaded after this program; this symbol is ours alone. */
	ck_assert_ptr_null(sp_next_find("main"));
	ck_assert_ptr_nonnull(sp_next_own_object());
	ck_assert_ptr_eq(sp_next_own_object()->l_ld, _DYNAMIC);
}
END_TEST

START_TEST(first_definition_is_what_the_program_is_bound_to)
{
	void *old = dlvsym(RTLD_DEFAULT, "pthread_cond_wait", "GLIBC_2.2.5");

	ck_assert_ptr_eq(sp_next_find_first("pthread_cond_wait", NULL),
			 dlsym(RTLD_DEFAULT, "pthread_cond_wait"));
	ck_assert_ptr_eq(sp_next_find_first("pthread_cond_wait", "GLIBC_2.2.5"), old);
	ck_assert_ptr_null(sp_next_find_first("spanprof_no_such_function", NULL));
	ck_assert_ptr_null(sp_next_find_first("__vdso_gettimeofday", NULL));
	ck_assert_ptr_nonnull(sp_next_last_object());
	ck_assert_ptr_null(sp_next_last_object()->l_next);
}
END_TEST

START_TEST(the_kernel_object_is_never_the_next_one)
{
	uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);

	/* Only the kernel's object defines this name. */
	ck_assert_uint_ne(vdso, 0);
	ck_assert_ptr_null(sp_next_find("__vdso_gettimeofday"));
}
END_TEST

static int count_calls(void)
{
	return getpid() == SP_NEXT(getpid)();
}

START_TEST(cached_call_reaches_the_real_function)
{
	ck_assert_int_eq(count_calls(), 1);
	ck_assert_int_eq(count_calls(), 1);
	ck_assert_ptr_eq((void *)SP_NEXT_AS("__sigaction", int (*)(void)),
			 dlsym(RTLD_NEXT, "__sigaction"));
}
END_TEST

/*
 * A made-up object: symbol 1 "f" of an old version, symbol 2 "f" of the default
 * version, 3 "undefined", 4 "g" old only, 5 "i" an indirect function.
 */
static int old_f, new_f, old_g, resolved_i;

static void *resolve_i(void)
{
	return &resolved_i;
}

static struct made_object {
	struct link_map map;
	ElfW(Dyn) dynamic[8];
	ElfW(Sym) symbols[6];
	ElfW(Versym) versions[6];
	Elf32_Word hash[2 + 1 + 6];
	struct {
		ElfW(Verdef) head;
		ElfW(Verdaux) name;
	} definitions[2];
	char strings[64];
} object;

static uint32_t add_string(uint32_t *used, const char *text)
{
	uint32_t at = *used;

	memcpy(object.strings + at, text, strlen(text) + 1);
	*used += (uint32_t)strlen(text) + 1;
	return at;
}

static void set_dynamic(size_t i, ElfW(Sxword) tag, const void *address, bool is_relative)
{
	object.dynamic[i].d_tag = tag;
	object.dynamic[i].d_un.d_ptr =
		(uintptr_t)address - (is_relative ? object.map.l_addr : 0);
}

static void make_object(bool is_relative)
{
	static const void *const targets[] = {NULL, &old_f, &new_f, NULL, &old_g};
	static const char *const names[] = {"", "f", "f", "undefined", "g", "i"};
	static const ElfW(Versym)
		versions[] = {0, 2 | VERSION_HIDDEN, 3, 0, 2 | VERSION_HIDDEN, 3};
	uint32_t used = 1;

	memset(&object, 0, sizeof(object));
	/* Page zero of the image lies anywhere below; the addresses are relative to it.
	 */
	object.map.l_addr = 4096;
	object.map.l_ld = object.dynamic;
	object.hash[0] = 1; /* one bucket: every symbol on one chain */
	object.hash[1] = 6;
	object.hash[2] = 1;
	for (uint32_t i = 1; i < 6; i++) {
		object.symbols[i].st_name = add_string(&used, names[i]);
		object.symbols[i].st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
		object.versions[i] = versions[i];
		object.hash[3 + i] = i == 5 ? 0 : i + 1;
		if (i == 3)
			continue;
		object.symbols[i].st_shndx = 1;
		object.symbols[i].st_value =
			(i == 5 ? (uintptr_t)resolve_i : (uintptr_t)targets[i]) - 4096;
	}
	object.symbols[5].st_info = ELF64_ST_INFO(STB_GLOBAL, STT_GNU_IFUNC);
	for (uint16_t i = 0; i < 2; i++) {
		object.definitions[i].head.vd_ndx = (uint16_t)(2 + i);
		object.definitions[i].head.vd_aux = sizeof(ElfW(Verdef));
		object.definitions[i].head.vd_next =
			i == 0 ? sizeof(object.definitions[0]) : 0;
		object.definitions[i].name.vda_name =
			add_string(&used, i == 0 ? "OLD" : "NEW");
	}
	if (is_relative)
		object.map.l_addr = (uintptr_t)&object;
	set_dynamic(0, DT_SYMTAB, object.symbols, is_relative);
	set_dynamic(1, DT_STRTAB, object.strings, is_relative);
	set_dynamic(2, DT_HASH, object.hash, is_relative);
	set_dynamic(3, DT_VERSYM, object.versions, is_relative);
	set_dynamic(4, DT_VERDEF, object.definitions, is_relative);
	set_dynamic(5, DT_NULL, NULL, false);
	if (is_relative)
		for (uint32_t i = 1; i < 6; i++)
			if (i != 3)
				object.symbols[i].st_value += 4096 - object.map.l_addr;
}

START_TEST(object_with_the_old_hash_table_is_searched)
{
	make_object(_i != 0);
	ck_assert_ptr_eq(sp_next_find_in(&object.map, "f", NULL), &new_f);
	ck_assert_ptr_eq(sp_next_find_in(&object.map, "f", "OLD"), &old_f);
	ck_assert_ptr_eq(sp_next_find_in(&object.map, "f", "NEW"), &new_f);
	ck_assert_ptr_null(sp_next_find_in(&object.map, "f", "OLDER"));
	ck_assert_ptr_eq(sp_next_find_in(&object.map, "g", NULL), &old_g);
	ck_assert_ptr_eq(sp_next_find_in(&object.map, "i", NULL), &resolved_i);
	ck_assert_ptr_null(sp_next_find_in(&object.map, "undefined", NULL));
	ck_assert_ptr_null(sp_next_find_in(&object.map, "h", NULL));
}
END_TEST

START_TEST(object_without_tables_defines_nothing)
{
	make_object(false);
	object.dynamic[2].d_tag = DT_DEBUG;
	ck_assert_ptr_null(sp_next_find_in(&object.map, "f", NULL));
	object.map.l_ld = NULL;
	ck_assert_ptr_null(sp_next_find_in(&object.map, "f", NULL));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("next");
	TCase *loaded = tcase_create("loaded objects");
	TCase *made = tcase_create("made-up objects");
	SRunner *runner;
	int failed;

	tcase_add_test(loaded, finds_what_the_loader_would_find);
	tcase_add_test(loaded, finds_the_version_asked_for);
	tcase_add_test(loaded, finds_what_is_kept_only_for_old_programs);
	tcase_add_test(loaded, unknown_and_empty_names_have_no_next_definition);
	tcase_add_test(loaded, own_definitions_are_skipped);
	tcase_add_test(loaded, first_definition_is_what_the_program_is_bound_to);
	tcase_add_test(loaded, the_kernel_object_is_never_the_next_one);
	tcase_add_test(loaded, cached_call_reaches_the_real_function);
	tcase_add_loop_test(made, object_with_the_old_hash_table_is_searched, 0, 2);
	tcase_add_test(made, object_without_tables_defines_nothing);
	suite_add_tcase(suite, loaded);
	suite_add_tcase(suite, made);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
