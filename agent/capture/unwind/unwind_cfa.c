/*
 * The call frame instructions of DWARF, run for one pc. Only what leads to the
 * caller's frame is followed: CFA, return address, rbp and rbx. Context: signal;
 * bounded by the bytes of the FDE, no recursion, a few hundred bytes of stack.
 */
#include "unwind_cfa.h"

#include "sp_compiler.h"

/* gcc nests remembered states one deep; hand-written code rarely two. */
#define STATES_MAX 3
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

struct machine {
	const struct sp_cfi_function *function;
	struct sp_cursor cursor;
	uint64_t address, location;
	uint64_t row_start; /* the last location at or before address */
	bool is_done, is_bad;
	uint8_t remembered;
	struct sp_cfa_state *current; /* where the caller has room for it */
	struct sp_cfa_state initial;
	struct sp_cfa_state stack[STATES_MAX];
};

/* Which of the registers we follow, by DWARF number. */
static unsigned int followed(uint64_t reg)
{
	switch (reg) {
	case SP_DWARF_RBP:
		return SP_SAVED_RBP;
	case SP_DWARF_RBX:
		return SP_SAVED_RBX;
	case SP_DWARF_RA:
		return SP_SAVED_RA;
	default:
		return SP_SAVED_COUNT;
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
	return (int64_t)((uint64_t)count *
			 (uint64_t)(int64_t)machine->function->data_align);
}

static void set_save(struct machine *machine, uint64_t reg, enum sp_save_kind kind,
		     int64_t offset, uint64_t in_reg)
{
	struct sp_cfa_state *current = machine->current;
	unsigned int index = followed(reg);

	if (reg == SP_DWARF_RSP)
		current->is_rsp_moved = kind != SP_SAVE_SAME;
	if (index == SP_SAVED_COUNT)
		return;
	current->save[index] = (uint8_t)kind;
	current->offset[index] = narrow(machine, offset);
	if (index == SP_SAVED_RA)
		current->ra_reg = in_reg < SP_DWARF_RA ? (uint8_t)in_reg : UINT8_MAX;
}

static void restore(struct machine *machine, uint64_t reg)
{
	unsigned int index = followed(reg);

	if (reg == SP_DWARF_RSP)
		machine->current->is_rsp_moved = machine->initial.is_rsp_moved;
	if (index == SP_SAVED_COUNT)
		return;
	machine->current->save[index] = machine->initial.save[index];
	machine->current->offset[index] = machine->initial.offset[index];
	if (index == SP_SAVED_RA)
		machine->current->ra_reg = machine->initial.ra_reg;
}

static void set_cfa(struct machine *machine, uint64_t reg, int64_t offset)
{
	machine->current->is_cfa_expression = false;
	machine->current->is_cfa_known = reg < SP_DWARF_RA;
	machine->current->cfa_reg = (uint8_t)reg;
	machine->current->cfa_offset = narrow(machine, offset);
}

static void advance(struct machine *machine, uint64_t location)
{
	machine->location = location;
	if (location > machine->address)
		machine->is_done = true;
	else if (location > machine->row_start)
		machine->row_start = location;
}

static void advance_by(struct machine *machine, uint64_t count)
{
	advance(machine,
		machine->location + count * (uint64_t)machine->function->code_align);
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
		machine->stack[machine->remembered++] = *machine->current;
}

static void restore_remembered(struct machine *machine)
{
	if (machine->remembered == 0)
		machine->is_bad = true;
	else
		*machine->current = machine->stack[--machine->remembered];
}

static void run_cfa_definition(struct machine *machine, uint8_t op)
{
	struct sp_cursor *cursor = &machine->cursor;
	struct sp_cfa_state *current = machine->current;
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
		set_save(machine, reg, SP_SAVE_AT_CFA, factored(machine, count), 0);
		break;
	case CFA_OFFSET_EXTENDED_SF:
		count = sp_cursor_sleb(cursor);
		set_save(machine, reg, SP_SAVE_AT_CFA, factored(machine, count), 0);
		break;
	case CFA_GNU_NEGATIVE_OFFSET_EXTENDED:
		count = (int64_t)sp_cursor_uleb(cursor);
		count = (int64_t)(0 - (uint64_t)count);
		set_save(machine, reg, SP_SAVE_AT_CFA, factored(machine, count), 0);
		break;
	case CFA_RESTORE_EXTENDED:
		restore(machine, reg);
		break;
	case CFA_UNDEFINED:
		set_save(machine, reg, SP_SAVE_UNDEFINED, 0, 0);
		break;
	case CFA_SAME_VALUE:
		set_save(machine, reg, SP_SAVE_SAME, 0, 0);
		break;
	case CFA_REGISTER:
		set_save(machine, reg, SP_SAVE_REGISTER, 0, sp_cursor_uleb(cursor));
		break;
	case CFA_EXPRESSION:
		set_save(machine, reg, SP_SAVE_EXPRESSION, skip_expression(machine), 0);
		break;
	case CFA_VAL_EXPRESSION:
		skip_expression(machine);
		set_save(machine, reg, SP_SAVE_OTHER, 0, 0);
		break;
	default: /* CFA_VAL_OFFSET, CFA_VAL_OFFSET_SF */
		sp_cursor_uleb(cursor);
		set_save(machine, reg, SP_SAVE_OTHER, 0, 0);
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
		set_save(machine, low, SP_SAVE_AT_CFA,
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

SP_SAMPLING static void run(struct machine *machine, const uint8_t *ops,
			    const uint8_t *ops_end)
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

static void begin(struct machine *machine, const struct sp_cfi_function *function,
		  uint64_t address, struct sp_cfa_state *state)
{
	machine->function = function;
	machine->address = address;
	machine->location = 0;
	machine->row_start = 0;
	machine->is_done = false;
	machine->is_bad = false;
	machine->remembered = 0;
	machine->current = state;
	machine->initial = *state = (struct sp_cfa_state){.is_cfa_known = false};
}

static bool run_cie(struct machine *machine, const struct sp_cfi_function *function)
{
	run(machine, function->cie_ops, function->cie_ops_end);
	machine->initial = *machine->current;
	return !machine->is_bad && !machine->is_done;
}

bool sp_cfa_run_cie(const struct sp_cfi_function *function, struct sp_cfa_state *state)
{
	struct machine machine;

	begin(&machine, function, function->start, state);
	if (!run_cie(&machine, function) || state->is_cfa_expression)
		return false;
	for (unsigned int i = 0; i < SP_SAVED_COUNT; i++)
		if (state->save[i] == SP_SAVE_EXPRESSION)
			return false;
	/* The function's own may go on with what was remembered. */
	return machine.remembered == 0;
}

SP_SAMPLING bool sp_cfa_run(const struct sp_cfi_function *function, uint64_t address,
			    struct sp_cfa_state *state, struct sp_cfi_row *row)
{
	struct machine machine;

	begin(&machine, function, address, state);
	if (sp_likely(function->initial != NULL))
		machine.initial = *state = *function->initial;
	else if (!run_cie(&machine, function))
		return false;
	machine.location = function->start;
	machine.row_start = function->start;
	run(&machine, function->ops, function->ops_end);
	if (machine.is_bad)
		return false;
	row->start = machine.row_start;
	row->end = machine.is_done && machine.location < function->end ? machine.location
								       : function->end;
	return true;
}
