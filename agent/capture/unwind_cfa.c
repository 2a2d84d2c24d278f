/*
 * The call frame instructions of DWARF, run for one pc. Only what leads to the
 * caller's frame is followed: CFA, return address, rbp and rbx. Context: signal;
 * bounded by the bytes of the FDE, no recursion, a few hundred bytes of stack.
 */
#include "unwind_cfa.h"

#include "sp_compiler.h"

/* gcc nests remembered states one deep; hand-written code rarely two. */
#define STATES_MAX 4
#define OPS_MAX 20000

enum {
	CFA_ADVANCE_LOC = 0x40, /* in the upper two bits */
	CFA_OFFSET = 0x80,
	CFA_RESTORE = 0xc0,
	CFA_NOP = 0x00,
	CFA_SET_LOC,
	CFA_ADVANCE_LOC1,
	CFA_ADVANCE_LOC2,
	CFA_ADVANCE_LOC4,
	CFA_OFFSET_EXTENDED,
	CFA_RESTORE_EXTENDED,
	CFA_UNDEFINED,
	CFA_SAME_VALUE,
	CFA_REGISTER,
	CFA_REMEMBER_STATE,
	CFA_RESTORE_STATE,
	CFA_DEF_CFA,
	CFA_DEF_CFA_REGISTER,
	CFA_DEF_CFA_OFFSET,
	CFA_DEF_CFA_EXPRESSION,
	CFA_EXPRESSION,
	CFA_OFFSET_EXTENDED_SF,
	CFA_DEF_CFA_SF,
	CFA_DEF_CFA_OFFSET_SF,
	CFA_VAL_OFFSET,
	CFA_VAL_OFFSET_SF,
	CFA_VAL_EXPRESSION,
	CFA_GNU_ARGS_SIZE = 0x2e,
	CFA_GNU_NEGATIVE_OFFSET_EXTENDED,
};

enum save_kind {
	SAVE_SAME, /* the caller's value is still in the register */
	SAVE_AT_CFA,
	SAVE_EXPRESSION, /* at the address that an expression gives */
	SAVE_REGISTER,
	SAVE_UNDEFINED,
	SAVE_OTHER, /* a value we don't follow */
};

enum { REG_RBP, REG_RBX, REG_RA, REG_COUNT, REG_NONE = REG_COUNT };

/* Small, since several of them lie on the stack of a signal handler. */
struct state {
	bool is_cfa_expression;
	bool is_cfa_known;
	bool is_rsp_moved; /* the caller's rsp is not the CFA */
	uint8_t cfa_reg;
	uint8_t save[REG_COUNT]; /* enum save_kind */
	uint8_t ra_reg;
	int32_t cfa_offset;	   /* or where its expression starts, from ops */
	int32_t offset[REG_COUNT]; /* likewise */
};

struct machine {
	const struct sp_cfi_function *function;
	struct sp_cursor cursor;
	uint64_t address, location;
	bool is_done, is_bad;
	uint32_t remembered;
	struct state current, initial;
	struct state stack[STATES_MAX];
};

/* Which of the registers we follow, by DWARF number. */
static unsigned int followed(uint64_t reg)
{
	switch (reg) {
	case SP_DWARF_RBP:
		return REG_RBP;
	case SP_DWARF_RBX:
		return REG_RBX;
	case SP_DWARF_RA:
		return REG_RA;
	default:
		return REG_NONE;
	}
}

static int32_t narrow(struct machine *machine, int64_t offset)
{
	if (offset != (int32_t)offset)
		machine->is_bad = true;
	return (int32_t)offset;
}

static int64_t factored(const struct machine *machine, int64_t count)
{
	return (int64_t)((uint64_t)count * (uint64_t)machine->function->data_align);
}

static void set_save(struct machine *machine, uint64_t reg, enum save_kind kind,
		     int64_t offset, uint64_t in_reg)
{
	struct state *current = &machine->current;
	unsigned int index = followed(reg);

	if (reg == SP_DWARF_RSP)
		current->is_rsp_moved = kind != SAVE_SAME;
	if (index == REG_NONE)
		return;
	current->save[index] = (uint8_t)kind;
	current->offset[index] = narrow(machine, offset);
	if (index == REG_RA)
		current->ra_reg = in_reg < SP_DWARF_RA ? (uint8_t)in_reg : UINT8_MAX;
}

static void restore(struct machine *machine, uint64_t reg)
{
	unsigned int index = followed(reg);

	if (reg == SP_DWARF_RSP)
		machine->current.is_rsp_moved = machine->initial.is_rsp_moved;
	if (index == REG_NONE)
		return;
	machine->current.save[index] = machine->initial.save[index];
	machine->current.offset[index] = machine->initial.offset[index];
	if (index == REG_RA)
		machine->current.ra_reg = machine->initial.ra_reg;
}

static void set_cfa(struct machine *machine, uint64_t reg, int64_t offset)
{
	machine->current.is_cfa_expression = false;
	machine->current.is_cfa_known = reg < SP_DWARF_RA;
	machine->current.cfa_reg = (uint8_t)reg;
	machine->current.cfa_offset = narrow(machine, offset);
}

static void advance(struct machine *machine, uint64_t location)
{
	machine->location = location;
	if (location > machine->address)
		machine->is_done = true;
}

static void advance_by(struct machine *machine, uint64_t count)
{
	advance(machine, machine->location + count * machine->function->code_align);
}

/* The offset of an expression, length included, from the pointer's own section;
 * one number serves both programs since they lie in one range. */
static int64_t skip_expression(struct machine *machine)
{
	int64_t start = machine->cursor.at - machine->function->ops;

	sp_cursor_skip(&machine->cursor, sp_cursor_uleb(&machine->cursor));
	return start;
}

static void remember(struct machine *machine)
{
	if (machine->remembered == STATES_MAX)
		machine->is_bad = true;
	else
		machine->stack[machine->remembered++] = machine->current;
}

static void restore_remembered(struct machine *machine)
{
	if (machine->remembered == 0)
		machine->is_bad = true;
	else
		machine->current = machine->stack[--machine->remembered];
}

static void run_cfa_definition(struct machine *machine, uint8_t op)
{
	struct sp_cursor *cursor = &machine->cursor;
	struct state *current = &machine->current;
	uint64_t reg;

	switch (op) {
	case CFA_DEF_CFA:
		reg = sp_cursor_uleb(cursor);
		set_cfa(machine, reg, (int64_t)sp_cursor_uleb(cursor));
		break;
	case CFA_DEF_CFA_SF:
		reg = sp_cursor_uleb(cursor);
		set_cfa(machine, reg, factored(machine, sp_cursor_sleb(cursor)));
		break;
	case CFA_DEF_CFA_REGISTER:
		set_cfa(machine, sp_cursor_uleb(cursor), current->cfa_offset);
		break;
	case CFA_DEF_CFA_OFFSET:
		set_cfa(machine, current->cfa_reg, (int64_t)sp_cursor_uleb(cursor));
		break;
	case CFA_DEF_CFA_OFFSET_SF:
		set_cfa(machine, current->cfa_reg,
			factored(machine, sp_cursor_sleb(cursor)));
		break;
	default: /* CFA_DEF_CFA_EXPRESSION */
		current->is_cfa_expression = true;
		current->is_cfa_known = true;
		current->cfa_offset = narrow(machine, skip_expression(machine));
		break;
	}
}

static void run_register_rule(struct machine *machine, uint8_t op)
{
	struct sp_cursor *cursor = &machine->cursor;
	uint64_t reg = sp_cursor_uleb(cursor);
	int64_t count;

	switch (op) {
	case CFA_OFFSET_EXTENDED:
		count = (int64_t)sp_cursor_uleb(cursor);
		set_save(machine, reg, SAVE_AT_CFA, factored(machine, count), 0);
		break;
	case CFA_OFFSET_EXTENDED_SF:
		count = sp_cursor_sleb(cursor);
		set_save(machine, reg, SAVE_AT_CFA, factored(machine, count), 0);
		break;
	case CFA_GNU_NEGATIVE_OFFSET_EXTENDED:
		count = (int64_t)sp_cursor_uleb(cursor);
		set_save(machine, reg, SAVE_AT_CFA, factored(machine, -count), 0);
		break;
	case CFA_RESTORE_EXTENDED:
		restore(machine, reg);
		break;
	case CFA_UNDEFINED:
		set_save(machine, reg, SAVE_UNDEFINED, 0, 0);
		break;
	case CFA_SAME_VALUE:
		set_save(machine, reg, SAVE_SAME, 0, 0);
		break;
	case CFA_REGISTER:
		set_save(machine, reg, SAVE_REGISTER, 0, sp_cursor_uleb(cursor));
		break;
	case CFA_EXPRESSION:
		set_save(machine, reg, SAVE_EXPRESSION, skip_expression(machine), 0);
		break;
	case CFA_VAL_EXPRESSION:
		skip_expression(machine);
		set_save(machine, reg, SAVE_OTHER, 0, 0);
		break;
	default: /* CFA_VAL_OFFSET, CFA_VAL_OFFSET_SF */
		sp_cursor_uleb(cursor);
		set_save(machine, reg, SAVE_OTHER, 0, 0);
		break;
	}
}

static void run_one(struct machine *machine)
{
	const struct sp_cfi_function *function = machine->function;
	struct sp_cursor *cursor = &machine->cursor;
	uint8_t op = (uint8_t)sp_cursor_unsigned(cursor, 1);
	uint8_t low = op & 0x3f;

	switch (op & 0xc0) {
	case CFA_ADVANCE_LOC:
		advance_by(machine, low);
		return;
	case CFA_OFFSET:
		set_save(machine, low, SAVE_AT_CFA,
			 factored(machine, (int64_t)sp_cursor_uleb(cursor)), 0);
		return;
	case CFA_RESTORE:
		restore(machine, low);
		return;
	}
	switch (op) {
	case CFA_NOP:
		break;
	case CFA_SET_LOC:
		advance(machine,
			sp_cursor_encoded(cursor, function->pointer_encoding, 0) +
				function->pointer_bias);
		break;
	case CFA_ADVANCE_LOC1:
		advance_by(machine, sp_cursor_unsigned(cursor, 1));
		break;
	case CFA_ADVANCE_LOC2:
		advance_by(machine, sp_cursor_unsigned(cursor, 2));
		break;
	case CFA_ADVANCE_LOC4:
		advance_by(machine, sp_cursor_unsigned(cursor, 4));
		break;
	case CFA_REMEMBER_STATE:
		remember(machine);
		break;
	case CFA_RESTORE_STATE:
		restore_remembered(machine);
		break;
	case CFA_DEF_CFA:
	case CFA_DEF_CFA_SF:
	case CFA_DEF_CFA_REGISTER:
	case CFA_DEF_CFA_OFFSET:
	case CFA_DEF_CFA_OFFSET_SF:
	case CFA_DEF_CFA_EXPRESSION:
		run_cfa_definition(machine, op);
		break;
	case CFA_OFFSET_EXTENDED:
	case CFA_OFFSET_EXTENDED_SF:
	case CFA_GNU_NEGATIVE_OFFSET_EXTENDED:
	case CFA_RESTORE_EXTENDED:
	case CFA_UNDEFINED:
	case CFA_SAME_VALUE:
	case CFA_REGISTER:
	case CFA_EXPRESSION:
	case CFA_VAL_EXPRESSION:
	case CFA_VAL_OFFSET:
	case CFA_VAL_OFFSET_SF:
		run_register_rule(machine, op);
		break;
	case CFA_GNU_ARGS_SIZE:
		sp_cursor_uleb(cursor);
		break;
	default:
		machine->is_bad = true;
		break;
	}
}

static void run(struct machine *machine, const uint8_t *ops, const uint8_t *ops_end)
{
	machine->cursor = (struct sp_cursor){
		.at = ops, .end = ops_end, .delta = machine->function->delta};
	for (uint32_t count = 0; sp_cursor_left(&machine->cursor); count++) {
		run_one(machine);
		if (machine->is_done)
			return;
		if (machine->cursor.is_bad || count == OPS_MAX)
			machine->is_bad = true;
		if (machine->is_bad)
			return;
	}
}

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
static bool locate_save(const struct sp_cfi_function *function, const struct state *state,
			unsigned int index, const struct sp_expr_value *cfa,
			uint64_t address, int64_t *offset, bool *is_from_rbp)
{
	struct sp_expr_value where;

	*is_from_rbp = false;
	if (state->save[index] == SAVE_AT_CFA) {
		*offset = state->offset[index];
		return sp_rule_fits(*offset, SP_RULE_SAVE_BITS);
	}
	if (state->save[index] != SAVE_EXPRESSION)
		return false;
	where = sp_expr_evaluate(expression_at(function, state->offset[index]), address,
				 cfa);
	if (where.kind != SP_EXPR_REG)
		return false;
	*offset = where.offset;
	if (cfa->kind == SP_EXPR_REG && cfa->reg == where.reg)
		*offset = where.offset - cfa->offset;
	else if (where.reg == SP_DWARF_RBP)
		*is_from_rbp = true;
	else
		return false;
	return sp_rule_fits(*offset, SP_RULE_SAVE_BITS);
}

static uint64_t pack_rbp(const struct sp_cfi_function *function,
			 const struct state *state, const struct sp_expr_value *cfa,
			 uint64_t address)
{
	bool is_from_rbp;
	int64_t offset;

	if (state->save[REG_RBP] == SAVE_SAME)
		return (uint64_t)SP_RULE_RBP_SAME << SP_RULE_RBP_SHIFT;
	if (!locate_save(function, state, REG_RBP, cfa, address, &offset, &is_from_rbp))
		return (uint64_t)SP_RULE_RBP_UNKNOWN << SP_RULE_RBP_SHIFT;
	return (uint64_t)(is_from_rbp ? SP_RULE_RBP_AT_RBP : SP_RULE_RBP_AT_CFA)
		       << SP_RULE_RBP_SHIFT |
	       sp_rule_field(offset, SP_RULE_SAVE_BITS, SP_RULE_RBP_OFFSET_SHIFT);
}

static uint64_t pack_rbx(const struct sp_cfi_function *function,
			 const struct state *state, const struct sp_expr_value *cfa,
			 uint64_t address)
{
	bool is_from_rbp;
	int64_t offset;

	if (state->save[REG_RBX] == SAVE_SAME)
		return 0;
	if (!locate_save(function, state, REG_RBX, cfa, address, &offset, &is_from_rbp) ||
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

static SP_NOINLINE uint64_t pack(const struct sp_cfi_function *function,
				 const struct state *state, uint64_t address)
{
	struct sp_expr_value cfa;
	uint64_t rule;

	if (state->save[REG_RA] == SAVE_UNDEFINED)
		return SP_RULE_END;
	if (!state->is_cfa_known)
		return SP_RULE_BAD;
	if (state->is_cfa_expression)
		cfa = sp_expr_evaluate(expression_at(function, state->cfa_offset),
				       address, NULL);
	else
		cfa = (struct sp_expr_value){.kind = SP_EXPR_REG,
					     .reg = state->cfa_reg,
					     .offset = state->cfa_offset};
	if (is_signal_trampoline(function, &cfa))
		return SP_RULE_SIGNAL;
	/* Code that is about to switch stacks, such as longjmp. */
	if (state->is_rsp_moved)
		return SP_RULE_BAD;
	rule = pack_cfa(&cfa);
	if (rule == 0)
		return SP_RULE_BAD;
	if (state->save[REG_RA] == SAVE_REGISTER && state->ra_reg < SP_DWARF_RA &&
	    sp_rule_kind(rule) == SP_RULE_CFA_RSP) {
		rule &= ~(uint64_t)(15 | 15 << SP_RULE_REG_SHIFT);
		rule |= SP_RULE_RA_REG | (uint64_t)state->ra_reg << SP_RULE_REG_SHIFT;
	} else if (state->save[REG_RA] != SAVE_AT_CFA ||
		   state->offset[REG_RA] != -SP_RULE_WORD_BYTES) {
		return SP_RULE_BAD;
	}
	if (function->is_interrupted)
		rule |= SP_RULE_INTERRUPTED;
	return rule | pack_rbp(function, state, &cfa, address) |
	       pack_rbx(function, state, &cfa, address);
}

/* Apart from pack(), so that the machine is off the stack when that runs. */
static SP_NOINLINE bool run_programs(const struct sp_cfi_function *function,
				     uint64_t address, struct state *state)
{
	struct machine machine;

	machine.function = function;
	machine.address = address;
	machine.location = 0;
	machine.is_done = false;
	machine.is_bad = false;
	machine.remembered = 0;
	machine.current = (struct state){.is_cfa_known = false};
	machine.initial = machine.current;
	run(&machine, function->cie_ops, function->cie_ops_end);
	if (machine.is_bad || machine.is_done)
		return false;
	machine.initial = machine.current;
	machine.location = function->start;
	run(&machine, function->ops, function->ops_end);
	*state = machine.current;
	return !machine.is_bad;
}

uint64_t sp_cfa_rule(const struct sp_cfi_function *function, uint64_t address)
{
	struct state state;

	if (!run_programs(function, address, &state))
		return SP_RULE_BAD;
	return pack(function, &state, address);
}
