/*
 * Records of spans in an array beside the table of spans. An entry is given to another
 * span only after the end of the one before was noted here; while reporters are still to
 * be told of that one, later spans of the entry wait in a list behind it. Hooks go on
 * making and closing spans during a pass, in entries that it is past: a span therefore
 * brings those around it. Context: collector.
 */
#include "span_records.h"

#include "sp_heap.h"
#include "sp_poisson.h"
#include "sp_recording_heap.h"

#include <string.h>

/* As in struct sp_live_block: the lower bits of a generation, and index + 1. */
#define MARK_INDEX_BITS 18U
#define MARK_GENERATION_MASK (UINT32_MAX >> MARK_INDEX_BITS)

void sp_span_records_fini(struct sp_span_records *records)
{
	for (uint64_t i = 0; i < records->used; i++)
		while (records->items[i].id)
			sp_span_record_forget(&records->items[i]);
	sp_heap_free(records->items);
	records->items = NULL;
	records->capacity = records->used = 0;
}

static uint64_t index_of(const struct sp_span_records *records,
			 const struct sp_span *span)
{
	const struct sp_span *first =
		sp_recording_item(records->recording, SP_SECTION_SPANS, 0);

	return (uint64_t)(span - first);
}

static uint64_t id_of(const struct sp_span *span, uint64_t index)
{
	return (uint64_t)atomic_load_explicit(&span->generation, memory_order_relaxed)
		       << 32 |
	       (index + 1);
}

static bool make_room(struct sp_span_records *records, uint64_t index)
{
	uint64_t capacity = records->capacity ? records->capacity : 64;
	struct sp_span_record *items;

	while (capacity <= index)
		capacity *= 2;
	if (capacity == records->capacity)
		return true;
	items = sp_heap_realloc(records->items, capacity * sizeof(*items));
	if (!items)
		return false;
	memset(items + records->capacity, 0,
	       (capacity - records->capacity) * sizeof(*items));
	records->items = items;
	records->capacity = capacity;
	return true;
}

/* Zeroed, behind those of the entry's former spans. */
static struct sp_span_record *add_record(struct sp_span_records *records, uint64_t index)
{
	struct sp_span_record *last;

	if (!make_room(records, index))
		return NULL;
	if (records->used <= index)
		records->used = index + 1;
	last = &records->items[index];
	if (!last->id)
		return last;
	while (last->next)
		last = last->next;
	last->next = sp_heap_zalloc(sizeof(*last->next));
	return last->next;
}

static void note_labels(struct sp_span_record *record, const struct sp_span *span)
{
	uint32_t label_set = sp_span_labels_now(span);

	record->has_new_labels |= label_set != record->label_set;
	record->label_set = label_set;
}

static struct sp_span_record *record_of(struct sp_span_records *records,
					const struct sp_span *span)
{
	uint64_t index = index_of(records, span);
	uint64_t id = id_of(span, index);
	struct sp_span_record *record = sp_span_record_find(records, id);

	if (record) {
		note_labels(record, span);
		return record;
	}
	record = add_record(records, index);
	if (!record) {
		records->missed_spans++;
		return NULL;
	}
	*record = (struct sp_span_record){
		.id = id,
		.parent = span->parent,
		.follows = span->follows,
		.path = span->path,
		.label_set = sp_span_labels_now(span),
		.span_id = span->span_id,
		.created_ticks = span->created_ticks,
	};
	memcpy(record->trace_id, span->trace_id, sizeof(record->trace_id));
	return record;
}

/* NULL: none, or one that is no more. */
static const struct sp_span *around(const struct sp_span_records *records,
				    const struct sp_span *span)
{
	uint64_t number = span->parent & UINT32_MAX;
	const struct sp_span *outer;

	if (!number || number > sp_recording_used(records->recording, SP_SECTION_SPANS))
		return NULL;
	outer = sp_recording_item(records->recording, SP_SECTION_SPANS, number - 1);
	/* Only this thread frees entries: what is in use now stays so. */
	return id_of(outer, number - 1) == span->parent &&
			       atomic_load_explicit(&outer->state,
						    memory_order_acquire) != SP_SPAN_FREE
		       ? outer
		       : NULL;
}

/* Also those around it: until all are noted, or were. */
static struct sp_span_record *note(struct sp_span_records *records,
				   const struct sp_span *span)
{
	const struct sp_span *outer = span;

	while ((outer = around(records, outer)) != NULL &&
	       !sp_span_record_find(records, id_of(outer, index_of(records, outer))))
		if (!record_of(records, outer))
			break;
	/* Last, as the array may move. */
	return record_of(records, span);
}

void sp_span_records_change(struct sp_span_records *records, const struct sp_span *span,
			    const struct sp_span_delta *delta)
{
	struct sp_span_record *record = note(records, span);

	if (!record)
		return;
	/* Also what was absorbed when nobody took it down. */
	record->absorbed = (struct sp_span_delta){
		.busy_ticks =
			sp_atomic_value(&span->absorbed_busy_ticks) + delta->busy_ticks,
		.idle_ticks =
			sp_atomic_value(&span->absorbed_idle_ticks) + delta->idle_ticks,
		.cpu_ns = sp_atomic_value(&span->absorbed_cpu_ns) + delta->cpu_ns,
		.allocations =
			sp_atomic_value(&span->absorbed_allocations) + delta->allocations,
		.alloc_bytes =
			sp_atomic_value(&span->absorbed_alloc_bytes) + delta->alloc_bytes,
		.entered = sp_atomic_value(&span->absorbed_entered) + delta->entered,
	};
	record->has_changed = true;
}

void sp_span_records_end(struct sp_span_records *records, const struct sp_span *span)
{
	struct sp_span_record *record = note(records, span);

	if (record)
		record->has_ended = true;
}

void sp_span_records_find_silent(struct sp_span_records *records)
{
	uint64_t used = sp_recording_used(records->recording, SP_SECTION_SPANS);

	for (uint64_t i = 0; i < used; i++) {
		const struct sp_span *span =
			sp_recording_item(records->recording, SP_SECTION_SPANS, i);

		/* Acquire: pairs with the hook that opened it. */
		uint32_t state = atomic_load_explicit(&span->state, memory_order_acquire);

		/* Also closed ones, which the next pass ends: those around them may have
		 * ended in this one. */
		if (state == SP_SPAN_OPEN || state == SP_SPAN_CLOSED)
			note(records, span);
	}
}

struct sp_span_record *sp_span_record_find(const struct sp_span_records *records,
					   uint64_t id)
{
	uint64_t number = id & UINT32_MAX;
	struct sp_span_record *record;

	if (!number || number > records->used)
		return NULL;
	record = &records->items[number - 1];
	while (record && record->id != id)
		record = record->next;
	return record;
}

void sp_span_record_forget(struct sp_span_record *record)
{
	struct sp_span_record *next = record->next;

	sp_heap_free(record->announced);
	if (next)
		*record = *next;
	else
		memset(record, 0, sizeof(*record));
	sp_heap_free(next);
}

/* --- memory --- */

static struct sp_span_record *record_of_mark(const struct sp_span_records *records,
					     uint32_t mark)
{
	uint32_t number = mark & ((1U << MARK_INDEX_BITS) - 1);
	struct sp_span_record *record;

	if (!number || number > records->used)
		return NULL;
	record = &records->items[number - 1];
	while (record &&
	       (!record->id || ((uint32_t)(record->id >> 32) & MARK_GENERATION_MASK) !=
				       mark >> MARK_INDEX_BITS))
		record = record->next;
	return record;
}

static void add_block(const struct sp_span_records *records,
		      const struct sp_live_block *block)
{
	struct sp_span_record *record;
	uint64_t size_bytes;
	double weight;

	/* Acquire: pairs with the store that published the block. */
	if ((atomic_load_explicit(&block->word, memory_order_acquire) &
	     SP_LIVE_STATE_MASK) != SP_LIVE_LIVE)
		return;
	record = record_of_mark(records, block->span);
	if (!record)
		return;
	size_bytes = block->size_and_thread & SP_HEAP_SIZE_MASK;
	weight = sp_poisson_weight(size_bytes,
				   records->recording->header->heap_rate_bytes);
	record->heap_objects += weight;
	record->heap_bytes += weight * (double)size_bytes;
}

void sp_span_records_sum_heap(struct sp_span_records *records)
{
	const struct sp_recording *recording = records->recording;
	const struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	uint64_t blocks = sp_live_blocks(recording);

	for (uint64_t i = 0; i < records->used; i++)
		for (struct sp_span_record *record = &records->items[i]; record;
		     record = record->next)
			record->heap_objects = record->heap_bytes = 0;
	if (!recording->header->heap_rate_bytes)
		return;
	for (uint64_t i = 0; i < blocks; i++)
		add_block(records, &table[i]);
}
