/*
 * The live table: where a block's entry is looked for and put. Entries are claimed by
 * compare-and-swap, so that threads meet only where their blocks share a bucket. New
 * ones go to the largest level, which is nearly always where they are found again.
 * Context: hook, signal.
 */
#include "heap_threads.h"

#include "sp_recording_heap.h"
#include "sp_recording_writer.h"

#define LEVEL0_BUCKET_BITS 7U
_Static_assert(SP_LIVE_LEVEL0_BLOCKS / SP_LIVE_BUCKET_BLOCKS == 1U << LEVEL0_BUCKET_BITS,
	       "bits of the smallest level");

static struct sp_live_block *bucket_of(struct sp_live_block *table, uint32_t level,
				       uint64_t hash)
{
	uint64_t bucket = hash >> (64 - (LEVEL0_BUCKET_BITS + 2 * level));

	return table + sp_live_blocks_of_levels(level) + bucket * SP_LIVE_BUCKET_BLOCKS;
}

/* Where in its bucket the search begins: all places are alike. */
static uint32_t first_place(uint64_t hash)
{
	return (uint32_t)(hash >> 8) % SP_LIVE_BUCKET_BLOCKS;
}

static uint32_t levels_of(const struct sp_recording *recording)
{
	return sp_live_levels_in(
		sp_recording_reserved(recording, SP_SECTION_LIVE_BLOCKS));
}

struct sp_live_block *sp_heap_live_find(const struct sp_recording *recording,
					const void *ptr, uint32_t levels_max,
					uint64_t *word)
{
	struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	uint64_t wanted = (uint64_t)(uintptr_t)ptr << 2 | SP_LIVE_LIVE;
	uint64_t hash = sp_heap_hash(ptr);

	*word = wanted;
	for (uint32_t level = levels_of(recording); level-- > 0 && levels_max-- > 0;) {
		struct sp_live_block *bucket = bucket_of(table, level, hash);

		for (uint32_t i = 0; i < SP_LIVE_BUCKET_BLOCKS; i++) {
			struct sp_live_block *block =
				&bucket[(first_place(hash) + i) % SP_LIVE_BUCKET_BLOCKS];

			/* Acquire: pairs with the store that published the block. */
			if (atomic_load_explicit(&block->word, memory_order_acquire) ==
			    wanted)
				return block;
		}
	}
	return NULL;
}

static bool claim(struct sp_live_block *block)
{
	uint64_t free_word = SP_LIVE_FREE;

	return atomic_load_explicit(&block->word, memory_order_relaxed) == SP_LIVE_FREE &&
	       /* Acquire: pairs with the consumer's release when it freed the entry. */
	       atomic_compare_exchange_strong_explicit(
		       &block->word, &free_word, SP_LIVE_CLAIMED, memory_order_acquire,
		       memory_order_relaxed);
}

struct sp_live_block *sp_heap_live_claim(const struct sp_recording *recording,
					 const void *ptr, bool *is_crowded)
{
	struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	uint64_t hash = sp_heap_hash(ptr);

	for (uint32_t level = levels_of(recording); level-- > 0;) {
		struct sp_live_block *bucket = bucket_of(table, level, hash);

		for (uint32_t i = 0; i < SP_LIVE_BUCKET_BLOCKS; i++) {
			struct sp_live_block *block =
				&bucket[(first_place(hash) + i) % SP_LIVE_BUCKET_BLOCKS];

			if (claim(block))
				return block;
		}
		/* Full buckets are the sign of a table that is too small, or full of
		 * blocks to be absorbed. Whoever notices sees to it, when it is done. */
		if (!atomic_load_explicit(&sp_heap_global.wants_room,
					  memory_order_relaxed) &&
		    !atomic_exchange(&sp_heap_global.wants_room, true))
			*is_crowded = true;
	}
	return NULL;
}

bool sp_heap_live_grow(struct sp_recording *recording)
{
	uint32_t levels = levels_of(recording);

	return levels < SP_LIVE_LEVELS_MAX &&
	       sp_recording_reserve(recording, SP_SECTION_LIVE_BLOCKS,
				    sp_live_blocks_of_levels(levels + 1)) == 0;
}

void sp_heap_live_prefetch(const struct sp_recording *recording, const void *ptr)
{
	struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	const char *bucket = (const char *)bucket_of(table, levels_of(recording) - 1,
						     sp_heap_hash(ptr));

	for (uint32_t at = 0; at < SP_LIVE_BUCKET_BLOCKS * sizeof(*table); at += 64)
		__builtin_prefetch(bucket + at, 1);
}
