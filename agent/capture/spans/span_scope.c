/*
 * Scoped spans: those that end with a frame of their thread's stack, however that is
 * left. Frames of one stack lie in order, so that the ones that a jump has left are the
 * last entered. Context: hook.
 */
#include "sp_thread.h"
#include "span_stack.h"
#include "span_table.h"

struct stack {
	uint64_t low, high;
};

static bool is_on(const struct stack *stack, uint64_t address)
{
	return address >= stack->low && address < stack->high;
}

/* That of those known which the address is on; empty when it is on none. */
static struct stack stack_of(const struct sp_span_thread *self, uint64_t address)
{
	struct stack stack = {self->stack_low, self->stack_high};

	if (is_on(&stack, address))
		return stack;
	stack = (struct stack){0, 0};
	if (self->slot) {
		stack.low = atomic_load_explicit(&self->slot->stack_low,
						 memory_order_relaxed);
		stack.high = atomic_load_explicit(&self->slot->stack_high,
						  memory_order_relaxed);
	}
	return is_on(&stack, address) ? stack : (struct stack){0, 0};
}

void sp_span_unwind_to(uint64_t stack_pointer)
{
	struct sp_span_thread *self = sp_span_self;
	struct stack stack;

	if (!self || !self->depth || !sp_span_is_on())
		return;
	stack = stack_of(self, stack_pointer);
	/* On one stack frames lie in order. */
	for (uint32_t at = self->depth; stack.high && at-- > 0;) {
		uint64_t frame = self->frames[at].stack_pointer;

		if (!frame || !is_on(&stack, frame))
			continue;
		if (frame >= stack_pointer)
			break;
		sp_span_end_scoped(self, at);
	}
}

void sp_span_before_jump(uint64_t stack_pointer)
{
	struct sp_span_thread *self = sp_span_self;
	struct stack stack;

	if (!self)
		return;
	stack = stack_of(self, stack_pointer);
	sp_span_unwind_to(stack_pointer);
	if (sp_likely(!is_on(&stack, sp_span_changing)) ||
	    sp_span_changing >= stack_pointer)
		return;
	/* A handler of the program that had interrupted a change: it does not come back.
	 */
	sp_span_changing = 0;
	if (sp_span_is_on())
		sp_span_publish_top(self);
}

void sp_span_switch_stack(uint64_t stack_pointer, uint64_t low, uint64_t high)
{
	struct sp_span_thread *self = sp_span_self;

	if (!self)
		return;
	self->stack_low = low;
	self->stack_high = high;
	sp_span_unwind_to(stack_pointer);
}

void sp_span_end_frame(uint64_t stack_pointer)
{
	struct sp_span_thread *self = sp_span_self;

	if (!self || !sp_span_is_on())
		return;
	for (uint32_t at = self->depth; at-- > 0;) {
		if (self->frames[at].stack_pointer == stack_pointer) {
			sp_span_end_scoped(self, at);
			return;
		}
	}
}
