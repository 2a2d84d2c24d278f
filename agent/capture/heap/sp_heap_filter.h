/*
 * Counting filter over the addresses of sampled blocks: a counter of 0 says that no
 * sampled block has an address that falls there. Neighbours share a counter, and their
 * neighbours a cache line, so that the filter takes no more of the processor's cache
 * than a 4,096th of what the program's blocks take of it.
 *
 * A filter is one word, which changes at once: the address of its counters, which is a
 * multiple of the most that one can have, and in the lower bits their number - 1.
 */
#ifndef SP_HEAP_FILTER_H
#define SP_HEAP_FILTER_H

#include "sp_alloc_line.h"

/* Says no, without counters; and yes. */
#define SP_HEAP_FILTER_NONE ((uintptr_t)0)
#define SP_HEAP_FILTER_ALL ((uintptr_t)1)

/* Bytes of addresses that share a counter. */
#define SP_HEAP_FILTER_SHIFT 12
#define SP_HEAP_FILTER_COUNTERS_MAX (UINT64_C(64) << 20)

/* Of a filter with counters. The bits of the number let the address's through. */
static inline _Atomic uint8_t *sp_heap_filter_counter(uintptr_t filter, const void *ptr)
{
	return (_Atomic uint8_t *)(filter & ((uintptr_t)ptr >> SP_HEAP_FILTER_SHIFT |
					     ~(SP_HEAP_FILTER_COUNTERS_MAX - 1)));
}

/* Context: hook, where sp_alloc_line.self_offset is there. Relaxed: whoever frees a block
 * got it from whoever counted it in. */
static inline bool sp_heap_filter_asks(const void *ptr)
{
	uintptr_t filter =
		atomic_load_explicit(&sp_alloc_line.filter, memory_order_relaxed);

	return atomic_load_explicit(sp_heap_filter_counter(filter, ptr),
				    memory_order_relaxed) != 0;
}

#endif
