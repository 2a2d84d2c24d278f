/*
 * See span_table.h. Entries are taken from a list of free ones, in which the consumer
 * puts them, or from the end of the table. When few are left whoever takes one drains,
 * so that there are some for others while it does. Context: hook.
 */
#include "span_table.h"

#include "sp_compiler.h"

/* Storage is taken for so many spans at once. */
#define SPANS_AHEAD 64U
#define STORAGE_TRIES 4U

/* Of the entries that are free after a pass of the consumer so many are few. */
#define FEW_PARTS 4U

SP_SAMPLING_DATA struct sp_recording sp_span_recording;
/* The list: tag << 36 | entries in it << 18 | index + 1 of the first; both are below
 * 2^18, as in a mark. */
#define LIST_BITS SP_SPAN_MARK_INDEX_BITS
#define LIST_MASK ((UINT64_C(1) << LIST_BITS) - 1)
static _Atomic uint64_t free_spans;
static _Atomic uint64_t few_spans;

static uint64_t list_of(uint64_t before, uint64_t count, uint64_t first)
{
	return ((before >> 2 * LIST_BITS) + 1) << 2 * LIST_BITS | count << LIST_BITS |
	       first;
}

static uint64_t count_in(uint64_t list)
{
	return list >> LIST_BITS & LIST_MASK;
}

/* left: how many there are in the list after that. */
static struct sp_span *take_free(uint32_t *index, uint64_t *left)
{
	uint64_t list = atomic_load_explicit(&free_spans, memory_order_acquire);

	*left = 0;
	while (list & LIST_MASK) {
		struct sp_span *span = sp_span_at((uint32_t)(list & LIST_MASK) - 1);
		uint64_t next = list_of(
			list, count_in(list) - 1,
			atomic_load_explicit(&span->next_free, memory_order_relaxed));

		if (atomic_compare_exchange_weak_explicit(&free_spans, &list, next,
							  memory_order_acquire,
							  memory_order_acquire)) {
			*index = (uint32_t)(list & LIST_MASK) - 1;
			*left = count_in(next);
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

static struct sp_span *take_any(uint32_t *index, uint64_t *left)
{
	struct sp_span *span = take_free(index, left);

	return span ? span : take_new(index);
}

/* Other threads may be faster. */
static struct sp_span *take_storage(uint32_t *index)
{
	struct sp_recording *recording = &sp_span_recording;
	uint64_t capacity = recording->header->sections[SP_SECTION_SPANS].capacity_items;
	struct sp_span *span = NULL;
	uint64_t left;

	for (unsigned int tries = 0; tries < STORAGE_TRIES && !span; tries++) {
		uint64_t used = sp_recording_used(recording, SP_SECTION_SPANS);
		uint64_t wanted =
			used + SPANS_AHEAD < capacity ? used + SPANS_AHEAD : capacity;

		if (wanted == used ||
		    sp_recording_reserve(recording, SP_SECTION_SPANS, wanted) != 0)
			break;
		span = take_any(index, &left);
	}
	return span;
}

/* Those that nobody has taken yet are free as well. */
static bool are_few(uint64_t in_list, uint64_t few)
{
	uint64_t used = sp_recording_used(&sp_span_recording, SP_SECTION_SPANS);
	uint64_t reserved = sp_recording_reserved(&sp_span_recording, SP_SECTION_SPANS);

	return in_list + reserved - used <= few;
}

/*
 * Closed ones wait for the consumer, who is behind, or is at it: then there will be some
 * soon. Where it is of no use to drain, as only the reporter thread may take spans, the
 * next try is when half of these are gone.
 */
static SP_COLD void look_after(uint64_t in_list)
{
	struct sp_recording_header *header = sp_span_recording.header;
	uint64_t few = atomic_load_explicit(&few_spans, memory_order_relaxed);

	if (sp_likely(!are_few(in_list, few)) ||
	    atomic_load_explicit(&header->consumer, memory_order_relaxed) != 0 ||
	    !atomic_compare_exchange_strong_explicit(&few_spans, &few, few / 2,
						     memory_order_relaxed,
						     memory_order_relaxed))
		return;
	sp_capture_take_storage();
	if (atomic_load_explicit(&few_spans, memory_order_relaxed) == few / 2)
		sp_capture_wake_reporter();
}

void sp_span_pass_ended(uint64_t spans_in_use)
{
	uint64_t reserved, free;

	/* Else there is no such recording. Acquire: pairs with the release of who set it.
	 */
	if (!atomic_load_explicit(&sp_span_is_followed, memory_order_acquire))
		return;
	reserved = sp_recording_reserved(&sp_span_recording, SP_SECTION_SPANS);
	free = reserved > spans_in_use ? reserved - spans_in_use : 0;
	atomic_store_explicit(&few_spans, free / FEW_PARTS, memory_order_relaxed);
}

struct sp_span *sp_span_take(uint32_t *index)
{
	uint64_t left;
	struct sp_span *span = take_any(index, &left);

	if (sp_likely(span != NULL)) {
		if (sp_unlikely(left <=
				atomic_load_explicit(&few_spans, memory_order_relaxed)))
			look_after(left);
		return span;
	}
	/* They were not enough. */
	sp_capture_take_storage();
	span = take_any(index, &left);
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
	uint64_t list = atomic_load_explicit(&free_spans, memory_order_relaxed);
	uint64_t next;

	do {
		atomic_store_explicit(&span->next_free, (uint32_t)(list & LIST_MASK),
				      memory_order_relaxed);
		next = list_of(list, count_in(list) + 1, index + 1);
	} while (!atomic_compare_exchange_weak_explicit(
		&free_spans, &list, next, memory_order_release, memory_order_relaxed));
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
	uint64_t list = atomic_load_explicit(&free_spans, memory_order_relaxed);

	/* Empty, and for whoever was taking one another list. */
	atomic_store_explicit(&free_spans, list_of(list, 0, 0), memory_order_relaxed);
	atomic_store_explicit(&few_spans, 0, memory_order_relaxed);
}
