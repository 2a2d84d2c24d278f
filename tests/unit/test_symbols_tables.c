/*
 * What names an address, on ELF files made for the purpose.
 */
#include "sp_symbols.h"

#include "sp_elf_file.h"
#include "sp_heap.h"
#include "test_heap.h"
#include "test_symbols_elf.h"

#include <errno.h>
#include <time.h>

#define FOO (TINY_TEXT + 0x100)
#define WEAK_FUNCTION ELF64_ST_INFO(STB_WEAK, STT_FUNC)
#define LOCAL_FUNCTION ELF64_ST_INFO(STB_LOCAL, STT_FUNC)

static struct tiny_elf elf;
static struct sp_symbols *symbols;
static struct sp_view_module module;

static void setup(void)
{
	enter_scratch();
	tiny_init(&elf);
	symbols = sp_symbols_create();
	ck_assert_ptr_nonnull(symbols);
	sp_symbols_set_places(symbols, scratch, scratch);
	module = (struct sp_view_module){.id = 1, .path = strdup(in_scratch("tiny.so"))};
}

static void teardown(void)
{
	sp_symbols_destroy(symbols);
	free((void *)(uintptr_t)module.path);
	leave_scratch();
}

static struct sp_symbol_query ask(uint64_t offset)
{
	struct sp_symbol_query query = {.offset = offset};

	write_file(module.path, elf.bytes, sizeof(elf.bytes));
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_ptr_nonnull(query.name);
	ck_assert_ptr_nonnull(query.system_name);
	return query;
}

static void expect(uint64_t offset, const char *name, uint64_t start)
{
	struct sp_symbol_query query = ask(offset);

	ck_assert_str_eq(query.name, name);
	ck_assert_uint_eq(query.start_offset, start);
}

START_TEST(symbol_names_every_address_it_covers_and_no_other)
{
	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	tiny_add(&elf, "bar", FOO + 0x60, 0x40, TINY_FUNCTION);
	expect(FOO, "foo", FOO);
	expect(FOO + 0x3f, "foo", FOO);
	expect(FOO + 0x40, "tiny.so+0x2140", FOO + 0x40);
	expect(FOO + 0x5f, "tiny.so+0x215f", FOO + 0x5f);
	expect(FOO + 0x60, "bar", FOO + 0x60);
	expect(FOO - 1, "tiny.so+0x20ff", FOO - 1);
	expect(0, "tiny.so+0x0", 0);
	expect(UINT64_MAX, "tiny.so+0xffffffffffffffff", UINT64_MAX);
}
END_TEST

START_TEST(unwind_entry_names_an_address_without_symbol_by_its_start)
{
	tiny_add(&elf, "foo", FOO, 0x10, TINY_FUNCTION);
	tiny_add_fde(&elf, FOO, 0x10);
	tiny_add_fde(&elf, FOO + 0x20, 0x30);
	tiny_add_fde(&elf, FOO + 0x80, 0x30);
	expect(FOO + 0xf, "foo", FOO);
	expect(FOO + 0x10, "tiny.so+0x2110", FOO + 0x10);
	expect(FOO + 0x20, "tiny.so+0x2120", FOO + 0x20);
	expect(FOO + 0x4f, "tiny.so+0x2120", FOO + 0x20);
	expect(FOO + 0x50, "tiny.so+0x2150", FOO + 0x50);
	expect(FOO + 0x81, "tiny.so+0x2180", FOO + 0x80);
}
END_TEST

START_TEST(symbol_without_size_names_the_function_that_starts_with_it)
{
	tiny_add(&elf, "_start", FOO, 0, ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE));
	tiny_add_fde(&elf, FOO, 0x20);
	expect(FOO + 0x1f, "_start", FOO);
	expect(FOO + 0x20, "tiny.so+0x2120", FOO + 0x20);
}
END_TEST

START_TEST(symbol_without_size_names_nothing_when_the_function_starts_elsewhere)
{
	tiny_add(&elf, "label", FOO + 8, 0, ELF64_ST_INFO(STB_LOCAL, STT_NOTYPE));
	expect(FOO + 0x10, "tiny.so+0x2110", FOO + 0x10);
	tiny_add_fde(&elf, FOO, 0x20);
	expect(FOO + 0x10, "tiny.so+0x2100", FOO);
}
END_TEST

START_TEST(symbol_without_size_ends_where_the_next_symbol_starts)
{
	tiny_add(&elf, "label", FOO, 0, ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE));
	tiny_add(&elf, "sized", FOO + 8, 4, TINY_FUNCTION);
	tiny_add_fde(&elf, FOO, 0x20);
	expect(FOO + 4, "label", FOO);
	expect(FOO + 9, "sized", FOO + 8);
	expect(FOO + 0x10, "tiny.so+0x2100", FOO);
}
END_TEST

START_TEST(label_is_not_believed_where_an_alias_says_it_is_shorter)
{
	for (int is_label_first = 0; is_label_first < 2; is_label_first++) {
		tiny_init(&elf);
		if (is_label_first)
			tiny_add(&elf, "label", FOO, 0, TINY_FUNCTION);
		tiny_add(&elf, "sized", FOO, 4, TINY_FUNCTION);
		if (!is_label_first)
			tiny_add(&elf, "label", FOO, 0, TINY_FUNCTION);
		tiny_add_fde(&elf, FOO, 0x20);
		expect(FOO + 3, "sized", FOO);
		expect(FOO + 8, "tiny.so+0x2100", FOO);
	}
}
END_TEST

START_TEST(neighbouring_addresses_each_find_their_own_symbol)
{
	struct sp_symbol_query queries[64] = {0};
	char name[16];

	for (unsigned int i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		tiny_add(&elf, name, FOO + i, 1, TINY_FUNCTION);
		queries[i].offset = FOO + i;
	}
	write_file(module.path, elf.bytes, sizeof(elf.bytes));
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, queries, 64), 0);
	for (unsigned int i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		ck_assert_str_eq(queries[i].name, name);
	}
}
END_TEST

START_TEST(labels_of_many_addresses_reach_to_the_next_start)
{
	struct sp_symbol_query queries[4] = {{.offset = FOO + 1},
					     {.offset = FOO + 2},
					     {.offset = FOO + 0x21},
					     {.offset = FOO + 0x22}};

	tiny_add(&elf, "second", FOO + 0x20, 0, TINY_FUNCTION);
	tiny_add(&elf, "first", FOO, 0, TINY_FUNCTION);
	tiny_add_fde(&elf, FOO, 0x20);
	tiny_add_fde(&elf, FOO + 0x20, 0x20);
	write_file(module.path, elf.bytes, sizeof(elf.bytes));
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, queries, 4), 0);
	ck_assert_str_eq(queries[0].name, "first");
	ck_assert_str_eq(queries[1].name, "first");
	ck_assert_str_eq(queries[2].name, "second");
	ck_assert_str_eq(queries[3].name, "second");
}
END_TEST

/* Each pair: the better name, the worse one. */
static const struct {
	const char *better;
	int better_info;
	const char *worse;
	int worse_info;
} aliases[] = {
	{"aaa", TINY_FUNCTION, "bb", LOCAL_FUNCTION},
	{"aaa", TINY_FUNCTION, "bb", WEAK_FUNCTION},
	{"aaa", LOCAL_FUNCTION, "bb", WEAK_FUNCTION},
	{"aaa", WEAK_FUNCTION, "bb", ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE)},
	{"malloc", TINY_FUNCTION, "__libc_malloc", TINY_FUNCTION},
	{"sin", WEAK_FUNCTION, "sinf64", WEAK_FUNCTION},
	{"memmove", TINY_FUNCTION, "memcpy@GLIBC_2.2.5", TINY_FUNCTION},
	{"alpha", TINY_FUNCTION, "bravo", TINY_FUNCTION},
};

START_TEST(best_alias_names_the_function_whatever_their_order)
{
	int i = _i / 2;

	if (_i % 2 == 0)
		tiny_add(&elf, aliases[i].better, FOO, 0x20, aliases[i].better_info);
	tiny_add(&elf, aliases[i].worse, FOO, 0x20, aliases[i].worse_info);
	if (_i % 2 == 1)
		tiny_add(&elf, aliases[i].better, FOO, 0x20, aliases[i].better_info);
	expect(FOO + 4, aliases[i].better, FOO);
}
END_TEST

START_TEST(inner_symbol_wins_over_the_one_around_it)
{
	tiny_add(&elf, "inner", FOO + 0x10, 0x10, LOCAL_FUNCTION);
	tiny_add(&elf, "outer", FOO, 0x40, TINY_FUNCTION);
	expect(FOO + 0x0f, "outer", FOO);
	expect(FOO + 0x10, "inner", FOO + 0x10);
	expect(FOO + 0x20, "outer", FOO);
}
END_TEST

START_TEST(version_is_cut_from_the_name)
{
	tiny_add(&elf, "memcpy@@GLIBC_2.14", FOO, 0x40, TINY_FUNCTION);
	ck_assert_str_eq(ask(FOO).name, "memcpy");
	ck_assert_str_eq(ask(FOO).system_name, "memcpy");
}
END_TEST

START_TEST(mangled_name_is_shown_readable_and_kept_as_system_name)
{
	tiny_add(&elf, "_ZN2ns3AddIiEEvT_S1_", FOO, 0x40, TINY_FUNCTION);
	ck_assert_str_eq(ask(FOO).name, "ns::Add<int>");
	ck_assert_str_eq(ask(FOO).system_name, "_ZN2ns3AddIiEEvT_S1_");
}
END_TEST

START_TEST(what_is_no_function_of_this_file_names_nothing)
{
	tiny_add(&elf, "data", FOO, 0x40, ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT));
	tiny_add(&elf, "imported", FOO, 0x40, TINY_FUNCTION);
	tiny_symbol(&elf, 2)->st_shndx = SHN_UNDEF;
	tiny_add(&elf, "absolute", FOO, 0x40, TINY_FUNCTION);
	tiny_symbol(&elf, 3)->st_shndx = SHN_ABS;
	tiny_add(&elf, "elsewhere", 0x10, 0x40, TINY_FUNCTION);
	expect(FOO, "tiny.so+0x2100", FOO);
	expect(0x10, "tiny.so+0x10", 0x10);
}
END_TEST

START_TEST(symbol_larger_than_its_section_names_nothing)
{
	tiny_add(&elf, "huge", FOO, UINT64_MAX, TINY_FUNCTION);
	tiny_add(&elf, "long", FOO, TINY_TEXT_BYTES - 0x100 + 1, TINY_FUNCTION);
	expect(FOO, "tiny.so+0x2100", FOO);
	tiny_add(&elf, "fits", FOO, TINY_TEXT_BYTES - 0x100, TINY_FUNCTION);
	expect(TINY_TEXT + TINY_TEXT_BYTES - 1, "fits", FOO);
}
END_TEST

START_TEST(name_outside_the_strings_is_no_name)
{
	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	tiny_symbol(&elf, 1)->st_name = 5;
	expect(FOO, "tiny.so+0x2100", FOO);
	tiny_symbol(&elf, 1)->st_name = UINT32_MAX;
	expect(FOO, "tiny.so+0x2100", FOO);
	tiny_symbol(&elf, 1)->st_name = 0;
	expect(FOO, "tiny.so+0x2100", FOO);
}
END_TEST

START_TEST(name_that_runs_out_of_the_strings_is_no_name)
{
	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	tiny_section(&elf, TINY_SECTION_STRTAB)->sh_size = 4;
	expect(FOO, "tiny.so+0x2100", FOO);
	tiny_section(&elf, TINY_SECTION_STRTAB)->sh_size = 5;
	expect(FOO, "foo", FOO);
}
END_TEST

START_TEST(bytes_that_are_no_text_are_replaced)
{
	tiny_add(&elf,
		 "a\x01\xff"
		 "b\xc3\xa9\xc0\x80\xe2\x82",
		 FOO, 0x40, TINY_FUNCTION);
	expect(FOO, "a??b\xc3\xa9????", FOO);
}
END_TEST

START_TEST(long_name_is_cut_not_lost)
{
	struct sp_elf_table table = {0};
	struct sp_elf_file file;
	char name[300];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	tiny_add(&elf, name, FOO, 0x40, TINY_FUNCTION);
	expect(FOO, name, FOO);

	ck_assert_int_eq(sp_elf_open(&file, module.path), 0);
	table = file.symtab;
	for (int is_kept = 0; is_kept < 2; is_kept++) {
		char small[280];

		if (is_kept)
			sp_elf_keep_names(&file, &table);
		ck_assert(sp_elf_read_name(&file, &table, 1, small, sizeof(small)));
		ck_assert_uint_eq(strlen(small), sizeof(small) - 1);
		ck_assert(sp_elf_read_name(&file, &table, 2, name, sizeof(name)));
		ck_assert_uint_eq(strlen(name), 298);
		ck_assert(
			!sp_elf_read_name(&file, &table, table.strings_bytes, name, 10));
		ck_assert(!sp_elf_read_name(&file, &table, 0, name, 10));
	}
	sp_heap_free(table.kept_strings);
	sp_elf_close(&file);
}
END_TEST

START_TEST(unsorted_addresses_are_refused_but_have_names)
{
	struct sp_symbol_query queries[2] = {{.offset = FOO + 4}, {.offset = FOO}};

	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	write_file(module.path, elf.bytes, sizeof(elf.bytes));
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, queries, 2), -EINVAL);
	ck_assert_str_eq(queries[0].name, "tiny.so+0x2104");
	ck_assert_str_eq(queries[1].name, "tiny.so+0x2100");
}
END_TEST

START_TEST(table_of_overlapping_giants_is_given_up_in_time)
{
	enum { ADDRESSES = 2000, SYMBOLS = 50000 };
	struct sp_symbol_query *queries = calloc(ADDRESSES, sizeof(*queries));
	uint8_t *bytes = calloc(1, TINY_BYTES + SYMBOLS * sizeof(Elf64_Sym));
	struct timespec before, after;

	tiny_add(&elf, "giant", TINY_TEXT, TINY_TEXT_BYTES, TINY_FUNCTION);
	tiny_section(&elf, TINY_SECTION_SYMTAB)->sh_offset = TINY_BYTES;
	tiny_section(&elf, TINY_SECTION_SYMTAB)->sh_size = SYMBOLS * sizeof(Elf64_Sym);
	memcpy(bytes, elf.bytes, TINY_BYTES);
	for (uint32_t i = 0; i < SYMBOLS; i++)
		memcpy(bytes + TINY_BYTES + i * sizeof(Elf64_Sym), tiny_symbol(&elf, 1),
		       sizeof(Elf64_Sym));
	write_file(module.path, bytes, TINY_BYTES + SYMBOLS * sizeof(Elf64_Sym));
	for (size_t i = 0; i < ADDRESSES; i++)
		queries[i].offset = TINY_TEXT + i * 2;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, queries, ADDRESSES), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	ck_assert_str_eq(queries[ADDRESSES - 1].name, "giant");
	/* 100 million steps without the budget, 1 million with it. */
	ck_assert_int_lt((after.tv_sec - before.tv_sec) * 1000 +
				 (after.tv_nsec - before.tv_nsec) / 1000000,
			 100);
	free(bytes);
	free(queries);
}
END_TEST

static const uint8_t build_id[20] = {0xab, 0xcd, 3,  4,	 5,  6,	 7,  8,	 9,  10,
				     11,   12,	 13, 14, 15, 16, 17, 18, 19, 20};
static const uint8_t other_id[20] = {0xab, 0xcd, 99};
#define DEBUG_DIRECTORY ".build-id/ab"
#define DEBUG_FILE DEBUG_DIRECTORY "/cd030405060708090a0b0c0d0e0f1011121314.debug"

static void set_module_id(const uint8_t *id)
{
	module.build_id = id;
	module.build_id_bytes = 20;
}

/* tiny.so gets no symbols; a debug file with foo appears at path. */
static void write_debug_file(const char *path, const uint8_t *id)
{
	struct tiny_elf debug;

	tiny_init(&debug);
	if (id)
		tiny_set_build_id(&debug, id, 20);
	tiny_add(&debug, "hidden", FOO, 0x40, LOCAL_FUNCTION);
	mkdir(in_scratch(".build-id"), 0700);
	mkdir(in_scratch(DEBUG_DIRECTORY), 0700);
	mkdir(in_scratch(".debug"), 0700);
	write_file(in_scratch(path), debug.bytes, sizeof(debug.bytes));
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
	char *path = strdup(in_scratch("tiny.so (deleted)"));
	const char *plain = module.path;
	struct sp_symbol_query query = {.offset = FOO + 1};

	tiny_set_build_id(&elf, build_id, 20);
	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	write_file(plain, elf.bytes, sizeof(elf.bytes));
	module.path = path;
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "tiny.so+0x2101");
	set_module_id(build_id);
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "foo");
	module.path = plain;
	free(path);
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

static uint32_t checksum_of(const char *path)
{
	FILE *file = fopen(path, "rb");
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
	crc = checksum_of(in_scratch("tiny.debug"));
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
	free((void *)(uintptr_t)module.path);
	module.path = NULL;
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "[module]+0x1234");
}
END_TEST

START_TEST(what_is_no_regular_file_gives_offsets)
{
	struct sp_symbol_query query = {.offset = 0x1234};

	ck_assert_int_eq(mkfifo(module.path, 0600), 0);
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "tiny.so+0x1234");
	unlink(module.path);
	ck_assert_int_eq(mkdir(module.path, 0700), 0);
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
	write_file(module.path, elf.bytes, sizeof(elf.bytes));
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

START_TEST(equal_names_are_one_string)
{
	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	ck_assert_ptr_eq(ask(FOO).name, ask(FOO + 5).name);
	ck_assert_ptr_eq(ask(FOO + 0x40).name, ask(FOO + 0x40).name);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("symbols_tables");
	TCase *tc = tcase_create("one small file");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, symbol_names_every_address_it_covers_and_no_other);
	tcase_add_test(tc, unwind_entry_names_an_address_without_symbol_by_its_start);
	tcase_add_test(tc, symbol_without_size_names_the_function_that_starts_with_it);
	tcase_add_test(
		tc, symbol_without_size_names_nothing_when_the_function_starts_elsewhere);
	tcase_add_test(tc, symbol_without_size_ends_where_the_next_symbol_starts);
	tcase_add_test(tc, label_is_not_believed_where_an_alias_says_it_is_shorter);
	tcase_add_test(tc, neighbouring_addresses_each_find_their_own_symbol);
	tcase_add_test(tc, labels_of_many_addresses_reach_to_the_next_start);
	tcase_add_loop_test(tc, best_alias_names_the_function_whatever_their_order, 0,
			    2 * (int)(sizeof(aliases) / sizeof(aliases[0])));
	tcase_add_test(tc, inner_symbol_wins_over_the_one_around_it);
	tcase_add_test(tc, version_is_cut_from_the_name);
	tcase_add_test(tc, mangled_name_is_shown_readable_and_kept_as_system_name);
	tcase_add_test(tc, what_is_no_function_of_this_file_names_nothing);
	tcase_add_test(tc, symbol_larger_than_its_section_names_nothing);
	tcase_add_test(tc, name_outside_the_strings_is_no_name);
	tcase_add_test(tc, name_that_runs_out_of_the_strings_is_no_name);
	tcase_add_test(tc, bytes_that_are_no_text_are_replaced);
	tcase_add_test(tc, long_name_is_cut_not_lost);
	tcase_add_test(tc, unsorted_addresses_are_refused_but_have_names);
	tcase_add_test(tc, table_of_overlapping_giants_is_given_up_in_time);
	tcase_add_test(tc, file_with_the_modules_build_id_names_it);
	tcase_add_test(tc, file_with_another_build_id_was_replaced_and_names_nothing);
	tcase_add_test(tc, file_that_lost_its_build_id_names_nothing);
	tcase_add_test(tc, deleted_file_is_looked_up_again_by_build_id);
	tcase_add_test(tc, debug_file_is_found_by_build_id);
	tcase_add_test(tc, debug_file_names_a_module_whose_file_was_replaced);
	tcase_add_test(tc, debug_file_with_another_build_id_is_refused);
	tcase_add_test(tc, debug_file_is_found_by_link_beside_the_file);
	tcase_add_test(tc, debug_file_is_found_by_link_in_the_debug_directory);
	tcase_add_test(tc, linked_file_without_build_id_needs_the_right_checksum);
	tcase_add_test(tc, absent_file_gives_offsets);
	tcase_add_test(tc, what_is_no_regular_file_gives_offsets);
	tcase_add_test(tc, every_address_has_a_name_however_short_memory_is);
	tcase_add_test(tc, equal_names_are_one_string);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
