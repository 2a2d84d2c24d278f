/*
 * The live table where every block is sampled: entries lie in the order in which they
 * were claimed (heap_entries.c), and are found by an index over addresses (heap_index.c).
 * Context: hook.
 */
#include "heap_threads.h"

#include "sp_recording_heap.h"

static struct sp_live_block *table_of(const struct sp_recording *recording)
{
	return sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
}

void sp_heap_exact_begin(const struct sp_recording *recording)
{
	sp_heap_index_begin();
	sp_heap_entries_begin(recording);
}

/* What the slot leads to; NULL: to nothing. */
static struct sp_live_block *block_of(const struct sp_recording *recording,
				      const _Atomic uint32_t *slot)
{
	/* Relaxed: whoever frees a block got it from whoever has filled its slot. */
	uint32_t number = atomic_load_explicit(slot, memory_order_relaxed);

	if (sp_likely(!number) ||
	    number > sp_recording_reserved(recording, SP_SECTION_LIVE_BLOCKS))
		return NULL;
	return &table_of(recording)[number - 1];
}

struct sp_live_block *sp_heap_exact_find(const struct sp_recording *recording,
					 const struct sp_heap_spot *spot, uint64_t word)
{
	struct sp_live_block *block;

	if (sp_unlikely(!spot->slot))
		return NULL;
	block = block_of(recording, spot->slot);
	/* Acquire: pairs with the store that published the block. */
	if (block && atomic_load_explicit(&block->word, memory_order_acquire) == word)
		return block;
	return NULL;
}

/* Is it that of another block, which begins less than 16 bytes off? No allocator that
 * keeps to the rules of alignment has such. */
static SP_COLD bool is_taken(const struct sp_recording *recording,
			     const _Atomic uint32_t *slot, uint64_t address)
{
	const struct sp_live_block *block = block_of(recording, slot);
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

void sp_heap_exact_hide(const struct sp_heap_spot *spot)
{
	if (sp_heap_global.is_exact && spot->slot)
		atomic_store_explicit(spot->slot, 0, memory_order_relaxed);
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
