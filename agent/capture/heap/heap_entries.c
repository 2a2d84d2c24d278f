/*
 * Where every block is sampled: which entries of the live table are free. A thread takes
 * first those that it freed last, which its processor has at hand; then the next of a
 * chunk; then another chunk, one of which enough was freed, or a new one at the table's
 * end. So the table is as large as most blocks at a time were, and hardly larger.
 *
 * What is kept here says only where to try: whoever changes an entry's word from free to
 * claimed has it. A handler or a jump in the middle of all this may make an entry be
 * tried twice, or forgotten. Context: hook.
 */
#include "heap_live.h"

#include "sp_intern.h"
#include "sp_pages.h"
#include "sp_syscall.h"

#include <sys/mman.h>

#define CHUNK_SHIFT 6U
#define CHUNK_BLOCKS (1U << CHUNK_SHIFT)
/* A chunk is worth a walk when so many of it were freed: a power of two. */
#define OPEN_FROM 8U
/* More than there can be, were each freed while the chunk is walked over. */
#define FREED_MAX (2 * CHUNK_BLOCKS)
_Static_assert(FREED_MAX < 256, "counts are bytes");

/* That a thread keeps for itself; more are given back. */
#define SPARES 253U

#define EACH_BYTE UINT64_C(0x0101010101010101)

struct sp_heap_entries {
	uint32_t next, end; /* of the thread's chunk, not tried yet */
	uint32_t spare_count;
	uint32_t spares[SPARES];
};

/* Of each chunk, how many were freed and are no thread's to try; NULL: no memory. */
static _Atomic(_Atomic uint8_t *) freed_counts;
static uint64_t chunk_count;
/* Chunks with OPEN_FROM of them or more, about; and where to look first. */
static _Atomic uint32_t open_chunks, next_chunk;

void sp_heap_entries_begin(const struct sp_recording *recording)
{
	uint64_t capacity =
		recording->header->sections[SP_SECTION_LIVE_BLOCKS].capacity_items;
	_Atomic uint8_t *counts =
		atomic_load_explicit(&freed_counts, memory_order_relaxed);

	atomic_store_explicit(&open_chunks, 0, memory_order_relaxed);
	atomic_store_explicit(&next_chunk, 0, memory_order_relaxed);
	/* A fork child's are those of its parent. */
	if (counts) {
		sp_syscall3(SYS_madvise, counts, chunk_count, MADV_DONTNEED);
		return;
	}
	chunk_count = SP_ROUND_UP(capacity >> CHUNK_SHIFT, sizeof(uint64_t));
	atomic_store_explicit(&freed_counts, sp_pages_map(chunk_count),
			      memory_order_release);
}

/* --- free ones --- */

void sp_heap_entry_give_back(uint64_t entry)
{
	_Atomic uint8_t *counts =
		atomic_load_explicit(&freed_counts, memory_order_acquire);
	uint64_t chunk = entry >> CHUNK_SHIFT;

	if (!counts || chunk >= chunk_count ||
	    atomic_load_explicit(&counts[chunk], memory_order_relaxed) >= FREED_MAX)
		return;
	/* Relaxed: the entry's word tells whether it is free. */
	if (atomic_fetch_add_explicit(&counts[chunk], 1, memory_order_relaxed) + 1U ==
	    OPEN_FROM)
		atomic_fetch_add_explicit(&open_chunks, 1, memory_order_relaxed);
}

void sp_heap_capture_give_block_back(uint64_t entry)
{
	if (sp_heap_global.is_exact)
		sp_heap_entry_give_back(entry);
}

void sp_heap_entry_freed(struct sp_heap_thread *self, uint64_t entry)
{
	struct sp_heap_entries *own = self->entries;
	uint32_t count;

	if (sp_unlikely(!own || (count = own->spare_count) >= SPARES)) {
		sp_heap_entry_give_back(entry);
		return;
	}
	own->spares[count] = (uint32_t)entry;
	own->spare_count = count + 1;
}

/* --- chunks --- */

/* Nobody else's to try, if enough of it was freed. */
static bool take(_Atomic uint8_t *count, uint32_t from)
{
	uint8_t freed;

	if (atomic_load_explicit(count, memory_order_relaxed) < from)
		return false;
	freed = atomic_exchange_explicit(count, 0, memory_order_relaxed);
	if (freed >= OPEN_FROM)
		atomic_fetch_sub_explicit(&open_chunks, 1, memory_order_relaxed);
	return freed != 0;
}

/* from: a power of two. */
static bool take_among(uint64_t first, uint64_t end, uint32_t from, uint32_t *chunk)
{
	_Atomic uint8_t *counts =
		atomic_load_explicit(&freed_counts, memory_order_acquire);

	for (uint64_t i = first & ~UINT64_C(7); i < end; i += 8) {
		uint64_t eight = atomic_load_explicit(
			(const _Atomic uint64_t *)(const void *)&counts[i],
			memory_order_relaxed);

		/* Bits of that value and above, in any of the bytes. */
		if (sp_likely(!(eight & EACH_BYTE * (256 - from))))
			continue;
		for (uint32_t j = 0; j < 8; j++)
			if (take(&counts[i + j], from)) {
				*chunk = (uint32_t)(i + j);
				return true;
			}
	}
	return false;
}

static bool take_freed(const struct sp_recording *recording, uint32_t from,
		       uint32_t *chunk)
{
	uint64_t chunks =
		sp_recording_used(recording, SP_SECTION_LIVE_BLOCKS) >> CHUNK_SHIFT;
	uint64_t next = atomic_load_explicit(&next_chunk, memory_order_relaxed);

	if (!atomic_load_explicit(&freed_counts, memory_order_relaxed))
		return false;
	if (chunks > chunk_count)
		chunks = chunk_count;
	if (!take_among(next, chunks, from, chunk) &&
	    !take_among(0, next < chunks ? next : chunks, from, chunk))
		return false;
	atomic_store_explicit(&next_chunk, *chunk, memory_order_relaxed);
	return true;
}

static SP_NOINLINE bool take_chunk(struct sp_heap_entries *own,
				   struct sp_recording *recording, bool *is_new)
{
	uint32_t chunk = 0, first;

	*is_new = false;
	if (!atomic_load_explicit(&open_chunks, memory_order_relaxed) ||
	    !take_freed(recording, OPEN_FROM, &chunk)) {
		*is_new = sp_intern_append(recording, SP_SECTION_LIVE_BLOCKS,
					   CHUNK_BLOCKS, &first);
		/* No storage: then what little there is. */
		if (!*is_new && !take_freed(recording, 1, &chunk))
			return false;
	}
	if (!*is_new)
		first = chunk << CHUNK_SHIFT;
	own->next = first;
	own->end = first + CHUNK_BLOCKS;
	return true;
}

/* --- claims --- */

static struct sp_live_block *claim_spare(struct sp_heap_entries *own,
					 struct sp_live_block *table)
{
	uint32_t count;

	/* A handler that frees may add some meanwhile. */
	while ((count = own->spare_count) > 0) {
		uint32_t entry = own->spares[count - 1];

		own->spare_count = count - 1;
		if (sp_likely(sp_heap_live_try_claim(&table[entry])))
			return &table[entry];
	}
	return NULL;
}

struct sp_live_block *sp_heap_entry_claim(struct sp_heap_thread *self,
					  struct sp_recording *recording, bool *has_grown)
{
	struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	struct sp_heap_entries *own = self->entries;
	struct sp_live_block *block;

	if (sp_unlikely(!own))
		own = self->entries = sp_pages_map(sizeof(*own));
	if (sp_unlikely(!own))
		return NULL;
	block = claim_spare(own, table);
	if (sp_likely(block != NULL))
		return block;
	do {
		while (own->next < own->end) {
			block = &table[own->next++];
			if (sp_likely(sp_heap_live_try_claim(block)))
				return block;
		}
	} while (take_chunk(own, recording, has_grown));
	return NULL;
}
