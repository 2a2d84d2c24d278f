/* The .debug_frame of a file, for code that has no unwind data in memory. */
#include "run_suite.h"
#include "unwind_cfi.h"
#include "unwind_fixture.h"

#include <check.h>
#include <dlfcn.h>

#define WITHOUT_TABLES "-O1 -g -fno-asynchronous-unwind-tables -fno-unwind-tables "

static struct announced announced;
static struct sp_modules *modules;

static const char source[] =
	"int twice(int (*call)(int), int n) { return call(n) + call(n + 1); }\n"
	"int thrice(int (*call)(int), int n) { return twice(call, n) + call(n + 2); }\n"
	"int end(void) { return 0; }\n";

/* As a start-up file, which has its entry in memory whatever the program is told. */
static const char start_up[] = ".text\n.globl listed\n.type listed, @function\n"
			       "listed:\n.cfi_startproc\nret\n.cfi_endproc\n"
			       ".size listed, . - listed\n"
			       ".section .note.GNU-stack\n";

static char start_up_path[64];

static void setup(void)
{
	FILE *file;

	snprintf(start_up_path, sizeof(start_up_path), "/tmp/sp_test_debug_frame_%d.s",
		 (int)getpid());
	file = fopen(start_up_path, "w");
	ck_assert_ptr_nonnull(file);
	fputs(start_up, file);
	fclose(file);

	announced.count = 0;
	modules = sp_modules_create(announce, &announced);
	ck_assert_ptr_nonnull(modules);
}

static void teardown(void)
{
	sp_modules_destroy(modules);
	unlink(start_up_path);
}

static void *open_compiled(const char *flags)
{
	static int number;
	char library[64];
	void *handle;

	/* Another name each time: for one that is open the loader looks at no file. */
	snprintf(library, sizeof(library), "/tmp/sp_test_debug_frame_%d_%d.so",
		 (int)getpid(), number++);
	ck_assert(compile_library(source, flags, library));
	handle = dlopen(library, RTLD_NOW);
	ck_assert_ptr_nonnull(handle);
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	unlink(library);
	return handle;
}

static uint64_t address_in(void *handle, const char *name)
{
	return (uint64_t)(uintptr_t)dlsym(handle, name);
}

static const struct sp_unwind_module *module_of(void *handle)
{
	const struct sp_unwind_module *module =
		sp_unwind_find_module(snapshot(), address_in(handle, "twice"));

	ck_assert_ptr_nonnull(module);
	return module;
}

static uint64_t rule_in(void *handle, const char *name, uint64_t offset)
{
	struct sp_cfi_row row;

	return sp_cfi_find_rule(module_of(handle), address_in(handle, name) + offset,
				&row);
}

START_TEST(debug_frame_serves_where_nothing_is_loaded)
{
	void *handle = open_compiled(WITHOUT_TABLES "-nostdlib -Wl,--no-eh-frame-hdr");

	ck_assert(module_of(handle)->is_debug_frame);
	ck_assert_uint_eq(module_of(handle)->fde_count, 3);
	ck_assert_int_eq(sp_rule_kind(rule_in(handle, "thrice", 0)), SP_RULE_CFA_RSP);
}
END_TEST

/* With a search table in memory, and without. */
static const char *const linked[] = {"-Wl,--eh-frame-hdr", "-Wl,--no-eh-frame-hdr"};

static void *open_with_start_up(const char *flags, const char *link)
{
	char all[256];

	snprintf(all, sizeof(all), "%s %s -x assembler %s -x c", flags, link,
		 start_up_path);
	return open_compiled(all);
}

START_TEST(debug_frame_serves_where_start_up_files_alone_have_entries)
{
	void *handle = open_with_start_up(WITHOUT_TABLES, linked[_i]);
	void *with = open_compiled("-O1 -g -fasynchronous-unwind-tables");
	uint64_t bytes = address_in(with, "end") - address_in(with, "twice");

	ck_assert_ptr_nonnull(module_of(handle)->debug_frame);
	ck_assert(!module_of(handle)->is_debug_frame);
	ck_assert_int_eq(sp_rule_kind(rule_in(handle, "listed", 0)), SP_RULE_CFA_RSP);
	ck_assert_uint_eq(address_in(handle, "end") - address_in(handle, "twice"), bytes);
	for (uint64_t i = 0; i < bytes; i++)
		ck_assert_uint_eq(rule_in(handle, "twice", i), rule_in(with, "twice", i));
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("debug_frame");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, debug_frame_serves_where_nothing_is_loaded);
	tcase_add_loop_test(tc,
			    debug_frame_serves_where_start_up_files_alone_have_entries, 0,
			    sizeof(linked) / sizeof(linked[0]));
	return run_suite("modules_debug_frame", tc);
}
