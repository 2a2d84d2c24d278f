/*
 * Entries of unwind data that overlap: which one is for an address is what the search
 * table leads to, also when the rule of a neighbour was kept before.
 */
#include "modules_frames.h"
#include "run_suite.h"
#include "unwind_cfi.h"
#include "unwind_step.h"

#include <check.h>
#include <string.h>

#define TEXT_BYTES 0x200
#define CIE_BYTES 24
#define FDE_BYTES 24
#define FDE_COUNT 3

/* A module all of whose addresses are in here. */
static struct {
	_Alignas(4096) uint8_t hdr[12 + FDE_COUNT * 8];
	_Alignas(8) uint8_t frames[CIE_BYTES + FDE_COUNT * FDE_BYTES + 4];
	_Alignas(256) uint8_t text[TEXT_BYTES];
} image;

static struct sp_unwind_module module;

/* The whole function, one in the middle of it, and one of no bytes. */
static const struct {
	uint32_t start, size_bytes;
	uint8_t cfa_offset;
} fdes[FDE_COUNT] = {{0, 0x100, 8}, {0x40, 0x10, 16}, {0x80, 0, 24}};

static uint64_t at(uint32_t offset)
{
	return (uint64_t)(uintptr_t)image.text + offset;
}

static void put_word(uint8_t *place, uint64_t value)
{
	const int32_t word = (int32_t)value;

	memcpy(place, &word, sizeof(word));
}

static void add_fde(uint32_t number)
{
	uint8_t *fde = image.frames + CIE_BYTES + number * FDE_BYTES;
	uint8_t *entry = image.hdr + 12 + (size_t)number * 8;
	uint64_t hdr = (uint64_t)(uintptr_t)image.hdr;

	put_word(fde, FDE_BYTES - 4);
	put_word(fde + 4, (uint64_t)(fde + 4 - image.frames));
	put_word(fde + 8, at(fdes[number].start) - (uint64_t)(uintptr_t)(fde + 8));
	put_word(fde + 12, fdes[number].size_bytes);
	/* No augmentation data; DW_CFA_def_cfa_offset. */
	fde[17] = 0x0e;
	fde[18] = fdes[number].cfa_offset;
	put_word(entry, at(fdes[number].start) - hdr);
	put_word(entry + 4, (uint64_t)(uintptr_t)fde - hdr);
}

static void setup(void)
{
	/* Its id is 0; version, "zR", factors 1 and -8, return address in 16, encoding;
	 * DW_CFA_def_cfa rsp, 8; DW_CFA_offset of the return address. */
	static const uint8_t cie[] = {1, 'z',  'R',  0, 1, 0x78, 16,
				      1, 0x1b, 0x0c, 7, 8, 0x90, 1};

	memset(&image, 0, sizeof(image));
	put_word(image.frames, CIE_BYTES - 4);
	memcpy(image.frames + 8, cie, sizeof(cie));
	memcpy(image.hdr, (uint8_t[]){1, 0x1b, 3, 0x3b}, 4);
	put_word(image.hdr + 8, FDE_COUNT);
	for (uint32_t i = 0; i < FDE_COUNT; i++)
		add_fde(i);
	module = (struct sp_unwind_module){
		.start = (uint64_t)(uintptr_t)&image,
		.end = (uint64_t)(uintptr_t)(&image + 1),
		.text_start = at(0),
		.text_end = at(TEXT_BYTES),
		.base = (uint64_t)(uintptr_t)&image,
		.id = 7,
		.is_permanent = true,
		.hdr_address = (uint64_t)(uintptr_t)image.hdr,
		.hdr_bytes = sizeof(image.hdr),
		.eh_frame_address = (uint64_t)(uintptr_t)image.frames,
		.eh_frame_bytes = sizeof(image.frames),
	};
	ck_assert(sp_cfi_find_table(&module));
	sp_unwind_cache_open();
	sp_unwind_cache_reset();
}

static void check_rows(void)
{
	struct sp_cfi_row row;
	uint64_t whole = sp_cfi_find_rule(&module, at(0x10), &row);

	ck_assert_int_eq(sp_rule_kind(whole), SP_RULE_CFA_RSP);
	ck_assert_uint_eq(row.start, at(0));
	ck_assert_uint_eq(row.end, at(0x40));
	ck_assert_uint_ne(sp_cfi_find_rule(&module, at(0x48), &row), whole);
	ck_assert_uint_eq(row.start, at(0x40));
	ck_assert_uint_eq(row.end, at(0x50));
}

static void check_kept_rules(void)
{
	/* Each address first. */
	for (uint32_t first = 0; first < 0x100; first++) {
		sp_unwind_cache_reset();
		sp_walk_find_rule(&module, at(first), sp_walk_encode(&module, at(first)));
		for (uint32_t i = 0; i < 0x100; i++) {
			struct sp_cfi_row row;

			ck_assert_uint_eq(
				sp_walk_find_rule(&module, at(i),
						  sp_walk_encode(&module, at(i))),
				sp_cfi_find_rule(&module, at(i), &row));
		}
	}
}

START_TEST(rule_is_kept_up_to_where_another_entry_starts)
{
	check_rows();
	check_kept_rules();
}
END_TEST

START_TEST(rule_of_a_list_that_we_made_is_kept_so_as_well)
{
	const struct sp_elf_image without_table = {
		.eh_frame_address = module.eh_frame_address,
		.eh_frame_bytes = module.eh_frame_bytes};
	struct sp_frames_areas areas;

	ck_assert_int_eq(sp_frames_prepare(&without_table, "", &module, &areas), 0);
	/* Of no bytes there is none. */
	ck_assert_uint_eq(module.fde_count, FDE_COUNT - 1);
	check_rows();
	check_kept_rules();
	sp_frames_release(&areas);
}
END_TEST

START_TEST(rule_is_kept_from_where_the_table_says)
{
	struct sp_cfi_row row;

	/* As if the first entry began later. */
	put_word(image.hdr + 12, at(8) - (uint64_t)(uintptr_t)image.hdr);
	sp_cfi_find_rule(&module, at(0x10), &row);
	ck_assert_uint_eq(row.start, at(8));
	ck_assert_uint_eq(row.end, at(0x40));
	check_kept_rules();
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("overlaps");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, rule_is_kept_up_to_where_another_entry_starts);
	tcase_add_test(tc, rule_of_a_list_that_we_made_is_kept_so_as_well);
	tcase_add_test(tc, rule_is_kept_from_where_the_table_says);
	return run_suite("unwind overlaps", tc);
}
