/*
 * Stacks that the handler could not walk to their end, and kept a piece of.
 */
#ifndef SP_DEFERRED_STACK_H
#define SP_DEFERRED_STACK_H

#include "sp_absorb.h"

/* Context: collector. Walks on with the modules known by now; the absorber's
 * finish_stack. Returns the number of frames. */
uint32_t sp_deferred_stack_finish(void *context, const struct sp_deferred_stack *stack,
				  uint64_t *frames, uint32_t max_frames, uint8_t *end);

#endif
