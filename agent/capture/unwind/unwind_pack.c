/*
 * From what the call frame instructions left to a packed rule. Context: signal. A
 * state that 8 bytes cannot say is SP_RULE_BAD: the walk then ends, it does not err.
 */
#include "unwind_cfa.h"

#include "sp_compiler.h"

#define OP_BREG0 0x70

/* The expression that skip_expression() passed at that offset. */
static struct sp_cursor expression_at(const struct sp_cfi_function *function,
				      int32_t offset)
{
	struct sp_cursor cursor = {.at = function->ops + offset,
				   .delta = function->delta};
	uint64_t length_bytes;

	/* It was read before, in one of the two programs: the bounds hold. */
	cursor.end = offset < 0 ? function->cie_ops_end : function->ops_end;
	if (cursor.at >= function->cie_ops && cursor.at < function->cie_ops_end)
		cursor.end = function->cie_ops_end;
	length_bytes = sp_cursor_uleb(&cursor);
	if (length_bytes > sp_cursor_left(&cursor))
		sp_cursor_fail(&cursor);
	else
		cursor.end = cursor.at + length_bytes;
	return cursor;
}

/* The kind, register and offset bits of the CFA; 0 when a rule cannot say it. */
static uint64_t pack_cfa(const struct sp_expr_value *cfa)
{
	uint64_t kind;

	if (!sp_rule_fits(cfa->offset, SP_RULE_CFA_BITS) || cfa->added < 0 ||
	    cfa->added % SP_RULE_WORD_BYTES != 0 ||
	    cfa->added / SP_RULE_WORD_BYTES > SP_RULE_ADDED_MAX)
		return 0;
	switch (cfa->kind) {
	case SP_EXPR_REG:
		kind = cfa->reg == SP_DWARF_RSP	  ? SP_RULE_CFA_RSP
		       : cfa->reg == SP_DWARF_RBP ? SP_RULE_CFA_RBP
						  : SP_RULE_CFA_REG;
		break;
	case SP_EXPR_DEREF:
		kind = SP_RULE_DEREF;
		break;
	case SP_EXPR_DEREF_INDEXED:
		kind = SP_RULE_DEREF_INDEXED;
		break;
	default:
		return 0;
	}
	return kind | (uint64_t)cfa->reg << SP_RULE_REG_SHIFT |
	       (uint64_t)(cfa->added / SP_RULE_WORD_BYTES) << SP_RULE_ADDED_SHIFT |
	       sp_rule_field(cfa->offset, SP_RULE_CFA_BITS, SP_RULE_CFA_OFFSET_SHIFT);
}

/*
 * Where a saved register is: true and *offset from the CFA or, with *is_from_rbp,
 * from rbp. False when a rule cannot say it.
 */
static bool locate_save(const struct sp_cfi_function *function,
			const struct sp_cfa_state *state, unsigned int index,
			const struct sp_expr_value *cfa, int64_t *offset,
			bool *is_from_rbp)
{
	struct sp_cursor expression;
	unsigned int reg;

	*is_from_rbp = false;
	if (state->save[index] == SP_SAVE_AT_CFA) {
		*offset = state->offset[index];
		return sp_rule_fits(*offset, SP_RULE_SAVE_BITS);
	}
	if (state->save[index] != SP_SAVE_EXPRESSION)
		return false;
	/* Compilers say "register + n" here and nothing else. */
	expression = expression_at(function, state->offset[index]);
	reg = (unsigned int)sp_cursor_unsigned(&expression, 1) - OP_BREG0;
	*offset = sp_cursor_sleb(&expression);
	if (expression.is_bad || sp_cursor_left(&expression))
		return false;
	if (cfa->kind == SP_EXPR_REG && cfa->reg == reg)
		*offset = (int64_t)((uint64_t)*offset - (uint64_t)cfa->offset);
	else if (reg == SP_DWARF_RBP)
		*is_from_rbp = true;
	else
		return false;
	return sp_rule_fits(*offset, SP_RULE_SAVE_BITS);
}

static uint64_t pack_rbp(const struct sp_cfi_function *function,
			 const struct sp_cfa_state *state,
			 const struct sp_expr_value *cfa)
{
	bool is_from_rbp;
	int64_t offset;

	if (state->save[SP_SAVED_RBP] == SP_SAVE_SAME)
		return (uint64_t)SP_RULE_RBP_SAME << SP_RULE_RBP_SHIFT;
	if (!locate_save(function, state, SP_SAVED_RBP, cfa, &offset, &is_from_rbp))
		return (uint64_t)SP_RULE_RBP_UNKNOWN << SP_RULE_RBP_SHIFT;
	return (uint64_t)(is_from_rbp ? SP_RULE_RBP_AT_RBP : SP_RULE_RBP_AT_CFA)
		       << SP_RULE_RBP_SHIFT |
	       sp_rule_field(offset, SP_RULE_SAVE_BITS, SP_RULE_RBP_OFFSET_SHIFT);
}

static uint64_t pack_rbx(const struct sp_cfi_function *function,
			 const struct sp_cfa_state *state,
			 const struct sp_expr_value *cfa)
{
	bool is_from_rbp;
	int64_t offset;

	if (state->save[SP_SAVED_RBX] == SP_SAVE_SAME)
		return 0;
	if (!locate_save(function, state, SP_SAVED_RBX, cfa, &offset, &is_from_rbp) ||
	    offset == 0)
		return SP_RULE_RBX_FROM_RBP; /* unknown */
	return (is_from_rbp ? SP_RULE_RBX_FROM_RBP : 0) |
	       sp_rule_field(offset, SP_RULE_SAVE_BITS, SP_RULE_RBX_OFFSET_SHIFT);
}

/* The signal trampoline of the C library: its CFA is the interrupted rsp inside
 * the ucontext_t that lies at rsp. */
#define UCONTEXT_RSP_BYTES 160

static bool is_signal_trampoline(const struct sp_cfi_function *function,
				 const struct sp_expr_value *cfa)
{
	return function->is_interrupted && cfa->kind == SP_EXPR_DEREF &&
	       cfa->reg == SP_DWARF_RSP && cfa->offset == UCONTEXT_RSP_BYTES &&
	       cfa->added == 0;
}

SP_SAMPLING uint64_t sp_cfa_pack(const struct sp_cfi_function *function,
				 const struct sp_cfa_state *state, uint64_t address)
{
	struct sp_expr_value cfa;
	uint64_t rule;

	if (state->save[SP_SAVED_RA] == SP_SAVE_UNDEFINED)
		return SP_RULE_END;
	if (!state->is_cfa_known)
		return SP_RULE_BAD;
	cfa = (struct sp_expr_value){
		.kind = SP_EXPR_REG, .reg = state->cfa_reg, .offset = state->cfa_offset};
	if (state->is_cfa_expression) {
		struct sp_cursor expression = expression_at(function, state->cfa_offset);

		if (!sp_expr_evaluate(&expression, address, &cfa))
			return SP_RULE_BAD;
	}
	if (is_signal_trampoline(function, &cfa))
		return SP_RULE_SIGNAL;
	/* Code that is about to switch stacks, such as longjmp. */
	if (state->is_rsp_moved)
		return SP_RULE_BAD;
	rule = pack_cfa(&cfa);
	if (rule == 0)
		return SP_RULE_BAD;
	if (state->save[SP_SAVED_RA] == SP_SAVE_REGISTER && state->ra_reg < SP_DWARF_RA &&
	    sp_rule_kind(rule) == SP_RULE_CFA_RSP) {
		rule &= ~(uint64_t)(15 | 15 << SP_RULE_REG_SHIFT);
		rule |= SP_RULE_RA_REG | (uint64_t)state->ra_reg << SP_RULE_REG_SHIFT;
	} else if (state->save[SP_SAVED_RA] != SP_SAVE_AT_CFA ||
		   state->offset[SP_SAVED_RA] != -SP_RULE_WORD_BYTES) {
		return SP_RULE_BAD;
	}
	if (function->is_interrupted)
		rule |= SP_RULE_INTERRUPTED;
	return rule | pack_rbp(function, state, &cfa) | pack_rbx(function, state, &cfa);
}
