/*
 * Which file names a module: the one it was loaded from, if it is still that one, or
 * a debug file that belongs to it; and what becomes of the names when there is none,
 * or no memory.
 */
#include "sp_symbols.h"

#include "sp_elf_fingerprint.h"
#include "symbols_module.h"
#include "test_heap.h"

#include <dlfcn.h>
#include <errno.h>

static const uint8_t build_id[20] = {0xab, 0xcd, 3,  4,	 5,  6,	 7,  8,	 9,  10,
				     11,   12,	 13, 14, 15, 16, 17, 18, 19, 20};
static const uint8_t other_id[20] = {0xab, 0xcd, 99};
/* The linker's: this program's first byte. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

#define DEBUG_DIRECTORY ".build-id/ab"
#define DEBUG_FILE DEBUG_DIRECTORY "/cd030405060708090a0b0c0d0e0f1011121314.debug"

static void set_module_id(const uint8_t *id)
{
	module.build_id = id;
	module.build_id_bytes = 20;
}

/* tiny.so gets no symbols; a debug file with hidden appears under that name. */
static void write_debug_file(const char *name, const uint8_t *id)
{
	struct tiny_elf debug;

	tiny_init(&debug);
	if (id)
		tiny_set_build_id(&debug, id, 20);
	tiny_add(&debug, "hidden", FOO, 0x40, LOCAL_FUNCTION);
	mkdir(in_scratch(".build-id"), 0700);
	mkdir(in_scratch(DEBUG_DIRECTORY), 0700);
	mkdir(in_scratch(".debug"), 0700);
	write_file(in_scratch(name), debug.bytes, sizeof(debug.bytes));
}

START_TEST(file_with_the_modules_build_id_names_it)
{
	tiny_set_build_id(&elf, build_id, 20);
	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	set_module_id(build_id);
	expect(FOO + 1, "foo", FOO);
}
END_TEST

START_TEST(file_with_another_build_id_was_replaced_and_names_nothing)
{
	tiny_set_build_id(&elf, other_id, 20);
	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	tiny_add_fde(&elf, FOO, 0x40);
	set_module_id(build_id);
	expect(FOO + 1, "tiny.so+0x2101", FOO + 1);
}
END_TEST

START_TEST(file_that_lost_its_build_id_names_nothing)
{
	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	set_module_id(build_id);
	expect(FOO + 1, "tiny.so+0x2101", FOO + 1);
}
END_TEST

START_TEST(deleted_file_is_looked_up_again_by_build_id)
{
	struct sp_symbol_query query = {.offset = FOO + 1};

	tiny_set_build_id(&elf, build_id, 20);
	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	write_file(file_path, elf.bytes, sizeof(elf.bytes));
	module.path = in_scratch("tiny.so (deleted)");
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "tiny.so+0x2101");
	set_module_id(build_id);
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "foo");
}
END_TEST

static uint64_t fingerprint_of(const uint8_t *file)
{
	Elf64_Ehdr header;
	Elf64_Phdr programs[SP_ELF_FINGERPRINT_HEADERS_MAX];

	memcpy(&header, file, sizeof(header));
	ck_assert_uint_le(header.e_phnum, SP_ELF_FINGERPRINT_HEADERS_MAX);
	memcpy(programs, file + header.e_phoff, header.e_phnum * sizeof(programs[0]));
	return sp_elf_fingerprint(&header, programs, header.e_phnum, NULL, 0);
}

START_TEST(file_without_build_id_is_known_by_its_headers)
{
	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	module.fingerprint = fingerprint_of(elf.bytes);
	expect(FOO + 1, "foo", FOO);
	/* Another build: one section more. */
	((Elf64_Ehdr *)(void *)elf.bytes)->e_shnum++;
	expect(FOO + 1, "tiny.so+0x2101", FOO + 1);
}
END_TEST

__attribute__((noinline)) void running_function(void);

void running_function(void)
{
	__asm__ volatile("");
}

/* Module and query for a function of this program, whose file is gone. */
static void become_running(struct sp_elf_file *file, struct sp_symbol_query *query)
{
	Dl_info info;

	ck_assert_int_eq(sp_elf_open(file, "/proc/self/exe"), 0);
	ck_assert_int_ne(dladdr((void *)(uintptr_t)&running_function, &info), 0);
	module.is_main = true;
	module.path = in_scratch("gone (deleted)");
	module.build_id = file->build_id;
	module.build_id_bytes = file->build_id_bytes;
	query->offset = (uint64_t)(uintptr_t)&running_function -
			(uint64_t)(uintptr_t)info.dli_fbase;
}

START_TEST(running_program_is_read_though_its_file_is_gone)
{
	struct sp_symbol_query query = {0};
	struct sp_elf_file file;

	become_running(&file, &query);
	ck_assert_uint_gt(file.build_id_bytes, 0);
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "running_function");
	sp_elf_close(&file);
}
END_TEST

START_TEST(running_program_without_build_id_is_read_though_its_file_is_gone)
{
	struct sp_symbol_query query = {0};
	struct sp_elf_file file;

	become_running(&file, &query);
	module.build_id_bytes = 0;
	module.fingerprint = fingerprint_of((const uint8_t *)__ehdr_start);
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "running_function");
	sp_elf_close(&file);
}
END_TEST

/* No name is known: it is called after the file. */
static void expect_no_name(struct sp_symbol_query *query, const char *file_name)
{
	query->name = NULL;
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, query, 1), 0);
	ck_assert_ptr_nonnull(query->name);
	ck_assert_ptr_nonnull(strstr(query->name, file_name));
}

START_TEST(another_program_that_runs_names_nothing)
{
	struct sp_symbol_query query = {0};
	struct sp_elf_file file;

	become_running(&file, &query);
	set_module_id(other_id);
	expect_no_name(&query, "gone");
	module.build_id_bytes = 0;
	expect_no_name(&query, "gone");
	sp_elf_close(&file);
}
END_TEST

/* Two are for the headers, and three for counting the symbols; its notes and its dynamic
 * section take one each. */
#define IMAGE_CALLS_MAX 12

/* How often this process has read from anywhere; the same each time where nobody counts.
 */
static long long reading_calls(void)
{
	FILE *file = fopen("/proc/self/io", "r");
	long long calls = 0;

	if (file) {
		if (fscanf(file, "rchar: %*d wchar: %*d syscr: %lld", &calls) != 1)
			calls = 0;
		fclose(file);
	}
	return calls;
}

/* The C library of this process, as if its file were gone: nothing but what is in
 * memory of it. */
START_TEST(loaded_library_is_read_from_memory_though_its_file_is_gone)
{
	uint64_t address = (uint64_t)(uintptr_t)dlsym(RTLD_NEXT, "gnu_get_libc_version");
	struct sp_symbol_query query = {0};
	struct sp_elf_file file, image;
	uint64_t start = 0;
	long long calls_before;
	Dl_info info;

	ck_assert_int_ne(dladdr((void *)(uintptr_t)address, &info), 0);
	ck_assert_int_eq(sp_elf_open(&file, info.dli_fname), 0);
	module.path = in_scratch("libc.so.6 (deleted)");
	module.base = (uint64_t)(uintptr_t)info.dli_fbase;
	module.build_id = file.build_id;
	module.build_id_bytes = file.build_id_bytes;
	ck_assert_uint_gt(file.build_id_bytes, 0);
	query.offset = address - module.base + 1;
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "gnu_get_libc_version");
	ck_assert_uint_eq(query.start_offset, address - module.base);
	/* What has no name there still has a beginning. */
	calls_before = reading_calls();
	ck_assert_int_eq(sp_elf_open_image(&image, module.base), 0);
	ck_assert_int_le(reading_calls() - calls_before, IMAGE_CALLS_MAX);
	ck_assert_int_eq(
		sp_fde_find_starts(&image, &query.offset, &(bool){true}, 1, &start), 0);
	ck_assert_uint_eq(start, address - module.base);
	ck_assert_uint_eq(image.dynsym.symbol_count, file.dynsym.symbol_count);
	/* Another library was loaded there since. */
	set_module_id(other_id);
	expect_no_name(&query, "libc.so.6");
	/* Or none. */
	module.base = 4096;
	expect_no_name(&query, "libc.so.6");
	sp_elf_close(&image);
	sp_elf_close(&file);
}
END_TEST

START_TEST(debug_file_is_found_by_build_id)
{
	tiny_set_build_id(&elf, build_id, 20);
	write_debug_file(DEBUG_FILE, build_id);
	expect(FOO + 1, "hidden", FOO);
	set_module_id(build_id);
	expect(FOO + 1, "hidden", FOO);
}
END_TEST

START_TEST(debug_file_names_a_module_whose_file_was_replaced)
{
	tiny_set_build_id(&elf, other_id, 20);
	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	write_debug_file(DEBUG_FILE, build_id);
	set_module_id(build_id);
	expect(FOO + 1, "hidden", FOO);
}
END_TEST

START_TEST(debug_file_with_another_build_id_is_refused)
{
	tiny_set_build_id(&elf, build_id, 20);
	write_debug_file(DEBUG_FILE, other_id);
	expect(FOO + 1, "tiny.so+0x2101", FOO + 1);
}
END_TEST

START_TEST(debug_file_is_found_by_link_beside_the_file)
{
	tiny_set_build_id(&elf, build_id, 20);
	tiny_set_link(&elf, "tiny.debug", 0);
	write_debug_file("tiny.debug", build_id);
	expect(FOO + 1, "hidden", FOO);
}
END_TEST

START_TEST(debug_file_is_found_by_link_in_the_debug_directory)
{
	tiny_set_build_id(&elf, build_id, 20);
	tiny_set_link(&elf, "tiny.debug", 0);
	write_debug_file(".debug/tiny.debug", build_id);
	expect(FOO + 1, "hidden", FOO);
}
END_TEST

static uint32_t checksum_of(const char *name)
{
	FILE *file = fopen(in_scratch(name), "rb");
	uint32_t crc = UINT32_MAX;
	int byte;

	while ((byte = fgetc(file)) != EOF) {
		crc ^= (uint32_t)byte;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
	}
	fclose(file);
	return ~crc;
}

START_TEST(linked_file_without_build_id_needs_the_right_checksum)
{
	uint32_t crc;

	write_debug_file("tiny.debug", NULL);
	crc = checksum_of("tiny.debug");
	tiny_set_link(&elf, "tiny.debug", crc ^ 1);
	expect(FOO + 1, "tiny.so+0x2101", FOO + 1);
	tiny_set_link(&elf, "tiny.debug", crc);
	expect(FOO + 1, "hidden", FOO);
}
END_TEST

START_TEST(absent_file_gives_offsets)
{
	struct sp_symbol_query query = {.offset = 0x1234};

	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "tiny.so+0x1234");
	ck_assert_ptr_eq(query.name, query.system_name);
	module.path = NULL;
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "[module]+0x1234");
}
END_TEST

START_TEST(what_is_no_regular_file_gives_offsets)
{
	struct sp_symbol_query query = {.offset = 0x1234};

	ck_assert_int_eq(mkfifo(file_path, 0600), 0);
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "tiny.so+0x1234");
	unlink(file_path);
	ck_assert_int_eq(mkdir(file_path, 0700), 0);
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "tiny.so+0x1234");
}
END_TEST

START_TEST(every_address_has_a_name_however_short_memory_is)
{
	size_t used_before = test_heap_used_bytes();
	int failures = 0;

	tiny_set_build_id(&elf, build_id, 20);
	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	tiny_add(&elf, "_Z3barv", FOO, 0x40, TINY_FUNCTION);
	tiny_add_fde(&elf, FOO + 0x40, 0x40);
	write_debug_file(DEBUG_FILE, build_id);
	write_file(file_path, elf.bytes, sizeof(elf.bytes));
	for (size_t allowed = 0; allowed < 40; allowed++) {
		struct sp_symbol_query queries[2] = {{.offset = FOO},
						     {.offset = FOO + 0x50}};
		struct sp_symbols *fresh;
		int err;

		test_heap_refuse_after(allowed);
		fresh = sp_symbols_create();
		if (fresh) {
			sp_symbols_set_places(fresh, scratch, scratch);
			err = sp_symbols_resolve(fresh, &module, queries, 2);
			ck_assert(err == 0 || err == -ENOMEM);
			failures += err != 0;
			for (int i = 0; i < 2; i++) {
				ck_assert_ptr_nonnull(queries[i].name);
				ck_assert_ptr_nonnull(queries[i].system_name);
				ck_assert_uint_le(queries[i].start_offset,
						  queries[i].offset);
			}
			(void)sp_symbols_resolve_jit(fresh, 1, FOO);
		}
		sp_symbols_destroy(fresh);
		ck_assert_uint_eq(test_heap_used_bytes(), used_before);
	}
	test_heap_refuse_after(SIZE_MAX);
	ck_assert_int_gt(failures, 5);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("symbols_files");
	TCase *tc = tcase_create("one module");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup_module, symbols_teardown);
	tcase_add_test(tc, file_with_the_modules_build_id_names_it);
	tcase_add_test(tc, file_with_another_build_id_was_replaced_and_names_nothing);
	tcase_add_test(tc, file_that_lost_its_build_id_names_nothing);
	tcase_add_test(tc, deleted_file_is_looked_up_again_by_build_id);
	tcase_add_test(tc, file_without_build_id_is_known_by_its_headers);
	tcase_add_test(tc, running_program_is_read_though_its_file_is_gone);
	tcase_add_test(tc,
		       running_program_without_build_id_is_read_though_its_file_is_gone);
	tcase_add_test(tc, another_program_that_runs_names_nothing);
	tcase_add_test(tc, loaded_library_is_read_from_memory_though_its_file_is_gone);
	tcase_add_test(tc, debug_file_is_found_by_build_id);
	tcase_add_test(tc, debug_file_names_a_module_whose_file_was_replaced);
	tcase_add_test(tc, debug_file_with_another_build_id_is_refused);
	tcase_add_test(tc, debug_file_is_found_by_link_beside_the_file);
	tcase_add_test(tc, debug_file_is_found_by_link_in_the_debug_directory);
	tcase_add_test(tc, linked_file_without_build_id_needs_the_right_checksum);
	tcase_add_test(tc, absent_file_gives_offsets);
	tcase_add_test(tc, what_is_no_regular_file_gives_offsets);
	tcase_add_test(tc, every_address_has_a_name_however_short_memory_is);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
