/*
 * Adds up what samples of blocks, and their ends, take of a thread: see heap_cost.h.
 * Context: hook. A counter of the thread's own, which goes the way of its other counters.
 */
#include "heap_cost.h"

/* Some 0.1 ms. Whatever seems to take longer mostly did not run, or moved to a core whose
 * counter is another; that much of it counts. */
#define CYCLES_MAX (UINT64_C(1) << 18)

void sp_heap_cost_add(struct sp_heap_thread *self, uint64_t begin_cycles, uint64_t weight)
{
	uint64_t cycles = sp_clock_cycles() - begin_cycles;

	self->cost_cycles += (cycles < CYCLES_MAX ? cycles : CYCLES_MAX) * weight;
}

void sp_heap_cost_add_end(uint64_t begin_cycles)
{
	struct sp_heap_thread *self = sp_heap_self;

	if (self)
		sp_heap_cost_add(self, begin_cycles,
				 sp_heap_global.is_exact ? SP_HEAP_COST_EVERY_END_EXACT
							 : sp_heap_cost_weight(self));
}
