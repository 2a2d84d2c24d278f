/* Rules that are kept, and for which code. */
#include "unwind_step.h"

#include "unwind_capture.h"

#define MODULE 7
#define RULE_A (SP_RULE_CFA_RSP | UINT64_C(3) << SP_RULE_CFA_OFFSET_SHIFT)
#define RULE_B (SP_RULE_CFA_RBP | UINT64_C(2) << SP_RULE_CFA_OFFSET_SHIFT)

static uint64_t frame_at(uint64_t offset)
{
	return sp_frame_make(MODULE, offset);
}

START_TEST(rule_is_kept_for_its_run_of_code_alone)
{
	sp_cache_put(frame_at(0x1040), RULE_A, 0x10, 0x20);
	ck_assert_uint_eq(sp_cache_get(frame_at(0x102f)), SP_RULE_EMPTY);
	for (uint64_t at = 0x1030; at <= 0x1060; at++)
		ck_assert_uint_eq(sp_cache_get(frame_at(at)), RULE_A);
	ck_assert_uint_eq(sp_cache_get(frame_at(0x1061)), SP_RULE_EMPTY);
	ck_assert_uint_eq(sp_cache_get(sp_frame_make(MODULE + 1, 0x1040)), SP_RULE_EMPTY);
}
END_TEST

START_TEST(long_run_is_kept_as_far_as_its_block)
{
	sp_cache_put(frame_at(0x1240), RULE_A, 0x2000, 0x2000);
	ck_assert_uint_eq(sp_cache_get(frame_at(0x11ff)), SP_RULE_EMPTY);
	for (uint64_t at = 0x1200; at <= 0x12ff; at++)
		ck_assert_uint_eq(sp_cache_get(frame_at(at)), RULE_A);
	ck_assert_uint_eq(sp_cache_get(frame_at(0x1300)), SP_RULE_EMPTY);
}
END_TEST

START_TEST(oldest_rule_of_a_block_makes_room)
{
	for (uint64_t at = 0; at < SP_CACHE_WAYS; at++)
		sp_cache_put(frame_at(at), at % 2 ? RULE_A : RULE_B, 0, 0);
	for (uint64_t at = 0; at < SP_CACHE_WAYS; at++)
		ck_assert_uint_eq(sp_cache_get(frame_at(at)), at % 2 ? RULE_A : RULE_B);
	sp_cache_put(frame_at(SP_CACHE_WAYS), RULE_A, 0, 0);
	ck_assert_uint_eq(sp_cache_get(frame_at(0)), SP_RULE_EMPTY);
	for (uint64_t at = 1; at <= SP_CACHE_WAYS; at++)
		ck_assert_uint_ne(sp_cache_get(frame_at(at)), SP_RULE_EMPTY);
}
END_TEST

/* As a handler finds it that interrupts a writer. */
START_TEST(halves_of_two_entries_are_none)
{
	struct sp_cache_set *set = sp_cache_set(frame_at(0x1040));
	uint64_t check;

	sp_cache_put(frame_at(0x1040), RULE_A, 0, 0);
	check = set->way[0].check;
	for (unsigned int bit = 0; bit < 64; bit++) {
		atomic_store(&set->way[0].rule, RULE_A ^ UINT64_C(1) << bit);
		ck_assert_uint_eq(sp_cache_get(frame_at(0x1040)), SP_RULE_EMPTY);
	}
	atomic_store(&set->way[0].rule, RULE_A);
	ck_assert_uint_eq(set->way[0].check, check);
	ck_assert_uint_eq(sp_cache_get(frame_at(0x1040)), RULE_A);
}
END_TEST

START_TEST(module_that_is_too_large_is_not_kept)
{
	ck_assert(sp_cache_can_keep(frame_at((UINT64_C(1) << SP_CACHE_OFFSET_BITS) - 1)));
	ck_assert(!sp_cache_can_keep(frame_at(UINT64_C(1) << SP_CACHE_OFFSET_BITS)));
	ck_assert(!sp_cache_can_keep(sp_frame_make(SP_MODULE_NONE, 0x1000)));
}
END_TEST

static uint32_t sets_in_use(void)
{
	return atomic_load(&sp_unwind_cache.last_set) + 1;
}

/* Each in a block of its own. */
static void put_many(uint32_t count)
{
	for (uint64_t i = 0; i < count; i++)
		sp_cache_put(frame_at(i << SP_CACHE_BLOCK_BITS), RULE_A, 0, 0);
}

START_TEST(table_grows_with_the_rules)
{
	uint32_t first = sets_in_use();
	const uint32_t most = 1U << (SP_CACHE_PAGE_BITS + SP_CACHE_PAGE_SET_BITS);

	ck_assert_uint_eq(first,
			  1U << (SP_CACHE_PAGE_BITS_FIRST + SP_CACHE_PAGE_SET_BITS));
	put_many(first);
	ck_assert_uint_eq(sets_in_use(), first);
	put_many(2 * first);
	ck_assert_uint_eq(sets_in_use(), 2 * first);
	put_many(8 * most);
	ck_assert_uint_eq(sets_in_use(), most);
	/* What is kept now is found. */
	sp_cache_put(frame_at(0x1040), RULE_B, 0, 0);
	ck_assert_uint_eq(sp_cache_get(frame_at(0x1040)), RULE_B);
	sp_unwind_cache_reset();
	ck_assert_uint_eq(sets_in_use(), first);
	ck_assert_uint_eq(sp_cache_get(frame_at(0x1040)), SP_RULE_EMPTY);
}
END_TEST

START_TEST(rule_is_the_same_all_over_its_row)
{
	const struct sp_unwind_module *libc = libc_module();
	uint64_t long_rows = 0;

	for (uint64_t at = libc->text_start; at < libc->text_end; at += 211) {
		struct sp_cfi_row row, other;
		uint64_t rule = sp_cfi_find_rule(libc, at, &row);

		ck_assert_uint_le(row.start, at);
		ck_assert_uint_gt(row.end, at);
		long_rows += row.end - row.start > 16;
		for (uint64_t pc = row.start; pc < row.end; pc += 1 + (row.end - pc) / 8)
			ck_assert_uint_eq(sp_cfi_find_rule(libc, pc, &other), rule);
		ck_assert_uint_eq(sp_cfi_find_rule(libc, row.end - 1, &other), rule);
	}
	ck_assert_uint_gt(long_rows, 1000);
}
END_TEST

START_TEST(kept_rules_are_those_that_are_found)
{
	const struct sp_unwind_module *libc = libc_module();

	for (int round = 0; round < 2; round++) {
		for (uint64_t at = libc->text_start; at < libc->text_end; at += 61) {
			struct sp_cfi_row row;

			ck_assert_uint_eq(
				sp_walk_find_rule(libc, at, sp_walk_encode(libc, at)),
				sp_cfi_find_rule(libc, at, &row));
		}
	}
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("cache");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, rule_is_kept_for_its_run_of_code_alone);
	tcase_add_test(tc, long_run_is_kept_as_far_as_its_block);
	tcase_add_test(tc, oldest_rule_of_a_block_makes_room);
	tcase_add_test(tc, halves_of_two_entries_are_none);
	tcase_add_test(tc, module_that_is_too_large_is_not_kept);
	tcase_add_test(tc, table_grows_with_the_rules);
	tcase_add_test(tc, rule_is_the_same_all_over_its_row);
	tcase_add_test(tc, kept_rules_are_those_that_are_found);
	return run_suite("unwind_cache", tc);
}
