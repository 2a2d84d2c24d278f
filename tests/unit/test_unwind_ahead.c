/* What is read ahead of a module's unwind data changes no rule. */
#include "unwind_cfa.h"

#include "unwind_capture.h"

static void check_same(const struct sp_unwind_module *a, const struct sp_unwind_module *b,
		       uint64_t address)
{
	struct sp_cfi_row row_a, row_b;

	ck_assert_uint_eq(sp_cfi_find_rule(a, address, &row_a),
			  sp_cfi_find_rule(b, address, &row_b));
	ck_assert_uint_eq(row_a.start, row_b.start);
	ck_assert_uint_eq(row_a.end, row_b.end);
}

static uint64_t start_of(const struct sp_unwind_module *module, uint32_t entry)
{
	return module->hdr_address + (uint64_t)(int64_t)sp_cfi_table_start(module, entry);
}

START_TEST(index_leads_to_the_same_entries)
{
	const struct sp_unwind_module *libc = libc_module();
	struct sp_unwind_module without = *libc;

	ck_assert_ptr_nonnull(libc->table_index);
	ck_assert_uint_gt(libc->table_count, 2 * SP_UNWIND_INDEX_STEP);
	without.table_index = NULL;
	for (uint32_t i = 0; i < libc->table_count; i++)
		for (uint64_t at = start_of(libc, i) - 1; at < start_of(libc, i) + 2;
		     at++)
			check_same(libc, &without, at);
	check_same(libc, &without, 0);
	check_same(libc, &without, libc->start);
	check_same(libc, &without, libc->text_end);
	check_same(libc, &without, UINT64_MAX);
}
END_TEST

START_TEST(table_is_searched_as_far_as_it_goes)
{
	static const uint32_t counts[] = {
		1,
		SP_UNWIND_INDEX_STEP - 1,
		SP_UNWIND_INDEX_STEP,
		SP_UNWIND_INDEX_STEP + 1,
		2 * SP_UNWIND_INDEX_STEP,
	};

	for (size_t i = 0; i < SP_ARRAY_COUNT(counts); i++) {
		struct sp_unwind_module shorter = *libc_module(), without;
		struct sp_cfi_row row;

		shorter.table_count = counts[i];
		without = shorter;
		without.table_index = NULL;
		for (uint32_t j = 0; j < shorter.table_count; j++)
			check_same(&shorter, &without, start_of(&shorter, j));
		/* Behind the function of the last entry, that is. */
		ck_assert_uint_eq(sp_cfi_find_rule(&shorter, shorter.text_end - 1, &row),
				  SP_RULE_NONE);
	}
}
END_TEST

START_TEST(cie_that_was_read_ahead_says_the_same)
{
	const struct sp_unwind_module *libc = libc_module();
	struct sp_unwind_module without = *libc;
	struct sp_unwind_cie cie;
	uint32_t met = 0;

	ck_assert_uint_ge(libc->cie_count, 1);
	without.cie_count = 0;
	for (uint32_t i = 0; i < libc->table_count; i++) {
		for (uint64_t at = 0; at < 64; at += 3)
			check_same(libc, &without, start_of(libc, i) + at);
		if (sp_cfi_read_ahead(libc, i, &cie))
			met += cie.offset == libc->cies[0].offset;
	}
	ck_assert_uint_gt(met, libc->table_count / 2);
}
END_TEST

START_TEST(cie_that_remembers_a_state_is_not_read_ahead)
{
	static const uint8_t remember[] = {0x0a};
	struct sp_cfi_function function = {.cie_ops = remember, .cie_ops_end = remember};
	struct sp_cfa_state state;

	ck_assert(sp_cfa_run_cie(&function, &state));
	function.cie_ops_end += sizeof(remember);
	ck_assert(!sp_cfa_run_cie(&function, &state));
}
END_TEST

START_TEST(cies_lie_on_lines_of_their_own)
{
	for (uint32_t i = 0; i < snapshot()->count; i++) {
		const struct sp_unwind_module *module = &snapshot()->modules[i];

		if (module->cie_count)
			ck_assert_uint_eq((uintptr_t)module->cies %
						  _Alignof(struct sp_unwind_cie),
					  0);
	}
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("ahead");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, index_leads_to_the_same_entries);
	tcase_add_test(tc, table_is_searched_as_far_as_it_goes);
	tcase_add_test(tc, cie_that_was_read_ahead_says_the_same);
	tcase_add_test(tc, cie_that_remembers_a_state_is_not_read_ahead);
	tcase_add_test(tc, cies_lie_on_lines_of_their_own);
	return run_suite("unwind_ahead", tc);
}
