/*
 * Scoped spans: those that end with a frame of their thread's stack, however that is
 * left. Frames of one stack lie in order, so that the ones that a jump has left are the
 * last entered. Context: hook.
 */
#include "sp_clock.h"
#include "sp_thread.h"
#include "span_stack.h"
#include "span_table.h"

static void end_scoped(struct sp_span_thread *self, uint32_t at)
{
	uint64_t handle = self->frames[at].handle;

	sp_span_charge(self);
	sp_span_remove_frame(self, at, sp_clock_ticks(), sp_span_thread_cpu_ns());
	sp_span_close(handle);
	sp_span_publish_top(self);
}

static bool is_on_own_stack(const struct sp_slot *slot, uint64_t stack_pointer)
{
	return stack_pointer >=
		       atomic_load_explicit(&slot->stack_low, memory_order_relaxed) &&
	       stack_pointer <
		       atomic_load_explicit(&slot->stack_high, memory_order_relaxed);
}

/* The frames of one stack lie in order: those that go are the last of them. */
void sp_span_unwind_to(uint64_t stack_pointer)
{
	struct sp_span_thread *self = sp_span_self;

	if (!self || !self->depth || !self->slot ||
	    !is_on_own_stack(self->slot, stack_pointer) || !sp_span_is_on())
		return;
	for (uint32_t at = self->depth; at-- > 0;) {
		uint64_t frame = self->frames[at].stack_pointer;

		if (!frame || !is_on_own_stack(self->slot, frame))
			continue;
		if (frame >= stack_pointer)
			break;
		end_scoped(self, at);
	}
}

void sp_span_end_frame(uint64_t stack_pointer)
{
	struct sp_span_thread *self = sp_span_self;

	if (!self || !sp_span_is_on())
		return;
	for (uint32_t at = self->depth; at-- > 0;) {
		if (self->frames[at].stack_pointer == stack_pointer) {
			end_scoped(self, at);
			return;
		}
	}
}
