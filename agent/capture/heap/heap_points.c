/*
 * A thread's points along the bytes that it allocates, and what a block stands for that
 * one fell into. Both take many times longer than all else that a sample does, so points
 * are laid several at a time, and what was found for one size is kept for the next block.
 * Context: hook; a handler of the program's may interrupt it on the same thread.
 */
#include "heap_threads.h"

uint64_t sp_heap_next_distance(struct sp_heap_thread *self)
{
	/* Read once: a handler may take some, too. */
	uint32_t left = __atomic_load_n(&self->distances_left, __ATOMIC_RELAXED);

	if (sp_unlikely(!left)) {
		sp_poisson_distances(&self->random_state, sp_heap_global.rate_bytes,
				     self->distances, SP_HEAP_DISTANCES);
		left = SP_HEAP_DISTANCES;
	}
	self->distances_left = left - 1;
	return self->distances[SP_HEAP_DISTANCES - left];
}

struct sp_poisson_estimate sp_heap_weigh(struct sp_heap_thread *self, uint64_t size_bytes)
{
	if (sp_heap_global.is_exact || !size_bytes)
		return sp_poisson_estimate(size_bytes, sp_heap_global.rate_bytes);
	if (sp_likely(self->weighed_bytes == size_bytes))
		return self->weighed;
	/* A handler that frees a block may look at any moment, and one that jumps may
	 * leave it so. */
	self->weighed_bytes = 0;
	atomic_signal_fence(memory_order_seq_cst);
	self->weighed = sp_poisson_estimate(size_bytes, sp_heap_global.rate_bytes);
	self->weighings++;
	atomic_signal_fence(memory_order_seq_cst);
	self->weighed_bytes = size_bytes;
	return self->weighed;
}

struct sp_poisson_estimate sp_heap_weigh_freed(const struct sp_heap_thread *self,
					       uint64_t size_bytes)
{
	if (sp_likely(self && size_bytes)) {
		uint32_t weighings = self->weighings;
		struct sp_poisson_estimate weighed;

		atomic_signal_fence(memory_order_seq_cst);
		weighed = self->weighed;
		atomic_signal_fence(memory_order_seq_cst);
		if (self->weighed_bytes == size_bytes && self->weighings == weighings)
			return weighed;
	}
	return sp_poisson_estimate(size_bytes, sp_heap_global.rate_bytes);
}
