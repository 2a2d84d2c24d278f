/*
 * DWARF expressions in call frame information, evaluated once for a pc and with
 * registers as symbols, so that the outcome is a constant of the code: what
 * compilers and hand-written assembly use comes to "register + n" (PLT entries,
 * whose formula asks for the pc only) or "[register + n] + m" (realigned stacks).
 * Context: signal. Anything that fits neither is unknown, never guessed.
 */
#include "unwind_cfa.h"

#define EXPR_DEPTH 6
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

static struct sp_expr_value expr_const(uint64_t value)
{
	return (struct sp_expr_value){.kind = SP_EXPR_CONST, .offset = (int64_t)value};
}

static bool push(struct expr_stack *stack, struct sp_expr_value value)
{
	if (stack->depth == EXPR_DEPTH || value.kind == SP_EXPR_UNKNOWN)
		return false;
	stack->value[stack->depth++] = value;
	return true;
}

static int64_t add(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* constant + value, for every kind of value. */
static struct sp_expr_value plus_const(struct sp_expr_value value, int64_t constant)
{
	switch (value.kind) {
	case SP_EXPR_CONST:
	case SP_EXPR_REG:
	case SP_EXPR_INDEXED:
		value.offset = add(value.offset, constant);
		return value;
	case SP_EXPR_DEREF:
	case SP_EXPR_DEREF_INDEXED:
		value.added = add(value.added, constant);
		return value;
	default:
		return (struct sp_expr_value){.kind = SP_EXPR_UNKNOWN};
	}
}

static struct sp_expr_value plus(struct sp_expr_value a, struct sp_expr_value b)
{
	if (b.kind == SP_EXPR_CONST)
		return plus_const(a, b.offset);
	if (a.kind == SP_EXPR_CONST)
		return plus_const(b, a.offset);
	if (a.kind == SP_EXPR_SCALED) {
		struct sp_expr_value swap = a;

		a = b;
		b = swap;
	}
	if (a.kind == SP_EXPR_REG && a.reg == SP_DWARF_RSP && b.kind == SP_EXPR_SCALED)
		return (struct sp_expr_value){
			.kind = SP_EXPR_INDEXED, .reg = b.reg, .offset = a.offset};
	return (struct sp_expr_value){.kind = SP_EXPR_UNKNOWN};
}

static struct sp_expr_value deref(struct sp_expr_value value)
{
	if (value.kind == SP_EXPR_REG)
		value.kind = SP_EXPR_DEREF;
	else if (value.kind == SP_EXPR_INDEXED)
		value.kind = SP_EXPR_DEREF_INDEXED;
	else
		value.kind = SP_EXPR_UNKNOWN;
	return value;
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

/* a op b, a having been pushed first. */
static struct sp_expr_value binary(uint8_t op, struct sp_expr_value a,
				   struct sp_expr_value b)
{
	bool is_known = true;
	uint64_t result;

	if (op == OP_PLUS)
		return plus(a, b);
	if (op == OP_MINUS && b.kind == SP_EXPR_CONST)
		return plus_const(a, (int64_t)(0 - (uint64_t)b.offset));
	if ((op == OP_MUL && b.kind == SP_EXPR_CONST && b.offset == 8) ||
	    (op == OP_SHL && b.kind == SP_EXPR_CONST && b.offset == 3)) {
		if (a.kind == SP_EXPR_REG && a.offset == 0)
			return (struct sp_expr_value){.kind = SP_EXPR_SCALED,
						      .reg = a.reg};
	}
	if (a.kind != SP_EXPR_CONST || b.kind != SP_EXPR_CONST)
		return (struct sp_expr_value){.kind = SP_EXPR_UNKNOWN};
	result =
		constant_operation(op, (uint64_t)a.offset, (uint64_t)b.offset, &is_known);
	return is_known ? expr_const(result)
			: (struct sp_expr_value){.kind = SP_EXPR_UNKNOWN};
}

static bool push_register(struct expr_stack *stack, uint64_t reg, int64_t offset,
			  uint64_t pc)
{
	if (reg == SP_DWARF_RA)
		return push(stack, expr_const(pc + (uint64_t)offset));
	if (reg > SP_DWARF_RA)
		return false;
	return push(stack, (struct sp_expr_value){.kind = SP_EXPR_REG,
						  .reg = (uint8_t)reg,
						  .offset = offset});
}

static bool push_constant(struct expr_stack *stack, uint8_t op, struct sp_cursor *cursor)
{
	switch (op) {
	case OP_CONST1U:
	case OP_CONST2U:
	case OP_CONST4U:
	case OP_CONST8U:
		return push(stack, expr_const(sp_cursor_unsigned(
					   cursor, 1U << ((op - OP_CONST1U) / 2))));
	case OP_CONST1S:
	case OP_CONST2S:
	case OP_CONST4S:
	case OP_CONST8S:
		return push(stack, expr_const((uint64_t)sp_cursor_signed(
					   cursor, 1U << ((op - OP_CONST1S) / 2))));
	case OP_CONSTU:
		return push(stack, expr_const(sp_cursor_uleb(cursor)));
	case OP_CONSTS:
		return push(stack, expr_const((uint64_t)sp_cursor_sleb(cursor)));
	default:
		return false;
	}
}

/* Jumps go forward only, which is all that is needed to end. */
static bool jump(struct expr_stack *stack, uint8_t op, struct sp_cursor *cursor)
{
	int64_t distance = sp_cursor_signed(cursor, 2);

	if (op == OP_BRA) {
		struct sp_expr_value condition;

		if (stack->depth < 1)
			return false;
		condition = stack->value[--stack->depth];
		if (condition.kind != SP_EXPR_CONST)
			return false;
		if (condition.offset == 0)
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
		return push(stack, *top);
	case OP_DROP:
		stack->depth--;
		return true;
	case OP_OVER:
		return stack->depth >= 2 && push(stack, top[-1]);
	case OP_PICK:
		index = sp_cursor_unsigned(cursor, 1);
		return index < stack->depth &&
		       push(stack, stack->value[stack->depth - 1 - index]);
	case OP_SWAP:
		if (stack->depth < 2)
			return false;
		swap = top[0];
		top[0] = top[-1];
		top[-1] = swap;
		return true;
	case OP_DEREF:
		*top = deref(*top);
		return top->kind != SP_EXPR_UNKNOWN;
	case OP_PLUS_UCONST:
		*top = plus_const(*top, (int64_t)sp_cursor_uleb(cursor));
		return top->kind != SP_EXPR_UNKNOWN;
	default:
		if (stack->depth < 2)
			return false;
		top[-1] = binary(op, top[-1], top[0]);
		stack->depth--;
		return top[-1].kind != SP_EXPR_UNKNOWN;
	}
}

struct sp_expr_value sp_expr_evaluate(struct sp_cursor expression, uint64_t pc,
				      const struct sp_expr_value *first)
{
	struct sp_expr_value unknown = {.kind = SP_EXPR_UNKNOWN};
	struct expr_stack stack;

	stack.depth = 0;
	if (first && !push(&stack, *first))
		return unknown;
	for (uint32_t ops = 0; ops < EXPR_OPS_MAX && sp_cursor_left(&expression); ops++) {
		uint8_t op = (uint8_t)sp_cursor_unsigned(&expression, 1);
		bool is_understood;

		if (op >= OP_LIT0 && op <= OP_LIT31) {
			is_understood = push(&stack, expr_const(op - OP_LIT0));
		} else if (op >= OP_BREG0 && op <= OP_BREG31) {
			is_understood = push_register(&stack, op - OP_BREG0,
						      sp_cursor_sleb(&expression), pc);
		} else if (op == OP_BREGX) {
			uint64_t reg = sp_cursor_uleb(&expression);

			is_understood = push_register(&stack, reg,
						      sp_cursor_sleb(&expression), pc);
		} else if (op >= OP_CONST1U && op <= OP_CONSTS) {
			is_understood = push_constant(&stack, op, &expression);
		} else if (op == OP_BRA || op == OP_SKIP) {
			is_understood = jump(&stack, op, &expression);
		} else if (op == OP_NOP) {
			is_understood = true;
		} else {
			is_understood = stack.depth >= 1 &&
					stack_operation(&stack, op, &expression);
		}
		if (!is_understood || expression.is_bad)
			return unknown;
	}
	if (sp_cursor_left(&expression) || stack.depth == 0)
		return unknown;
	return stack.value[stack.depth - 1];
}
