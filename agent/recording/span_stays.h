/*
 * The time of all stays in a span in one word that changes at once, so that nothing of
 * it is lost or doubled wherever a thread is killed, and stays that nobody has ended
 * are in it: who enters takes the clock off, who leaves adds it. With the clock of any
 * moment for each who is inside, it is what all stays have come to by then.
 *
 * The word and the count of those who are inside do not change together. Each clock has
 * a bias, so large that a sum with one clock too many or too few makes no sense: the
 * count that makes sense is the word's.
 */
#ifndef SP_SPAN_STAYS_H
#define SP_SPAN_STAYS_H

#include "sp_recording_span.h"

/* More than any clock, and than a span's stays between two looks of the consumer. */
#define SP_SPAN_STAY_BIAS (UINT64_C(1) << 60)

/* Context: hook. */
static inline void sp_span_stay_begin(struct sp_span *span, uint64_t now_ticks)
{
	atomic_fetch_sub_explicit(&span->stay_ticks, now_ticks + SP_SPAN_STAY_BIAS,
				  memory_order_relaxed);
}

static inline void sp_span_stay_end(struct sp_span *span, uint64_t now_ticks)
{
	/* In one order with the consumer's looks: sp_span_counted_ticks(). */
	atomic_fetch_add_explicit(&span->stay_ticks, now_ticks + SP_SPAN_STAY_BIAS,
				  memory_order_seq_cst);
}

/* Context: hook. One that has ended did so by so much later. */
static inline void sp_span_stay_lengthen(struct sp_span *span, uint64_t ticks)
{
	atomic_fetch_add_explicit(&span->stay_ticks, ticks, memory_order_relaxed);
}

/*
 * Context: signal. What all stays in the span have come to by now_ticks, at least what
 * the consumer has taken over. False where that cannot be known: in a damaged file, or
 * when many threads were in the midst of changes of one span.
 */
bool sp_span_stays_at(const struct sp_span *span, uint64_t now_ticks,
		      uint64_t *busy_ticks);

/* Context: signal. The last moment at which the process is known to have done something,
 * by the clock of spans: a recovery goes by that. */
uint64_t sp_recording_last_ticks(const struct sp_recording *recording);

#endif
