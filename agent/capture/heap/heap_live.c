/*
 * The live table: where a block's entry is looked for and put. Entries are claimed by
 * compare-and-swap, so that threads meet only where their blocks share a bucket. New
 * ones go to the largest level, which is nearly always where they are found again.
 * Context: hook, signal.
 */
#include "heap_threads.h"

#include "sp_pages.h"
#include "sp_recording_heap.h"
#include "sp_recording_writer.h"

#define LEVEL0_BUCKET_BITS 7U
_Static_assert(SP_LIVE_LEVEL0_BLOCKS / SP_LIVE_BUCKET_BLOCKS == 1U << LEVEL0_BUCKET_BITS,
	       "bits of the smallest level");

#define PAGE_SHIFT 12U
/* A bucket has a place for each 32 bytes of so many, the C library's smallest blocks, and
 * is filled from its begin, as most programs need half of them. */
#define BUCKET_SHIFT 8U

/*
 * Where every block is sampled, each is looked for twice, and mostly in vain when it is
 * new. So there is a byte of its address for each entry, private memory that the
 * processor has at hand more often than the table: an entry whose tag is another need
 * not be looked at. Tags are written before an entry is published; 0 where it was free
 * the last time that a hook freed it, which only says where to try first. NULL: none,
 * all entries are looked at.
 */
static _Atomic(_Atomic uint8_t *) tags;
static uint64_t tag_count;
_Static_assert(SP_LIVE_BUCKET_BLOCKS == sizeof(uint64_t), "tags of a bucket are a word");

#define EACH_BYTE UINT64_C(0x0101010101010101)

/* Pages that are full of small blocks may fall together on all levels: what then finds no
 * room beside its neighbours lies by the hash of its whole address. Has any? */
static _Atomic bool has_scattered;

static uint8_t tag_of(const struct sp_heap_spot *spot)
{
	uint8_t tag = (uint8_t)(spot->page ^ spot->address >> 4);

	return tag ? tag : 1;
}

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

void sp_heap_live_use_tags(const struct sp_recording *recording)
{
	uint64_t count =
		recording->header->sections[SP_SECTION_LIVE_BLOCKS].capacity_items;

	/* A fork child's are those of its parent: nothing there hides an entry. */
	if (atomic_load_explicit(&tags, memory_order_relaxed))
		return;
	tag_count = count;
	atomic_store_explicit(&tags, sp_pages_map(count), memory_order_release);
}

static _Atomic uint8_t *tags_at(uint64_t bucket)
{
	_Atomic uint8_t *all = atomic_load_explicit(&tags, memory_order_acquire);

	return all && bucket + SP_LIVE_BUCKET_BLOCKS <= tag_count ? all + bucket : NULL;
}

/* The top bit of the byte of each entry that is worth a look; perhaps of others. */
static uint64_t candidates(uint64_t bucket, uint8_t tag)
{
	const _Atomic uint8_t *own = tags_at(bucket);
	uint64_t differences;

	if (sp_unlikely(!own))
		return EACH_BYTE << 7;
	/* Relaxed: whoever frees a block got it from whoever wrote its tag. */
	differences = atomic_load_explicit((const _Atomic uint64_t *)(const void *)own,
					   memory_order_relaxed) ^
		      EACH_BYTE * tag;
	return (differences - EACH_BYTE) & ~differences & EACH_BYTE << 7;
}

static struct sp_live_block *find_in(struct sp_live_block *table, uint64_t bucket,
				     uint8_t tag, uint64_t wanted)
{
	for (uint64_t left = candidates(bucket, tag); left; left &= left - 1) {
		struct sp_live_block *block =
			&table[bucket + (uint32_t)__builtin_ctzll(left) / 8];

		/* Acquire: pairs with the store that published the block. */
		if (atomic_load_explicit(&block->word, memory_order_acquire) == wanted)
			return block;
	}
	return NULL;
}

struct sp_heap_spot sp_heap_live_spot(const struct sp_recording *recording,
				      const void *ptr)
{
	const struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	uint64_t address = (uint64_t)(uintptr_t)ptr;
	struct sp_heap_spot spot = {
		.address = address,
		.page = sp_heap_hash((const void *)(uintptr_t)(address >> PAGE_SHIFT)),
		.levels = levels_of(recording),
	};

	spot.bucket = bucket_of(address, spot.page, spot.levels - 1);
	/* Most blocks are in the first line of their bucket. */
	__builtin_prefetch(&table[spot.bucket], 1);
	return spot;
}

/* In the levels from below the largest down to lowest. */
static SP_NOINLINE struct sp_live_block *find_elsewhere(struct sp_live_block *table,
							const struct sp_heap_spot *spot,
							uint32_t lowest, uint64_t word)
{
	uint64_t scattered;

	for (uint32_t level = spot->levels - 1; level-- > lowest;) {
		struct sp_live_block *block =
			find_in(table, bucket_of(spot->address, spot->page, level),
				tag_of(spot), word);

		if (block)
			return block;
	}
	/* Relaxed: whoever frees a block got it from whoever has put it there. */
	if (sp_likely(!atomic_load_explicit(&has_scattered, memory_order_relaxed)))
		return NULL;
	scattered = sp_heap_hash((const void *)(uintptr_t)spot->address); // NOLINT
	for (uint32_t level = spot->levels; level-- > lowest;) {
		struct sp_live_block *block = find_in(
			table, scattered_bucket_of(scattered, level), tag_of(spot), word);

		if (block)
			return block;
	}
	return NULL;
}

struct sp_live_block *sp_heap_live_find(const struct sp_recording *recording,
					const struct sp_heap_spot *spot,
					uint32_t levels_max, uint64_t *word)
{
	struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	struct sp_live_block *block;

	*word = spot->address << 2 | SP_LIVE_LIVE;
	block = find_in(table, spot->bucket, tag_of(spot), *word);
	if (sp_likely(block != NULL))
		return block;
	return find_elsewhere(table, spot,
			      spot->levels > levels_max ? spot->levels - levels_max : 0,
			      *word);
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

static bool claim_at(struct sp_live_block *table, uint64_t bucket, uint32_t place,
		     uint8_t tag)
{
	_Atomic uint8_t *own = tags_at(bucket);

	if (!claim(&table[bucket + place]))
		return false;
	/* Relaxed: the store that publishes the block comes later. */
	if (sp_likely(own != NULL))
		atomic_store_explicit(&own[place], tag, memory_order_relaxed);
	return true;
}

/* A free entry of the bucket, with the tag; those that look free first. */
static struct sp_live_block *claim_in(struct sp_live_block *table, uint64_t bucket,
				      uint8_t tag)
{
	for (uint64_t left = candidates(bucket, 0); left; left &= left - 1) {
		uint32_t place = (uint32_t)__builtin_ctzll(left) / 8;

		if (sp_likely(claim_at(table, bucket, place, tag)))
			return &table[bucket + place];
	}
	for (uint32_t place = 0; place < SP_LIVE_BUCKET_BLOCKS; place++)
		if (claim_at(table, bucket, place, tag))
			return &table[bucket + place];
	return NULL;
}

void sp_heap_live_untag(const struct sp_recording *recording,
			const struct sp_live_block *block)
{
	const struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	_Atomic uint8_t *all = atomic_load_explicit(&tags, memory_order_acquire);
	uint64_t index = (uint64_t)(block - table);

	/* Relaxed: whoever claims the entry writes its tag after it was freed. */
	if (all && index < tag_count)
		atomic_store_explicit(&all[index], 0, memory_order_relaxed);
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
		block = claim_in(table, bucket_of(spot->address, spot->page, level),
				 tag_of(spot));
	if (block)
		return block;
	if (!atomic_load_explicit(&has_scattered, memory_order_relaxed))
		atomic_store_explicit(&has_scattered, true, memory_order_relaxed);
	scattered = sp_heap_hash((const void *)(uintptr_t)spot->address); // NOLINT
	for (uint32_t level = spot->levels; level-- > 0 && !block;)
		block = claim_in(table, scattered_bucket_of(scattered, level),
				 tag_of(spot));
	return block;
}

struct sp_live_block *sp_heap_live_claim(const struct sp_recording *recording,
					 const struct sp_heap_spot *spot,
					 bool *is_crowded)
{
	struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	struct sp_live_block *block = claim_in(table, spot->bucket, tag_of(spot));

	if (sp_likely(block != NULL))
		return block;
	note_full(is_crowded);
	return claim_elsewhere(table, spot);
}

bool sp_heap_live_grow(struct sp_recording *recording)
{
	uint32_t levels = levels_of(recording);

	return levels < SP_LIVE_LEVELS_MAX &&
	       sp_recording_reserve(recording, SP_SECTION_LIVE_BLOCKS,
				    sp_live_blocks_of_levels(levels + 1)) == 0;
}
