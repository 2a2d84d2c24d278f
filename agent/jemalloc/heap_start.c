/*
 * A program that starts and ends again needs little of the agent's heap: too little to
 * set up an allocator for, which takes jemalloc 0.15 ms and 40 pages. So the first
 * blocks are cut one behind the other from one mapping, and are never used again;
 * whoever goes on for longer has a heap by then. Nothing here can be found half done by
 * a fork. Context: collector.
 */
#include "heap_start.h"

#include "sp_compiler.h"
#include "sp_pages.h"

#include <stdatomic.h>
#include <stdint.h>

#define FIRST_BYTES ((size_t)512 << 10)

struct header {
	size_t size_bytes;
	uint64_t unused; /* keeps blocks aligned */
};

static _Atomic(unsigned char *) first;
static _Atomic size_t used_bytes;

/* Threads that come at once all map it; one of them has it. */
static unsigned char *map_first(void)
{
	unsigned char *mine = sp_pages_map(FIRST_BYTES), *others = NULL;

	if (!mine)
		return NULL;
	/* Release: who sees the address may look into the memory. */
	if (atomic_compare_exchange_strong_explicit(
		    &first, &others, mine, memory_order_acq_rel, memory_order_acquire))
		return mine;
	sp_pages_unmap(mine, FIRST_BYTES);
	return others;
}

void *sp_heap_start_alloc(size_t size_bytes)
{
	size_t whole_bytes =
		SP_ROUND_UP(size_bytes, sizeof(struct header)) + sizeof(struct header);
	size_t used = atomic_load_explicit(&used_bytes, memory_order_relaxed);
	unsigned char *memory;
	struct header *block;

	do {
		if (size_bytes > FIRST_BYTES || used + whole_bytes > FIRST_BYTES)
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(
		&used_bytes, &used, used + whole_bytes, memory_order_relaxed,
		memory_order_relaxed));
	memory = atomic_load_explicit(&first, memory_order_acquire);
	if (!memory)
		memory = map_first();
	if (!memory)
		return NULL;
	block = (struct header *)(void *)(memory + used);
	block->size_bytes = size_bytes;
	return block + 1;
}

bool sp_heap_start_owns(const void *ptr)
{
	const unsigned char *memory = atomic_load_explicit(&first, memory_order_acquire);

	return memory && (uintptr_t)ptr - (uintptr_t)memory < FIRST_BYTES;
}

size_t sp_heap_start_size(const void *ptr)
{
	return ((const struct header *)ptr - 1)->size_bytes;
}
