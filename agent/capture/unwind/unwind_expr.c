/*
 * DWARF expressions in call frame information, evaluated once for a pc and with
 * registers as symbols, so that the outcome is a constant of the code: what
 * compilers and hand-written assembly use comes to "register + n" (PLT entries,
 * whose formula asks for the pc only) or "[register + n] + m" (realigned stacks).
 * Context: signal. Anything that fits neither is unknown, never guessed.
 */
#include "unwind_cfa.h"

#define EXPR_DEPTH 4
#define EXPR_OPS_MAX 64

enum {
	OP_DEREF = 0x06,
	OP_CONST1U = 0x08,
	OP_CONST1S,
	OP_CONST2U,
	OP_CONST2S,
	OP_CONST4U,
	OP_CONST4S,
	OP_CONST8U,
	OP_CONST8S,
	OP_CONSTU,
	OP_CONSTS,
	OP_DUP,
	OP_DROP,
	OP_OVER,
	OP_PICK,
	OP_SWAP,
	OP_ROT,
	OP_ABS = 0x19,
	OP_AND,
	OP_DIV,
	OP_MINUS,
	OP_MOD,
	OP_MUL,
	OP_NEG,
	OP_NOT,
	OP_OR,
	OP_PLUS,
	OP_PLUS_UCONST,
	OP_SHL,
	OP_SHR,
	OP_SHRA,
	OP_XOR,
	OP_BRA = 0x28,
	OP_EQ,
	OP_GE,
	OP_GT,
	OP_LE,
	OP_LT,
	OP_NE,
	OP_SKIP,
	OP_LIT0 = 0x30,
	OP_LIT31 = 0x4f,
	OP_BREG0 = 0x70,
	OP_BREG31 = 0x8f,
	OP_BREGX = 0x92,
	OP_NOP = 0x96,
};

struct expr_stack {
	uint32_t depth;
	struct sp_expr_value value[EXPR_DEPTH];
};

static bool push(struct expr_stack *stack, uint8_t kind, uint8_t reg, int64_t offset)
{
	struct sp_expr_value *top = &stack->value[stack->depth];

	if (stack->depth == EXPR_DEPTH)
		return false;
	stack->depth++;
	top->kind = kind;
	top->reg = reg;
	top->added = 0;
	top->offset = offset;
	return true;
}

static bool push_const(struct expr_stack *stack, uint64_t value)
{
	return push(stack, SP_EXPR_CONST, 0, (int64_t)value);
}

static bool push_copy(struct expr_stack *stack, const struct sp_expr_value *value)
{
	if (stack->depth == EXPR_DEPTH)
		return false;
	stack->value[stack->depth++] = *value;
	return true;
}

/* value += constant, for every kind of value. */
static bool add_const(struct sp_expr_value *value, uint64_t constant)
{
	int64_t added = (int64_t)((uint64_t)value->added + constant);

	switch (value->kind) {
	case SP_EXPR_CONST:
	case SP_EXPR_REG:
	case SP_EXPR_INDEXED:
		value->offset = (int64_t)((uint64_t)value->offset + constant);
		return true;
	case SP_EXPR_DEREF:
	case SP_EXPR_DEREF_INDEXED:
		if ((int64_t)constant != (int16_t)constant || added != (int16_t)added)
			return false;
		value->added = (int16_t)added;
		return true;
	default:
		return false;
	}
}

/* a += b */
static bool add(struct sp_expr_value *a, const struct sp_expr_value *b)
{
	const struct sp_expr_value *scaled = b, *reg = a;

	if (b->kind == SP_EXPR_CONST)
		return add_const(a, (uint64_t)b->offset);
	if (a->kind == SP_EXPR_CONST) {
		uint64_t constant = (uint64_t)a->offset;

		*a = *b;
		return add_const(a, constant);
	}
	if (a->kind == SP_EXPR_SCALED) {
		scaled = a;
		reg = b;
	}
	if (reg->kind != SP_EXPR_REG || reg->reg != SP_DWARF_RSP ||
	    scaled->kind != SP_EXPR_SCALED)
		return false;
	a->offset = reg->offset;
	a->reg = scaled->reg;
	a->kind = SP_EXPR_INDEXED;
	return true;
}

static bool deref(struct sp_expr_value *value)
{
	if (value->kind == SP_EXPR_REG)
		value->kind = SP_EXPR_DEREF;
	else if (value->kind == SP_EXPR_INDEXED)
		value->kind = SP_EXPR_DEREF_INDEXED;
	else
		return false;
	return true;
}

static uint64_t constant_operation(uint8_t op, uint64_t a, uint64_t b, bool *is_known)
{
	switch (op) {
	case OP_AND:
		return a & b;
	case OP_MINUS:
		return a - b;
	case OP_MUL:
		return a * b;
	case OP_OR:
		return a | b;
	case OP_XOR:
		return a ^ b;
	case OP_SHL:
		return b < 64 ? a << b : 0;
	case OP_SHR:
		return b < 64 ? a >> b : 0;
	case OP_SHRA:
		return (uint64_t)((int64_t)a >> (b < 64 ? b : 63));
	case OP_EQ:
		return a == b;
	case OP_NE:
		return a != b;
	case OP_GE:
		return (int64_t)a >= (int64_t)b;
	case OP_GT:
		return (int64_t)a > (int64_t)b;
	case OP_LE:
		return (int64_t)a <= (int64_t)b;
	case OP_LT:
		return (int64_t)a < (int64_t)b;
	default:
		*is_known = false;
		return 0;
	}
}

/* a = a op b, a having been pushed first. */
static bool binary(uint8_t op, struct sp_expr_value *a, const struct sp_expr_value *b)
{
	bool is_known = true;

	if (op == OP_PLUS)
		return add(a, b);
	if (b->kind != SP_EXPR_CONST)
		return false;
	if (a->kind == SP_EXPR_CONST) {
		a->offset = (int64_t)constant_operation(op, (uint64_t)a->offset,
							(uint64_t)b->offset, &is_known);
		return is_known;
	}
	if (op == OP_MINUS)
		return add_const(a, 0 - (uint64_t)b->offset);
	if (a->kind == SP_EXPR_REG && a->offset == 0 &&
	    ((op == OP_MUL && b->offset == 8) || (op == OP_SHL && b->offset == 3))) {
		a->kind = SP_EXPR_SCALED;
		return true;
	}
	return false;
}

static bool push_register(struct expr_stack *stack, uint64_t reg, int64_t offset,
			  uint64_t pc)
{
	if (reg == SP_DWARF_RA)
		return push_const(stack, pc + (uint64_t)offset);
	return reg < SP_DWARF_RA && push(stack, SP_EXPR_REG, (uint8_t)reg, offset);
}

static bool push_constant(struct expr_stack *stack, uint8_t op, struct sp_cursor *cursor)
{
	unsigned int size_bytes = 1U << ((op - OP_CONST1U) / 2);

	switch (op) {
	case OP_CONST1U:
	case OP_CONST2U:
	case OP_CONST4U:
	case OP_CONST8U:
		return push_const(stack, sp_cursor_unsigned(cursor, size_bytes));
	case OP_CONST1S:
	case OP_CONST2S:
	case OP_CONST4S:
	case OP_CONST8S:
		return push_const(stack, (uint64_t)sp_cursor_signed(cursor, size_bytes));
	case OP_CONSTU:
		return push_const(stack, sp_cursor_uleb(cursor));
	default: /* OP_CONSTS */
		return push_const(stack, (uint64_t)sp_cursor_sleb(cursor));
	}
}

/* Jumps go forward only, which is all that is needed to end. */
static bool jump(struct expr_stack *stack, uint8_t op, struct sp_cursor *cursor)
{
	int64_t distance = sp_cursor_signed(cursor, 2);

	if (op == OP_BRA) {
		const struct sp_expr_value *condition;

		if (stack->depth < 1)
			return false;
		condition = &stack->value[--stack->depth];
		if (condition->kind != SP_EXPR_CONST)
			return false;
		if (condition->offset == 0)
			return true;
	}
	if (distance < 0)
		return false;
	sp_cursor_skip(cursor, (uint64_t)distance);
	return !cursor->is_bad;
}

static bool stack_operation(struct expr_stack *stack, uint8_t op,
			    struct sp_cursor *cursor)
{
	struct sp_expr_value *top = &stack->value[stack->depth - 1]; /* depth >= 1 */
	struct sp_expr_value swap;
	uint64_t index;

	switch (op) {
	case OP_DUP:
		return push_copy(stack, top);
	case OP_DROP:
		stack->depth--;
		return true;
	case OP_OVER:
		return stack->depth >= 2 && push_copy(stack, top - 1);
	case OP_PICK:
		index = sp_cursor_unsigned(cursor, 1);
		return index < stack->depth && push_copy(stack, top - index);
	case OP_SWAP:
		if (stack->depth < 2)
			return false;
		swap = top[0];
		top[0] = top[-1];
		top[-1] = swap;
		return true;
	case OP_DEREF:
		return deref(top);
	case OP_PLUS_UCONST:
		return add_const(top, sp_cursor_uleb(cursor));
	default:
		if (stack->depth < 2)
			return false;
		stack->depth--;
		return binary(op, top - 1, top);
	}
}

static bool run_one(struct expr_stack *stack, uint8_t op, struct sp_cursor *cursor,
		    uint64_t pc)
{
	if (op >= OP_LIT0 && op <= OP_LIT31)
		return push_const(stack, (uint64_t)(op - OP_LIT0));
	if (op >= OP_BREG0 && op <= OP_BREG31)
		return push_register(stack, (uint64_t)(op - OP_BREG0),
				     sp_cursor_sleb(cursor), pc);
	if (op == OP_BREGX) {
		uint64_t reg = sp_cursor_uleb(cursor);

		return push_register(stack, reg, sp_cursor_sleb(cursor), pc);
	}
	if (op >= OP_CONST1U && op <= OP_CONSTS)
		return push_constant(stack, op, cursor);
	if (op == OP_BRA || op == OP_SKIP)
		return jump(stack, op, cursor);
	return op == OP_NOP || (stack->depth > 0 && stack_operation(stack, op, cursor));
}

bool sp_expr_evaluate(struct sp_cursor *cursor, uint64_t pc, struct sp_expr_value *result)
{
	struct expr_stack stack;

	stack.depth = 0;
	for (uint32_t ops = 0; ops < EXPR_OPS_MAX && sp_cursor_left(cursor); ops++) {
		uint8_t op = (uint8_t)sp_cursor_unsigned(cursor, 1);

		if (!run_one(&stack, op, cursor, pc) || cursor->is_bad)
			return false;
	}
	if (cursor->is_bad || sp_cursor_left(cursor) || stack.depth == 0)
		return false;
	*result = stack.value[stack.depth - 1];
	return true;
}
