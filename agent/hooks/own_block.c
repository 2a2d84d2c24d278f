/*
 * See sp_own_block.h. Each block is a page at a place of its own, taken from the kernel
 * and given back to it. Context: hook, cold; no lock: who takes a place has marked it
 * first, who leaves it unmarks it last.
 */
#include "sp_own_block.h"

#include "sp_alloc_next.h"
#include "sp_heap_capture.h"
#include "sp_next.h"

#include <string.h>

_Static_assert(SP_OWN_BLOCK_STEP % SP_HEAP_NULL_STEP == 0 &&
		       SP_OWN_BLOCK_FIRST % SP_HEAP_NULL_STEP == 0,
	       "free() goes the slow way for each block");

SP_TLS bool sp_own_block_is_wanted;
_Atomic bool sp_own_blocks_taken[SP_OWN_BLOCKS];

/* The loader has found the functions that it calls at the start, for good. */
static bool does_loader_call_ours(void)
{
	static _Atomic bool is_known, does;

	if (!atomic_load_explicit(&is_known, memory_order_acquire)) {
		atomic_store_explicit(&does,
				      sp_next_is_ours_first("calloc") &&
					      sp_next_is_ours_first("realloc") &&
					      sp_next_is_ours_first("free"),
				      memory_order_relaxed);
		atomic_store_explicit(&is_known, true, memory_order_release);
	}
	return atomic_load_explicit(&does, memory_order_relaxed);
}

SP_COLD void sp_own_block_settle(void)
{
	does_loader_call_ours();
}

SP_COLD void *sp_own_block_take(size_t size_bytes)
{
	if (size_bytes > SP_OWN_BLOCK_BYTES || !does_loader_call_ours())
		return NULL;
	for (uint32_t i = 0; i < SP_OWN_BLOCKS; i++) {
		void *page;

		if (atomic_exchange_explicit(&sp_own_blocks_taken[i], true,
					     memory_order_acquire))
			continue;
		page = sp_pages_map_at(SP_OWN_BLOCK_FIRST + i * SP_OWN_BLOCK_STEP,
				       SP_OWN_BLOCK_BYTES);
		if (page)
			return page;
		atomic_store_explicit(&sp_own_blocks_taken[i], false,
				      memory_order_relaxed);
	}
	return NULL;
}

SP_COLD void sp_own_block_free(void *ptr)
{
	uint64_t offset = (uint64_t)(uintptr_t)ptr - SP_OWN_BLOCK_FIRST;

	sp_pages_unmap(ptr, SP_OWN_BLOCK_BYTES);
	/* Release: pairs with the exchange of whoever takes the place next. */
	atomic_store_explicit(&sp_own_blocks_taken[offset / SP_OWN_BLOCK_STEP], false,
			      memory_order_release);
}

SP_COLD void *sp_own_block_resize(void *ptr, size_t size_bytes)
{
	void *resized;

	if (size_bytes && size_bytes <= SP_OWN_BLOCK_BYTES)
		return ptr;
	resized = size_bytes ? sp_alloc_next.malloc(size_bytes) : NULL;
	if (size_bytes && !resized)
		return NULL;
	if (resized)
		memcpy(resized, ptr, SP_OWN_BLOCK_BYTES);
	sp_own_block_free(ptr);
	return resized;
}
