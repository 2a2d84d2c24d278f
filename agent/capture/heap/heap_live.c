/*
 * The live table: where a block's entry is looked for and put. Entries are claimed by
 * compare-and-swap, so that threads meet only where their blocks share a bucket. New
 * ones go to the largest level, which is nearly always where they are found again.
 * Where every block is sampled, heap_exact.c does all this. Context: hook, signal.
 */
#include "heap_live.h"

#include "sp_recording_writer.h"

#define LEVEL0_BUCKET_BITS 7U
_Static_assert(SP_LIVE_LEVEL0_BLOCKS / SP_LIVE_BUCKET_BLOCKS == 1U << LEVEL0_BUCKET_BITS,
	       "bits of the smallest level");

#define PAGE_SHIFT 12U
/* A bucket has a place for each 32 bytes of so many, the C library's smallest blocks, and
 * is filled from its begin, as most programs need half of them. */
#define BUCKET_SHIFT 8U

/* Pages that are full of small blocks may fall together on all levels: what then finds no
 * room beside its neighbours lies by the hash of its whole address. Has any? */
static _Atomic bool has_scattered;

/* Pages lie anywhere, the blocks of one side by side: what is allocated and freed
 * together is found together. Returns the index of the bucket's first entry. */
static uint64_t bucket_of(uint64_t address, uint64_t page, uint32_t level)
{
	uint32_t bits = LEVEL0_BUCKET_BITS + 2 * level;
	uint64_t bucket = ((page >> (64 - bits)) + (address >> BUCKET_SHIFT)) &
			  ((UINT64_C(1) << bits) - 1);

	return sp_live_blocks_of_levels(level) + bucket * SP_LIVE_BUCKET_BLOCKS;
}

static uint64_t scattered_bucket_of(uint64_t scattered, uint32_t level)
{
	uint32_t bits = LEVEL0_BUCKET_BITS + 2 * level;

	return sp_live_blocks_of_levels(level) +
	       (scattered >> (64 - bits)) * SP_LIVE_BUCKET_BLOCKS;
}

static uint32_t levels_of(const struct sp_recording *recording)
{
	return sp_live_levels_in(
		sp_recording_reserved(recording, SP_SECTION_LIVE_BLOCKS));
}

static struct sp_live_block *find_in(struct sp_live_block *table, uint64_t bucket,
				     uint64_t wanted)
{
	for (uint64_t i = bucket; i < bucket + SP_LIVE_BUCKET_BLOCKS; i++)
		/* Acquire: pairs with the store that published the block. */
		if (atomic_load_explicit(&table[i].word, memory_order_acquire) == wanted)
			return &table[i];
	return NULL;
}

void sp_heap_live_spot_bucket(const struct sp_recording *recording,
			      struct sp_heap_spot *spot)
{
	uint64_t address = spot->address;

	spot->page = sp_heap_hash((const void *)(uintptr_t)(address >> PAGE_SHIFT));
	spot->levels = levels_of(recording);
	spot->bucket = bucket_of(address, spot->page, spot->levels - 1);
	/* Most blocks are in the first line of their bucket. */
	__builtin_prefetch(
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, spot->bucket), 1);
}

/* In the levels below the largest, and wherever else. */
static SP_NOINLINE struct sp_live_block *find_elsewhere(struct sp_live_block *table,
							const struct sp_heap_spot *spot,
							uint64_t word)
{
	uint64_t scattered;

	for (uint32_t level = spot->levels - 1; level-- > 0;) {
		struct sp_live_block *block =
			find_in(table, bucket_of(spot->address, spot->page, level), word);

		if (block)
			return block;
	}
	/* Relaxed: whoever frees a block got it from whoever has put it there. */
	if (sp_likely(!atomic_load_explicit(&has_scattered, memory_order_relaxed)))
		return NULL;
	scattered = sp_heap_hash((const void *)(uintptr_t)spot->address); // NOLINT
	for (uint32_t level = spot->levels; level-- > 0;) {
		struct sp_live_block *block =
			find_in(table, scattered_bucket_of(scattered, level), word);

		if (block)
			return block;
	}
	return NULL;
}

struct sp_live_block *sp_heap_live_find_bucket(const struct sp_recording *recording,
					       const struct sp_heap_spot *spot,
					       uint64_t word)
{
	struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	struct sp_live_block *block = find_in(table, spot->bucket, word);

	if (sp_likely(block != NULL))
		return block;
	return find_elsewhere(table, spot, word);
}

static struct sp_live_block *claim_in(struct sp_live_block *table, uint64_t bucket)
{
	for (uint64_t i = bucket; i < bucket + SP_LIVE_BUCKET_BLOCKS; i++)
		if (sp_heap_live_try_claim(&table[i]))
			return &table[i];
	return NULL;
}

/* Full buckets are the sign of a table that is too small, or full of blocks to be
 * absorbed. Whoever notices sees to it, when it is done. */
static void note_full(bool *is_crowded)
{
	if (!atomic_load_explicit(&sp_heap_global.wants_room, memory_order_relaxed) &&
	    !atomic_exchange(&sp_heap_global.wants_room, true))
		*is_crowded = true;
}

static SP_NOINLINE struct sp_live_block *claim_elsewhere(struct sp_live_block *table,
							 const struct sp_heap_spot *spot)
{
	struct sp_live_block *block = NULL;
	uint64_t scattered;

	for (uint32_t level = spot->levels - 1; level-- > 0 && !block;)
		block = claim_in(table, bucket_of(spot->address, spot->page, level));
	if (block)
		return block;
	if (!atomic_load_explicit(&has_scattered, memory_order_relaxed))
		atomic_store_explicit(&has_scattered, true, memory_order_relaxed);
	scattered = sp_heap_hash((const void *)(uintptr_t)spot->address); // NOLINT
	for (uint32_t level = spot->levels; level-- > 0 && !block;)
		block = claim_in(table, scattered_bucket_of(scattered, level));
	return block;
}

static struct sp_live_block *claim_exact(struct sp_recording *recording,
					 struct sp_heap_thread *self,
					 const struct sp_heap_spot *spot,
					 bool *is_crowded)
{
	bool has_grown;
	struct sp_live_block *block =
		sp_heap_exact_claim(recording, self, spot, &has_grown);

	/* Not for want of what the consumer has only to absorb. */
	if (sp_unlikely(!block) ||
	    sp_unlikely(has_grown && atomic_load_explicit(&sp_heap_global.has_freed,
							  memory_order_relaxed)))
		note_full(is_crowded);
	return block;
}

struct sp_live_block *sp_heap_live_claim(struct sp_recording *recording,
					 struct sp_heap_thread *self,
					 const struct sp_heap_spot *spot,
					 bool *is_crowded)
{
	struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	struct sp_live_block *block;

	if (sp_heap_global.is_exact)
		return claim_exact(recording, self, spot, is_crowded);
	block = claim_in(table, spot->bucket);
	if (sp_likely(block != NULL))
		return block;
	note_full(is_crowded);
	return claim_elsewhere(table, spot);
}

bool sp_heap_live_grow(struct sp_recording *recording)
{
	uint32_t levels = levels_of(recording);

	/* Where every block is sampled, whoever claims has tried. */
	return !sp_heap_global.is_exact && levels < SP_LIVE_LEVELS_MAX &&
	       sp_recording_reserve(recording, SP_SECTION_LIVE_BLOCKS,
				    sp_live_blocks_of_levels(levels + 1)) == 0;
}
