/*
 * The live table where every block is sampled: entries lie in the order in which they
 * were claimed (heap_entries.c), and are found by an index over addresses (heap_index.c).
 * Context: hook.
 */
#include "heap_live.h"

static struct sp_live_block *table_of(const struct sp_recording *recording)
{
	return sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
}

void sp_heap_exact_begin(const struct sp_recording *recording)
{
	sp_heap_index_begin();
	sp_heap_entries_begin(recording);
	sp_heap_large_pages_begin();
}

/* Is it that of another block, which begins less than 16 bytes off? No allocator that
 * keeps to the rules of alignment has such. */
static SP_COLD bool is_taken(const struct sp_recording *recording,
			     const _Atomic uint32_t *slot, uint64_t address)
{
	const struct sp_live_block *block = sp_heap_exact_block_of(recording, slot);
	uint64_t word;

	if (!block)
		return false;
	word = atomic_load_explicit(&block->word, memory_order_relaxed);
	return (word & SP_LIVE_STATE_MASK) == SP_LIVE_LIVE && word >> 2 != address &&
	       sp_heap_index_slot(word >> 2) == slot;
}

struct sp_live_block *sp_heap_exact_claim(struct sp_recording *recording,
					  struct sp_heap_thread *self,
					  const struct sp_heap_spot *spot,
					  bool *has_grown)
{
	_Atomic uint32_t *slot = spot->slot;
	struct sp_live_block *block;

	*has_grown = false;
	if (sp_unlikely(!slot))
		slot = sp_heap_index_make_slot(spot->address);
	if (sp_unlikely(!slot))
		return NULL;
	if (sp_unlikely(atomic_load_explicit(slot, memory_order_relaxed)) &&
	    is_taken(recording, slot, spot->address))
		return NULL;
	block = sp_heap_entry_claim(self, recording, has_grown);
	/* Relaxed: nobody looks for the block before its word is stored. */
	if (sp_likely(block != NULL))
		atomic_store_explicit(slot, (uint32_t)(block - table_of(recording)) + 1,
				      memory_order_relaxed);
	return block;
}

void sp_heap_exact_show(const struct sp_recording *recording,
			const struct sp_live_block *block, uint64_t address)
{
	_Atomic uint32_t *slot;

	if (!sp_heap_global.is_exact)
		return;
	slot = sp_heap_index_slot(address);
	if (slot)
		atomic_store_explicit(slot, (uint32_t)(block - table_of(recording)) + 1,
				      memory_order_relaxed);
}
