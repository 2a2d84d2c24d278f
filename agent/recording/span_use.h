/*
 * How often a span is entered at this moment, and how long it has idled: created, and
 * entered by nobody. Both words change at once, so that of several threads one is the
 * first in and one the last out, by one clock, and wherever a thread is killed its stay
 * is counted or not.
 *
 * The second word is, with the clock of any moment while nobody is inside, and as it is
 * while somebody is, the time idled by then: who enters first adds the clock, who leaves
 * last takes it off.
 */
#ifndef SP_SPAN_USE_H
#define SP_SPAN_USE_H

#include "sp_pair.h"
#include "sp_recording_span.h"

#include <stdbool.h>

struct sp_span_use {
	uint64_t word, idle_ticks;
};

/* Context: hook. What it may be: the next change tells. */
static inline struct sp_span_use sp_span_use_guess(const struct sp_span *span)
{
	return (struct sp_span_use){
		atomic_load_explicit(&span->use, memory_order_relaxed),
		atomic_load_explicit(&span->idle_ticks, memory_order_relaxed),
	};
}

static inline struct sp_pair sp_span_use_pair(struct sp_span_use use)
{
	return (struct sp_pair){use.word, use.idle_ticks};
}

/* Context: hook; both orders. False: it was something else, which expected is then. */
static inline bool sp_span_use_change(struct sp_span *span, struct sp_span_use *expected,
				      struct sp_span_use wanted)
{
	struct sp_pair pair = sp_span_use_pair(*expected);
	bool is_done = sp_pair_change(&span->use, &pair, sp_span_use_pair(wanted));

	*expected = (struct sp_span_use){pair.first, pair.second};
	return is_done;
}

/* The same, and the caller forgets the span in that moment. */
static inline bool sp_span_use_change_last(struct sp_span *span,
					   struct sp_span_use *expected,
					   struct sp_span_use wanted,
					   struct sp_span **forgotten)
{
	struct sp_pair pair = sp_span_use_pair(*expected);
	bool is_done = sp_pair_change_and_clear(&span->use, &pair,
						sp_span_use_pair(wanted), forgotten);

	*expected = (struct sp_span_use){pair.first, pair.second};
	return is_done;
}

/* Context: hook. One more is inside from now_ticks on. */
static inline struct sp_span_use sp_span_use_with(struct sp_span_use use,
						  uint64_t now_ticks)
{
	bool is_first = !(use.word & SP_SPAN_USE_COUNT);

	return (struct sp_span_use){
		(use.word + 1) | SP_SPAN_USE_ENTERED |
			(is_first ? 0 : SP_SPAN_USE_SHARED),
		use.idle_ticks + (is_first ? now_ticks : 0),
	};
}

/* Context: hook. There is only one inside, but there were others with it. */
static inline bool sp_span_use_was_shared(struct sp_span_use use)
{
	return (use.word & (SP_SPAN_USE_SHARED | SP_SPAN_USE_COUNT)) ==
	       (SP_SPAN_USE_SHARED | 1);
}

/* Context: hook. One less, out of at least one. */
static inline struct sp_span_use sp_span_use_without(struct sp_span_use use,
						     uint64_t now_ticks)
{
	use.word--;
	if (use.word & SP_SPAN_USE_COUNT)
		return use;
	use.word &= ~SP_SPAN_USE_SHARED;
	use.idle_ticks -= now_ticks;
	return use;
}

/* Context: signal. Of a span that exists since created_ticks, what it has idled by
 * now_ticks. False: it changes too fast. */
bool sp_span_idle_at(const struct sp_span *span, uint64_t now_ticks,
		     uint64_t *idle_ticks);

#endif
