/*
 * What names an address, on ELF files made for the purpose.
 */
#include "sp_symbols.h"

#include "sp_elf_file.h"
#include "sp_heap.h"
#include "symbols_module.h"

#include <errno.h>
#include <time.h>

#define WEAK_FUNCTION ELF64_ST_INFO(STB_WEAK, STT_FUNC)

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
	write_file(file_path, elf.bytes, sizeof(elf.bytes));
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
	write_file(file_path, elf.bytes, sizeof(elf.bytes));
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

	ck_assert_int_eq(sp_elf_open(&file, file_path), 0);
	table = file.symtab;
	for (int is_kept = 0; is_kept < 2; is_kept++) {
		char small[280];

		if (is_kept) {
			sp_elf_keep_names(&file, &table, 1);
			ck_assert_ptr_nonnull(table.kept_strings);
		}
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

/* A function each 64 bytes, 48 of them long, in more entries than are read at once. */
#define MANY_FUNCTIONS 20000U
#define MANY_CODE UINT64_C(0x1000000)

static void write_many_entries(struct sp_elf_file *file)
{
	static struct {
		uint8_t head[4];
		int32_t frames;
		uint32_t count;
		int32_t index[MANY_FUNCTIONS][2];
		uint32_t cie[6];
		uint32_t entries[MANY_FUNCTIONS][5];
	} image = {.head = {1, 0x1b, 3, 0x3b}, .count = MANY_FUNCTIONS};
	/* Version 1, "zR": addresses are 4 bytes and relative. */
	static const uint8_t cie[24] = {20, [8] = 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b};

	_Static_assert(sizeof(image.cie) == sizeof(cie), "as long");
	memcpy(image.cie, cie, sizeof(cie));
	for (uint32_t i = 0; i < MANY_FUNCTIONS; i++) {
		uint64_t start = MANY_CODE + (uint64_t)i * 64;
		uint64_t at = (uint64_t)((char *)image.entries[i] - (char *)&image);

		image.index[i][0] = (int32_t)start;
		image.index[i][1] = (int32_t)at;
		image.entries[i][0] = 16;
		image.entries[i][1] =
			(uint32_t)(at + 4 -
				   (uint64_t)((char *)image.cie - (char *)&image));
		image.entries[i][2] = (uint32_t)(start - at - 8);
		image.entries[i][3] = 48;
	}
	write_file(in_scratch("many"), &image, sizeof(image));
	*file = (struct sp_elf_file){
		.fd = open(in_scratch("many"), O_RDONLY | O_CLOEXEC),
		.size_bytes = sizeof(image),
		.segments = {{0, 0, sizeof(image)}},
		.segment_count = 1,
		.eh_frame_hdr = {0, 0, offsetof(__typeof__(image), cie)},
	};
	ck_assert_int_ge(file->fd, 0);
}

START_TEST(every_unwind_entry_of_many_is_found)
{
	static uint64_t offsets[MANY_FUNCTIONS], starts[MANY_FUNCTIONS];
	static bool is_wanted[MANY_FUNCTIONS];
	struct sp_elf_file file;

	write_many_entries(&file);
	/* All; then some, far apart, with others between that nobody asks for. */
	for (uint32_t step = 1; step < MANY_FUNCTIONS; step = step * 7 + 2) {
		for (uint32_t i = 0; i < MANY_FUNCTIONS; i++) {
			/* In its first byte, its last, and behind it. */
			static const uint64_t places[] = {0, 47, 48};

			offsets[i] = MANY_CODE + (uint64_t)i * 64 + places[i / step % 3];
			is_wanted[i] = i % step == 0;
		}
		ck_assert_int_eq(sp_fde_find_starts(&file, offsets, is_wanted,
						    MANY_FUNCTIONS, starts),
				 0);
		for (uint32_t i = 0; i < MANY_FUNCTIONS; i++) {
			bool is_found = is_wanted[i] && i / step % 3 != 2;

			ck_assert_uint_eq(starts[i],
					  is_found ? MANY_CODE + i * UINT64_C(64)
						   : SP_FDE_NONE);
		}
	}
	sp_elf_close(&file);
}
END_TEST

START_TEST(unsorted_addresses_are_refused_but_have_names)
{
	struct sp_symbol_query queries[2] = {{.offset = FOO + 4}, {.offset = FOO}};

	tiny_add(&elf, "foo", FOO, 0x40, TINY_FUNCTION);
	write_file(file_path, elf.bytes, sizeof(elf.bytes));
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
	write_file(file_path, bytes, TINY_BYTES + SYMBOLS * sizeof(Elf64_Sym));
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

	tcase_add_checked_fixture(tc, setup_module, symbols_teardown);
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
	tcase_add_test(tc, every_unwind_entry_of_many_is_found);
	tcase_add_test(tc, unsorted_addresses_are_refused_but_have_names);
	tcase_add_test(tc, table_of_overlapping_giants_is_given_up_in_time);
	tcase_add_test(tc, equal_names_are_one_string);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
