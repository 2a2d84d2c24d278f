/*
 * See span_table.h. Entries are taken from a list of free ones, in which the consumer
 * puts them, or from the end of the table. Context: hook.
 */
#include "span_table.h"

#include "sp_compiler.h"

/* Storage is taken for so many spans at once. */
#define SPANS_AHEAD 64U
#define STORAGE_TRIES 4U

struct sp_recording sp_span_recording;
static _Atomic uint64_t free_spans; /* tag << 32 | index + 1 */

static struct sp_span *take_free(uint32_t *index)
{
	uint64_t head = atomic_load_explicit(&free_spans, memory_order_acquire);

	while ((uint32_t)head) {
		struct sp_span *span = sp_span_at((uint32_t)head - 1);
		uint64_t next =
			((head >> 32) + 1) << 32 |
			atomic_load_explicit(&span->next_free, memory_order_relaxed);

		if (atomic_compare_exchange_weak_explicit(&free_spans, &head, next,
							  memory_order_acquire,
							  memory_order_acquire)) {
			*index = (uint32_t)head - 1;
			return span;
		}
	}
	return NULL;
}

static struct sp_span *take_new(uint32_t *index)
{
	const struct sp_recording *recording = &sp_span_recording;
	_Atomic uint64_t *used_items =
		&recording->header->sections[SP_SECTION_SPANS].used_items;
	uint64_t used = atomic_load_explicit(used_items, memory_order_relaxed);

	while (used < sp_recording_reserved(recording, SP_SECTION_SPANS))
		if (atomic_compare_exchange_weak_explicit(used_items, &used, used + 1,
							  memory_order_release,
							  memory_order_relaxed)) {
			*index = (uint32_t)used;
			return sp_span_at(*index);
		}
	return NULL;
}

static struct sp_span *take_any(uint32_t *index)
{
	struct sp_span *span = take_free(index);

	return span ? span : take_new(index);
}

/* Other threads may be faster. */
static struct sp_span *take_storage(uint32_t *index)
{
	struct sp_recording *recording = &sp_span_recording;
	uint64_t capacity = recording->header->sections[SP_SECTION_SPANS].capacity_items;
	struct sp_span *span = NULL;

	for (unsigned int tries = 0; tries < STORAGE_TRIES && !span; tries++) {
		uint64_t used = sp_recording_used(recording, SP_SECTION_SPANS);
		uint64_t wanted =
			used + SPANS_AHEAD < capacity ? used + SPANS_AHEAD : capacity;

		if (wanted == used ||
		    sp_recording_reserve(recording, SP_SECTION_SPANS, wanted) != 0)
			break;
		span = take_any(index);
	}
	return span;
}

struct sp_span *sp_span_take(uint32_t *index)
{
	struct sp_span *span = take_any(index);

	if (sp_likely(span != NULL))
		return span;
	/* Closed ones wait for the consumer, who is behind. */
	sp_capture_take_storage();
	span = take_any(index);
	/* Here and now: whoever drains may be a thread that does not run. */
	if (!span)
		span = take_storage(index);
	if (!span) {
		sp_recording_count(&sp_span_recording, SP_LOSS_SPAN_NO_ROOM, 1);
		sp_capture_wake_reporter();
	}
	return span;
}

void sp_span_give_back(uint32_t index)
{
	struct sp_span *span = sp_span_at(index);
	uint64_t head = atomic_load_explicit(&free_spans, memory_order_relaxed);
	uint64_t next;

	do {
		atomic_store_explicit(&span->next_free, (uint32_t)head,
				      memory_order_relaxed);
		next = ((head >> 32) + 1) << 32 | (index + 1);
	} while (!atomic_compare_exchange_weak_explicit(
		&free_spans, &head, next, memory_order_release, memory_order_relaxed));
}

void sp_span_add_live(uint32_t mark, int64_t blocks, int64_t bytes)
{
	uint32_t number = mark & SP_SPAN_MARK_INDEX_MASK;
	struct sp_span *span;

	if (!number || number > sp_recording_used(&sp_span_recording, SP_SECTION_SPANS))
		return;
	span = sp_span_at(number - 1);
	/* Evicted: the entry may be another span's. */
	if ((atomic_load_explicit(&span->generation, memory_order_relaxed) ^
	     mark >> SP_SPAN_MARK_INDEX_BITS) &
	    (UINT32_MAX >> SP_SPAN_MARK_INDEX_BITS))
		return;
	atomic_fetch_add_explicit(&span->live_bytes, bytes, memory_order_relaxed);
	/* Release: whoever sees no block sees no bytes either. */
	atomic_fetch_add_explicit(&span->live_blocks, (int32_t)blocks,
				  memory_order_release);
}

void sp_span_table_forked(void)
{
	uint64_t head = atomic_load_explicit(&free_spans, memory_order_relaxed);

	/* Empty, and for whoever was taking one another list. */
	atomic_store_explicit(&free_spans, ((head >> 32) + 1) << 32,
			      memory_order_relaxed);
}
