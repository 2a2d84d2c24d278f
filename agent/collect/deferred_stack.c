/*
 * See deferred_stack.h. Context: collector.
 */
#include "deferred_stack.h"

#include "sp_capture.h"

#include <string.h>

uint32_t sp_deferred_stack_finish(void *context, const struct sp_deferred_stack *stack,
				  uint64_t *frames, uint32_t max_frames, uint8_t *end)
{
	struct sp_unwind_regs regs;
	struct sp_unwind_stack copy = {
		.low = stack->stack_address,
		.high = stack->stack_address + stack->stack_bytes,
		.delta = (int64_t)((uint64_t)(uintptr_t)stack->stack -
				   stack->stack_address),
		.closes = stack->closes,
	};
	struct sp_unwind_result result;

	(void)context;
	memcpy(regs.value, stack->registers, sizeof(regs.value));
	result =
		sp_unwind(atomic_load_explicit(&sp_unwind_snapshot, memory_order_acquire),
			  &regs, &copy, frames, max_frames);
	if (result.hook_frame)
		sp_unwind_put_hook(&result, frames, max_frames);
	*end = (uint8_t)result.end;
	return result.depth_frames;
}
