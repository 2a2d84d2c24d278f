/*
 * What samples of blocks, and their ends, take of the program's threads: cycles of the
 * time-stamp counter. A thread measures each while that is little, unless all blocks are
 * sampled; then one of so many, which stands for the others, so that nothing gets slower
 * by it. So it is an estimate. Context of everything here: hook.
 */
#ifndef SP_HEAP_COST_H
#define SP_HEAP_COST_H

#include "heap_threads.h"
#include "sp_clock.h"

/* Some 0.1 ms. */
#define SP_HEAP_COST_LITTLE_CYCLES (UINT64_C(1) << 18)
/* Of samples and ends together. A prime: programs do things in turns of other numbers,
 * and are not to fall in step with it. */
#define SP_HEAP_COST_EVERY 61U
/* Where all are sampled. Begins are measured when the counters are published. */
#define SP_HEAP_COST_EVERY_END_EXACT 256U

/* Is it this sample's, or end's, turn? To be asked once of each. */
static inline bool sp_heap_cost_is_due(struct sp_heap_thread *self)
{
	return ++self->cost_turns % SP_HEAP_COST_EVERY == 0 ||
	       self->cost_cycles < SP_HEAP_COST_LITTLE_CYCLES;
}

static inline uint64_t sp_heap_cost_weight(const struct sp_heap_thread *self)
{
	return self->cost_cycles < SP_HEAP_COST_LITTLE_CYCLES ? 1 : SP_HEAP_COST_EVERY;
}

/* The calling thread was at it since begin_cycles; there are weight like it. */
void sp_heap_cost_add(struct sp_heap_thread *self, uint64_t begin_cycles,
		      uint64_t weight);

/* Around the end of a block. Returns what sp_heap_cost_end() is to be given; 0: it is not
 * measured. */
static inline uint64_t sp_heap_cost_begin_end(void)
{
	struct sp_heap_thread *self = sp_heap_self;

	if (sp_unlikely(!self))
		return 0;
	if (sp_heap_global.is_exact) {
		if (sp_likely(self->frees % SP_HEAP_COST_EVERY_END_EXACT != 0))
			return 0;
	} else if (sp_likely(!sp_heap_cost_is_due(self))) {
		return 0;
	}
	return sp_clock_cycles();
}

/* On a thread that is perhaps the child's: a handler may have forked meanwhile. */
void sp_heap_cost_add_end(uint64_t begin_cycles);

static inline void sp_heap_cost_end(uint64_t begin_cycles)
{
	if (sp_unlikely(begin_cycles != 0))
		sp_heap_cost_add_end(begin_cycles);
}

#endif
