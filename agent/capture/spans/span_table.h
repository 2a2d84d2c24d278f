/*
 * The table of spans: finding the entry that a handle names, and taking one for a new
 * span. A handle names one span for ever: it holds the entry's generation, which changes
 * with each span. Context: hook; no lock, no wait.
 */
#ifndef SP_SPAN_TABLE_H
#define SP_SPAN_TABLE_H

#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_recording_writer.h"
#include "sp_span_capture.h"
#include "span_use.h"

#include <stddef.h>

/* Read-only after sp_span_capture_init(). */
extern SP_HIDDEN struct sp_span_settings sp_span_settings;

/* The process's, as the last sp_span_capture_begin() knew it: in a fork child that is cut
 * off, the copy of its parent's. */
extern SP_HIDDEN struct sp_recording sp_span_recording;

/* Of a generation these bits count the spans of an entry, the rest is the recording's
 * sp_span_epoch(). */
#define SP_SPAN_GENERATION_BITS 20U
#define SP_SPAN_GENERATION_MASK ((1U << SP_SPAN_GENERATION_BITS) - 1)

/* Of a parent's span, which this fork child leaves and closes as the parent does? */
static inline bool sp_span_is_inherited(uint64_t handle)
{
	uint32_t epoch = (uint32_t)(handle >> 32) >> SP_SPAN_GENERATION_BITS;

	return epoch && epoch < sp_span_epoch();
}

/* Something was done with it that makes no sense. */
static inline void sp_span_count_misuse(uint64_t handle)
{
	if (!sp_span_is_inherited(handle))
		sp_recording_count(&sp_span_recording, SP_LOSS_SPAN_MISUSE, 1);
}

/* Is it that of a span in the table? */
static inline bool sp_span_is_real(uint64_t handle)
{
	return handle != SP_SPAN_NONE && handle != SP_SPAN_UNSAMPLED;
}

static inline struct sp_span *sp_span_at(uint32_t index)
{
	return sp_recording_item(&sp_span_recording, SP_SECTION_SPANS, index);
}

/* NULL: no such span any more. */
static inline struct sp_span *sp_span_find(uint64_t handle)
{
	uint32_t index = (uint32_t)handle - 1, generation = (uint32_t)(handle >> 32);
	struct sp_span *span;

	/* An entry whose first span is not filled in yet has generation 0, and no span.
	 */
	if (!generation ||
	    index >= sp_recording_used(&sp_span_recording, SP_SECTION_SPANS))
		return NULL;
	span = sp_span_at(index);
	return atomic_load_explicit(&span->generation, memory_order_acquire) == generation
		       ? span
		       : NULL;
}

/* NULL, and counted: none that something can be done with. */
static inline struct sp_span *sp_span_find_open(uint64_t handle)
{
	struct sp_span *span = sp_span_find(handle);

	if (span &&
	    atomic_load_explicit(&span->state, memory_order_relaxed) == SP_SPAN_OPEN)
		return span;
	sp_span_count_misuse(handle);
	return NULL;
}

/* --- stays in a span --- */

/*
 * Up to when the consumer has counted what it found. A thread that is held up between
 * reading the clock and its change was perhaps counted as it had been for longer than
 * that: its change then takes effect at this later moment, which lies within the call as
 * well, and no time is counted twice.
 */
static inline uint64_t sp_span_counted_ticks(void)
{
	/* Behind the change, in one order with the consumer's look. */
	return atomic_load_explicit(&sp_span_recording.header->span_last_ticks,
				    memory_order_seq_cst);
}

/* Of the first one in: what the span has idled, and may have been counted. */
static inline void sp_span_idle_until(struct sp_span *span, uint64_t *now_ticks)
{
	uint64_t counted_ticks = sp_span_counted_ticks();

	if (sp_likely(counted_ticks <= *now_ticks))
		return;
	atomic_fetch_add_explicit(&span->idle_ticks, counted_ticks - *now_ticks,
				  memory_order_relaxed);
	*now_ticks = counted_ticks;
}

/* One more from now_ticks on, which may then be a little later, and which keeps its entry
 * as it is, noted in joined. False: there is no such span any more, or it is closed. */
static inline bool sp_span_join(struct sp_span *span, uint64_t handle,
				uint64_t *now_ticks, struct sp_span **joined)
{
	struct sp_span_use use = sp_span_use_guess(span);
	uint64_t before;

	do {
		before = use.word;
		if (sp_unlikely(before >> 32 != handle >> 32 ||
				before & SP_SPAN_USE_CLOSING))
			return false;
		/* Acquire: pairs with the release of who filled the entry. */
	} while (!sp_span_use_change(span, &use, sp_span_use_with(use, *now_ticks)));
	*joined = span;
	atomic_signal_fence(memory_order_seq_cst);
	if (!(before & SP_SPAN_USE_COUNT))
		sp_span_idle_until(span, now_ticks);
	/* Only one is the first. */
	if (!(before & SP_SPAN_USE_ENTERED))
		atomic_store_explicit(&span->entered, 1, memory_order_relaxed);
	return true;
}

/*
 * One less, and joined is NULL; closing: 0, or SP_SPAN_USE_CLOSING, which the span then
 * is. Others may have left after left_ticks, which for the last one out is then set to
 * this moment. Returns how it was used before: the last one out of a span that is closed
 * makes it final.
 */
static inline uint64_t sp_span_part(struct sp_span *span, uint64_t *left_ticks,
				    uint64_t closing, struct sp_span **joined)
{
	struct sp_span_use before = sp_span_use_guess(span), use;

	/* Both orders: all that any stay has added is there for whoever makes it final.
	 */
	do {
		if (sp_unlikely(sp_span_use_was_shared(before)))
			*left_ticks = sp_clock_ticks();
		use = sp_span_use_without(before, *left_ticks);
		use.word |= closing;
	} while (!sp_span_use_change_last(span, &before, use, joined));
	return before.word;
}

/* What a live block keeps of a handle: generation, cut, and index + 1. */
#define SP_SPAN_MARK_INDEX_BITS 18U
#define SP_SPAN_MARK_INDEX_MASK ((1U << SP_SPAN_MARK_INDEX_BITS) - 1)

static inline uint32_t sp_span_mark_of(uint64_t handle)
{
	return (uint32_t)(handle >> 32) << SP_SPAN_MARK_INDEX_BITS |
	       ((uint32_t)handle & SP_SPAN_MARK_INDEX_MASK);
}

/* An entry that nobody else has; NULL when there is no room (counted). */
struct sp_span *sp_span_take(uint32_t *index);

/* Context: signal, in a fork child. */
void sp_span_table_forked(void);

#endif
