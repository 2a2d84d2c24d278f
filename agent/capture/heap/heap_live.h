/*
 * Where the entry of an address lies in the live table, and where one is put: by buckets
 * (heap_live.c), or where every block is sampled at once, by the index over addresses
 * (heap_exact.c). What every block goes through there is expanded in place. Context:
 * hook, unless said otherwise.
 */
#ifndef HEAP_LIVE_H
#define HEAP_LIVE_H

#include "heap_index.h"
#include "heap_threads.h"

#include "sp_recording_heap.h"

/* Where an address is looked for, and put, in the table as it was then. */
struct sp_heap_spot {
	uint64_t address, page; /* page: its hash */
	uint64_t bucket;	/* first entry, in the largest level */
	uint32_t levels;
	/* Instead of all these where every block is sampled; NULL: none was made yet. */
	_Atomic uint32_t *slot;
	/* Of a block to be added: sp_heap_live_last(). The rest is not filled then. */
	struct sp_live_block *last;
};

/* --- heap_live.c --- */

void sp_heap_live_spot_bucket(const struct sp_recording *recording,
			      struct sp_heap_spot *spot);
struct sp_live_block *sp_heap_live_find_bucket(const struct sp_recording *recording,
					       const struct sp_heap_spot *spot,
					       uint64_t word);
/* One more level, here and now; false: no storage. System calls. */
bool sp_heap_live_grow(struct sp_recording *recording);
/* An entry that is this thread's until its word is stored; NULL: no room. is_crowded:
 * the caller is to have more room made, once. */
struct sp_live_block *sp_heap_live_claim(struct sp_recording *recording,
					 struct sp_heap_thread *self,
					 const struct sp_heap_spot *spot,
					 bool *is_crowded);

/* From free to claimed, by this thread? */
static inline bool sp_heap_live_try_claim(struct sp_live_block *block)
{
	uint64_t free_word = SP_LIVE_FREE;

	return atomic_load_explicit(&block->word, memory_order_relaxed) == SP_LIVE_FREE &&
	       /* Acquire: pairs with the release of whoever freed the entry. */
	       atomic_compare_exchange_strong_explicit(
		       &block->word, &free_word, SP_LIVE_CLAIMED, memory_order_acquire,
		       memory_order_relaxed);
}

/* Allocators like to give the block that was freed last: the entry of the last one is at
 * hand where it was at this address, and its bucket need not be found. It may be another
 * block's by now. NULL: it was not. */
static inline struct sp_live_block *sp_heap_live_last(const struct sp_heap_thread *self,
						      const void *ptr)
{
	/* Each read once: a handler that forks may come between, and the child's are 0.
	 */
	struct sp_live_block *block =
		__atomic_load_n(&self->last_block, __ATOMIC_RELAXED);

	return __atomic_load_n(&self->last_address, __ATOMIC_RELAXED) ==
			       (uint64_t)(uintptr_t)ptr
		       ? block
		       : NULL;
}

static inline void sp_heap_live_keep_last(struct sp_heap_thread *self,
					  struct sp_live_block *block, const void *ptr)
{
	/* A jump may leave it so. */
	self->last_address = 0;
	atomic_signal_fence(memory_order_seq_cst);
	self->last_block = block;
	atomic_signal_fence(memory_order_seq_cst);
	self->last_address = (uint64_t)(uintptr_t)ptr;
}

/* --- heap_exact.c --- */

/* Context: signal, before the recording's first use. */
void sp_heap_exact_begin(const struct sp_recording *recording);
struct sp_live_block *sp_heap_exact_claim(struct sp_recording *recording,
					  struct sp_heap_thread *self,
					  const struct sp_heap_spot *spot,
					  bool *has_grown);
/* It is found there again. Nothing unless every block is sampled, as below. */
void sp_heap_exact_show(const struct sp_recording *recording,
			const struct sp_live_block *block, uint64_t address);

/* Its block is no longer found there: before the address is given back. */
static inline void sp_heap_exact_hide(const struct sp_heap_spot *spot)
{
	if (sp_heap_global.is_exact && spot->slot)
		atomic_store_explicit(spot->slot, 0, memory_order_relaxed);
}

/* What the slot leads to; NULL: to nothing. */
static inline struct sp_live_block *
sp_heap_exact_block_of(const struct sp_recording *recording, const _Atomic uint32_t *slot)
{
	/* Relaxed: whoever frees a block got it from whoever has filled its slot. */
	uint32_t number = atomic_load_explicit(slot, memory_order_relaxed);

	if (sp_likely(!number) ||
	    number > sp_recording_reserved(recording, SP_SECTION_LIVE_BLOCKS))
		return NULL;
	return (struct sp_live_block *)sp_recording_item(recording,
							 SP_SECTION_LIVE_BLOCKS, 0) +
	       (number - 1);
}

static inline struct sp_live_block *
sp_heap_exact_find(const struct sp_recording *recording, const struct sp_heap_spot *spot,
		   uint64_t word)
{
	struct sp_live_block *block;

	if (sp_unlikely(!spot->slot))
		return NULL;
	block = sp_heap_exact_block_of(recording, spot->slot);
	/* Acquire: pairs with the store that published the block. */
	if (block && atomic_load_explicit(&block->word, memory_order_acquire) == word)
		return block;
	return NULL;
}

/* --- heap_large_pages.c --- */

/* Context: signal, before the recording's first use. */
void sp_heap_large_pages_begin(void);

/* --- either --- */

/* A look-up or a claim will follow soon. */
static inline void sp_heap_live_spot(const struct sp_recording *recording,
				     const void *ptr, struct sp_heap_spot *spot)
{
	spot->address = (uint64_t)(uintptr_t)ptr;
	if (!sp_heap_global.is_exact) {
		sp_heap_live_spot_bucket(recording, spot);
		return;
	}
	spot->slot = sp_heap_index_slot(spot->address);
	if (sp_likely(spot->slot != NULL))
		__builtin_prefetch((const void *)spot->slot, 1);
}

/* The live block of that address, and its word. */
static inline struct sp_live_block *
sp_heap_live_find(const struct sp_recording *recording, const struct sp_heap_spot *spot,
		  uint64_t *word)
{
	*word = spot->address << 2 | SP_LIVE_LIVE;
	return sp_heap_global.is_exact ? sp_heap_exact_find(recording, spot, *word)
				       : sp_heap_live_find_bucket(recording, spot, *word);
}

#endif
