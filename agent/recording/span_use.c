/*
 * See span_use.h. Reading both words of one moment. Context: signal.
 */
#include "span_use.h"

#define TRIES 8U

/* Whoever is first in or last out changes the second word by the clock: where it has
 * stayed the same, so has whether somebody is inside. */
static bool read_both(const struct sp_span *span, struct sp_span_use *use)
{
	for (unsigned int i = 0; i < TRIES; i++) {
		/* Acquire, twice: in this order. */
		use->idle_ticks =
			atomic_load_explicit(&span->idle_ticks, memory_order_acquire);
		use->word = atomic_load_explicit(&span->use, memory_order_acquire);
		if (atomic_load_explicit(&span->idle_ticks, memory_order_relaxed) ==
		    use->idle_ticks)
			return true;
	}
	return false;
}

bool sp_span_idle_at(const struct sp_span *span, uint64_t now_ticks, uint64_t *idle_ticks)
{
	struct sp_span_use use;
	uint64_t created_ticks = span->created_ticks;
	uint64_t life_ticks = now_ticks > created_ticks ? now_ticks - created_ticks : 0;
	uint64_t idle;

	if (!read_both(span, &use))
		return false;
	idle = use.idle_ticks + (use.word & SP_SPAN_USE_COUNT ? 0 : now_ticks);
	/* Whoever looks may have read the clock before what it sees happened, and clocks
	 * of two processors may be apart. */
	if ((int64_t)idle < 0)
		idle = 0;
	*idle_ticks = idle < life_ticks ? idle : life_ticks;
	return true;
}
