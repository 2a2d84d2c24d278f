/*
 * See span_stays.h. Context: signal.
 */
#include "span_stays.h"

/* Threads in the midst of a change of one span. */
#define CHANGES_MAX 4U
/* How far the clocks of two processors may be apart, or a look is behind them. */
#define BEHIND_MAX_TICKS (INT64_C(1) << 56)
#define AHEAD_MAX_TICKS (INT64_C(1) << 59)
/* Between two looks of the consumer: signs of life that are later make no sense. */
#define SILENCE_MAX_TICKS (UINT64_C(1) << 50)

bool sp_span_stays_at(const struct sp_span *span, uint64_t now_ticks,
		      uint64_t *busy_ticks)
{
	/* Acquire, and first: of whoever has left, the stay is in the word. */
	uint64_t use = atomic_load_explicit(&span->use, memory_order_acquire);
	uint64_t known_ticks = sp_atomic_value(&span->absorbed_busy_ticks);
	uint64_t beyond = sp_atomic_value(&span->stay_ticks) - known_ticks;
	uint64_t clock = now_ticks + SP_SPAN_STAY_BIAS;

	beyond += (use & SP_SPAN_USE_COUNT) * clock;
	for (uint64_t changes = 0; changes <= CHANGES_MAX; changes++) {
		const int64_t sums[] = {(int64_t)(beyond + changes * clock),
					(int64_t)(beyond - changes * clock)};

		for (unsigned int i = 0; i < 2; i++) {
			if (sums[i] < -BEHIND_MAX_TICKS || sums[i] > AHEAD_MAX_TICKS)
				continue;
			*busy_ticks = known_ticks + (sums[i] > 0 ? (uint64_t)sums[i] : 0);
			return true;
		}
	}
	return false;
}

static void take_sign(uint64_t *last_ticks, uint64_t base_ticks, uint64_t ticks)
{
	if (ticks > *last_ticks && ticks - base_ticks < SILENCE_MAX_TICKS)
		*last_ticks = ticks;
}

uint64_t sp_recording_last_ticks(const struct sp_recording *recording)
{
	uint64_t base_ticks = sp_atomic_value(&recording->header->span_last_ticks);
	uint64_t slots = sp_recording_used(recording, SP_SECTION_SLOTS);
	uint64_t spans = sp_recording_used(recording, SP_SECTION_SPANS);
	uint64_t last_ticks = base_ticks;

	for (uint64_t i = 0; i < slots; i++) {
		const struct sp_slot *slot =
			sp_recording_item(recording, SP_SECTION_SLOTS, i);

		take_sign(&last_ticks, base_ticks,
			  sp_atomic_value(&slot->span_seen_ticks));
	}
	for (uint64_t i = 0; i < spans; i++) {
		const struct sp_span *span =
			sp_recording_item(recording, SP_SECTION_SPANS, i);

		take_sign(&last_ticks, base_ticks, span->created_ticks);
		take_sign(&last_ticks, base_ticks, sp_atomic_value(&span->closed_ticks));
	}
	return last_ticks;
}
