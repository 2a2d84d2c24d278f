/*
 * Scoped spans: those that end with a frame of their thread's stack, however that is
 * left. Frames of one stack lie in order, so that the ones that a jump has left are the
 * last entered. Context: hook.
 */
#include "sp_compiler.h"
#include "sp_thread.h"
#include "span_stack.h"
#include "span_table.h"

struct sp_span_stack sp_span_stack_of(const struct sp_span_thread *self, uint64_t address)
{
	struct sp_span_stack stack = {self->stack_low, self->stack_high};

	if (sp_span_is_on_stack(&stack, address))
		return stack;
	stack = (struct sp_span_stack){0, 0};
	if (self->slot) {
		stack.low = atomic_load_explicit(&self->slot->stack_low,
						 memory_order_relaxed);
		stack.high = atomic_load_explicit(&self->slot->stack_high,
						  memory_order_relaxed);
	}
	return sp_span_is_on_stack(&stack, address) ? stack
						    : (struct sp_span_stack){0, 0};
}

/* That of the thread's handlers; empty: none. */
static SP_TLS struct sp_span_stack signal_stack;

void sp_span_set_signal_stack(uint64_t low, uint64_t high)
{
	signal_stack = (struct sp_span_stack){low, high};
}

/* A program's stack for its handlers may be an array in one of its frames: what runs
 * there has not left what lies below. */
static bool is_handler_of(uint64_t stack_pointer, uint64_t frame)
{
	return sp_span_is_on_stack(&signal_stack, stack_pointer) &&
	       !sp_span_is_on_stack(&signal_stack, frame);
}

void sp_span_unwind_to(uint64_t stack_pointer)
{
	struct sp_span_thread *self = sp_span_self;
	struct sp_span_stack stack;

	if (!self || !self->depth || !sp_span_is_on())
		return;
	stack = sp_span_stack_of(self, stack_pointer);
	/* On one stack frames lie in order. */
	for (uint32_t at = self->depth; stack.high && at-- > 0;) {
		uint64_t frame = sp_span_frame_at(self, at)->stack_pointer;

		if (!frame || !sp_span_is_on_stack(&stack, frame))
			continue;
		if (frame >= stack_pointer || is_handler_of(stack_pointer, frame))
			break;
		sp_span_end_scoped(self, at);
	}
}

void sp_span_switch_stack(uint64_t stack_pointer, uint64_t low, uint64_t high)
{
	uint64_t before = sp_span_begin_change();
	struct sp_span_thread *self = sp_span_self;

	if (self) {
		self->stack_low = low;
		self->stack_high = high;
		sp_span_unwind_to(stack_pointer);
	}
	sp_span_end_change(before);
}

void sp_span_end_frame(uint64_t stack_pointer)
{
	struct sp_span_thread *self = sp_span_self;

	if (!self || !sp_span_is_on())
		return;
	for (uint32_t at = self->depth; at-- > 0;) {
		if (sp_span_frame_at(self, at)->stack_pointer == stack_pointer) {
			sp_span_end_scoped(self, at);
			return;
		}
	}
}
