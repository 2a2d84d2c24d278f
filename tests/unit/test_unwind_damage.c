/*
 * Damaged unwind data and damaged stacks, which must not harm the walk; and what
 * expressions and rules come to.
 */
#include "unwind_capture.h"
#include "unwind_cfa.h"
#include "unwind_cfi.h"

/* --- damage ---------------------------------------------------------------------- */

static uint64_t random_state = 88172645463325252ULL;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* A copy that ends where memory ends, so that a byte too far is a crash. */
static unsigned char *guarded_copy(uint64_t address, size_t size_bytes)
{
	size_t room_bytes = SP_ROUND_UP(size_bytes, (size_t)4096);
	unsigned char *pages = mmap(NULL, room_bytes + 8192, PROT_NONE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(pages, MAP_FAILED);
	ck_assert_int_eq(mprotect(pages + 4096, room_bytes, PROT_READ | PROT_WRITE), 0);
	pages += 4096 + room_bytes - size_bytes;
	copy_raw(pages, address, size_bytes);
	return pages;
}

static void mutate(unsigned char *data, size_t size_bytes, const unsigned char *pristine)
{
	uint64_t count = 1 + random_next() % 24;

	memcpy(data, pristine, size_bytes);
	while (count-- > 0) {
		static const unsigned char nasty[] = {0,    0xff, 0x7f, 0x80,
						      0x0a, 0x0b, 0x0f, 0x10};
		size_t at = random_next() % size_bytes;

		data[at] = random_next() % 2 ? nasty[random_next() % sizeof(nasty)]
					     : (unsigned char)random_next();
	}
}

START_TEST(damaged_unwind_data_are_harmless)
{
	struct sp_unwind_snapshot *copy = copy_snapshot();
	struct sp_unwind_module *self = module_in(copy, (void *)(uintptr_t)&setup);
	size_t hdr_bytes = (size_t)self->hdr_bytes, frame_bytes;
	unsigned char *hdr, *frame, *hdr_pristine, *frame_pristine;
	struct capture capture = {.from = copy};
	const uint32_t cie_count = self->cie_count;
	uint64_t ends[5] = {0};

	/* As much of the segment as the program's few functions may take. */
	frame_bytes = self->eh_frame_bytes < 16384 ? (size_t)self->eh_frame_bytes : 16384;
	hdr = guarded_copy(self->hdr_address, hdr_bytes);
	frame = guarded_copy(self->eh_frame_address, frame_bytes);
	hdr_pristine = guarded_copy(self->hdr_address, hdr_bytes);
	frame_pristine = guarded_copy(self->eh_frame_address, frame_bytes);
	self->hdr_delta = (int64_t)((uint64_t)(uintptr_t)hdr - self->hdr_address);
	self->eh_frame_delta =
		(int64_t)((uint64_t)(uintptr_t)frame - self->eh_frame_address);
	self->eh_frame_bytes = frame_bytes;
	self->id = 40000;
	for (int round = 0; round < 8000; round++) {
		/* Few rounds damage the table: most of them would miss every function. */
		mutate(frame, frame_bytes, frame_pristine);
		if (round % 8 == 0)
			mutate(hdr, hdr_bytes, hdr_pristine);
		else
			memcpy(hdr, hdr_pristine, hdr_bytes);
		if (!sp_cfi_find_table(self))
			self->table_count = 0;
		/* With what was read ahead of the damage, and without. */
		self->cie_count = round % 2 ? cie_count : 0;
		sp_unwind_cache_reset();
		capture_at_depth(6, &capture);
		ck_assert_uint_ge(capture.result.depth_frames, 1);
		ck_assert_uint_le(capture.result.end, SP_UNWIND_BAD_STACK);
		ends[capture.result.end]++;
		for (int i = 0; i < 20; i++) {
			uint64_t address =
				self->text_start +
				random_next() % (self->text_end - self->text_start);
			uint64_t next, start, end;
			struct sp_cfi_row row;

			ck_assert_int_ne(
				sp_rule_kind(sp_cfi_find_rule(self, address, &row)),
				SP_RULE_EMPTY);
			ck_assert_uint_le(row.start, address);
			ck_assert_uint_gt(row.end, address);
			sp_cfi_read_entry(self, random_next() % frame_bytes, &next,
					  &start, &end);
		}
	}
	free(copy);
	/* The damage was felt, and not always; a sanitized program has more unwind data
	 * than the piece that is copied. */
	if (!IS_SANITIZED)
		ck_assert_uint_gt(ends[SP_UNWIND_OUTERMOST], 100);
	ck_assert_uint_gt(ends[SP_UNWIND_NO_RULE] + ends[SP_UNWIND_BAD_STACK], 100);
}
END_TEST

START_TEST(damaged_stack_is_harmless)
{
	static struct capture capture;
	uint64_t rsp;
	size_t size_bytes;
	unsigned char *copy, *pristine;

	handle_signal(SIGUSR2, on_copy, 0);
	raise(SIGUSR2);
	rsp = walked_live.regs.value[SP_DWARF_RSP] & ~UINT64_C(7);
	size_bytes = 2048 < stack.high - rsp ? 2048 : (size_t)(stack.high - rsp);
	copy = guarded_copy(rsp, size_bytes);
	pristine = guarded_copy(rsp, size_bytes);
	for (int round = 0; round < 20000; round++) {
		struct sp_unwind_stack damaged = {.low = rsp, .high = rsp + size_bytes};
		struct sp_unwind_regs regs = walked_live.regs;

		damaged.delta = (int64_t)((uint64_t)(uintptr_t)copy - rsp);
		mutate(copy, size_bytes, pristine);
		if (round % 4 == 0)
			regs.value[random_next() % SP_UNWIND_REGS] = random_next();
		if (round % 5 == 0)
			regs.value[SP_DWARF_RSP] = rsp + random_next() % size_bytes;
		capture.result = sp_unwind(snapshot(), &regs, &damaged, capture.frames,
					   FRAMES_MAX);
		ck_assert_uint_ge(capture.result.depth_frames, 1);
	}
}
END_TEST

/* --- expressions and rules ------------------------------------------------------ */

enum { UNKNOWN = 255 };

static struct sp_expr_value evaluate(const void *bytes, size_t count_bytes, uint64_t pc)
{
	struct sp_expr_value value = {.kind = UNKNOWN};
	struct sp_cursor cursor = {
		.at = bytes,
		.end = count_bytes ? (const uint8_t *)bytes + count_bytes : bytes};

	sp_expr_evaluate(&cursor, pc, &value);
	return value;
}

START_TEST(formula_of_plt_entries_depends_on_the_pc_only)
{
	/* rsp + 8 + ((pc & 15) >= 11) * 8 */
	static const uint8_t plt[] = {0x77, 8,	  0x80, 0,    0x3f, 0x1a,
				      0x3b, 0x2a, 0x33, 0x24, 0x22};
	struct sp_expr_value value = evaluate(plt, sizeof(plt), 0x1006);

	ck_assert_int_eq(value.kind, SP_EXPR_REG);
	ck_assert_int_eq(value.reg, SP_DWARF_RSP);
	ck_assert_int_eq(value.offset, 8);
	value = evaluate(plt, sizeof(plt), 0x100b);
	ck_assert_int_eq(value.offset, 16);
}
END_TEST

START_TEST(dereferenced_registers_are_understood)
{
	static const uint8_t realigned_cfa[] = {0x76, 0x78, 0x06}; /* [rbp - 8] */
	static const uint8_t saved_rsp[] = {0x77, 0x28, 0x06, 0x23,
					    8}; /* [rsp + 40] + 8 */
	static const uint8_t indexed[] = {0x77, 0, 0x79, 0, 0x38, 0x1e, 0x22, 0x06};
	struct sp_expr_value value = evaluate(realigned_cfa, sizeof(realigned_cfa), 0);

	ck_assert_int_eq(value.kind, SP_EXPR_DEREF);
	ck_assert_int_eq(value.reg, SP_DWARF_RBP);
	ck_assert_int_eq(value.offset, -8);
	value = evaluate(saved_rsp, sizeof(saved_rsp), 0);
	ck_assert_int_eq(value.kind, SP_EXPR_DEREF);
	ck_assert_int_eq(value.offset, 40);
	ck_assert_int_eq(value.added, 8);
	value = evaluate(indexed, sizeof(indexed), 0);
	ck_assert_int_eq(value.kind, SP_EXPR_DEREF_INDEXED);
	ck_assert_int_eq(value.reg, 9);
}
END_TEST

START_TEST(expressions_beyond_us_are_unknown)
{
	static const uint8_t empty_stack[] = {0x22};
	static const uint8_t twice_dereferenced[] = {0x77, 8, 0x06, 0x06};
	static const uint8_t cut[] = {0x77};
	static const uint8_t backwards[] = {0x2f, 0xfd, 0xff};
	static const uint8_t pushes[] = {0x30, 0x12, 0x12, 0x12, 0x12,
					 0x12, 0x12, 0x12, 0x12};

	ck_assert_int_eq(evaluate(empty_stack, sizeof(empty_stack), 0).kind, UNKNOWN);
	ck_assert_int_eq(evaluate(twice_dereferenced, sizeof(twice_dereferenced), 0).kind,
			 UNKNOWN);
	ck_assert_int_eq(evaluate(cut, sizeof(cut), 0).kind, UNKNOWN);
	ck_assert_int_eq(evaluate(backwards, sizeof(backwards), 0).kind, UNKNOWN);
	ck_assert_int_eq(evaluate(pushes, sizeof(pushes), 0).kind, UNKNOWN);
	ck_assert_int_eq(evaluate(NULL, 0, 0).kind, UNKNOWN);
}
END_TEST

START_TEST(packed_offsets_come_back)
{
	static const int64_t offsets[] = {0, 8, -8, 16, -16, 4088, -32768, 32760};

	for (size_t i = 0; i < SP_ARRAY_COUNT(offsets); i++) {
		int64_t offset = offsets[i];
		uint64_t rule = sp_rule_field(offset, SP_RULE_SAVE_BITS,
					      SP_RULE_RBP_OFFSET_SHIFT) |
				sp_rule_field(-offset - 8, SP_RULE_SAVE_BITS,
					      SP_RULE_RBX_OFFSET_SHIFT) |
				sp_rule_field(offset * 512, SP_RULE_CFA_BITS,
					      SP_RULE_CFA_OFFSET_SHIFT);

		ck_assert(sp_rule_fits(offset, SP_RULE_SAVE_BITS));
		ck_assert(sp_rule_fits(offset * 512, SP_RULE_CFA_BITS));
		ck_assert_int_eq(sp_rule_rbp_offset_bytes(rule), offset);
		ck_assert_int_eq(sp_rule_rbx_offset_bytes(rule), -offset - 8);
		ck_assert_int_eq(sp_rule_cfa_offset_bytes(rule), offset * 512);
	}
	ck_assert(!sp_rule_fits(32768, SP_RULE_SAVE_BITS));
	ck_assert(!sp_rule_fits(4, SP_RULE_SAVE_BITS));
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("walks");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, damaged_unwind_data_are_harmless);
	tcase_add_test(tc, damaged_stack_is_harmless);
	tcase_add_test(tc, formula_of_plt_entries_depends_on_the_pc_only);
	tcase_add_test(tc, dereferenced_registers_are_understood);
	tcase_add_test(tc, expressions_beyond_us_are_unknown);
	tcase_add_test(tc, packed_offsets_come_back);
	return run_suite("unwind_damage", tc);
}
