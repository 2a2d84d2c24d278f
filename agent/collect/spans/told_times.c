/*
 * See told_times.h. A span that is over was told by the rate that was known then; its
 * share of what became known since is told of others. Context: collector.
 */
#include "told_times.h"

#include "profile_common.h"
#include "sp_clock.h"

/* Of a span's delta the part that others may make it longer or shorter by. */
#define SHARE_OF_OTHERS 1000U

static double guess_ticks_per_second(const struct sp_recording_header *header)
{
	uint64_t now_ns, cycles;

	if (!sp_clock_has_steady_cycles)
		return (double)SP_NS_PER_SECOND;
	sp_clock_read_both(&now_ns, &cycles);
	if (now_ns <= header->start_monotonic_ns)
		return (double)SP_NS_PER_SECOND;
	return (double)(cycles - header->start_cycles) * (double)SP_NS_PER_SECOND /
	       (double)(now_ns - header->start_monotonic_ns);
}

double sp_span_ns_per_tick(const struct sp_recording_header *header)
{
	uint64_t measured = sp_atomic_value(&header->span_ticks_per_second);

	return (double)SP_NS_PER_SECOND /
	       (measured ? (double)measured : guess_ticks_per_second(header));
}

int64_t sp_span_realtime_ns(const struct sp_recording_header *header, uint64_t ticks)
{
	uint64_t start = sp_clock_has_steady_cycles ? header->start_cycles
						    : header->start_monotonic_ns;

	return (int64_t)header->start_realtime_ns +
	       (int64_t)((double)(int64_t)(ticks - start) * sp_span_ns_per_tick(header));
}

uint64_t sp_told_beyond(uint64_t sum, uint64_t *told)
{
	uint64_t delta = sum > *told ? sum - *told : 0;

	*told += delta;
	return delta;
}

/* In whole nanoseconds, and never much for one span. */
static int64_t owed_ns(const struct sp_told_time *all, double tick_ns, uint64_t delta_ns)
{
	int64_t most_ns = (int64_t)(delta_ns / SHARE_OF_OTHERS) + 1;
	double owed = (double)all->ticks * tick_ns - (double)all->ns - (double)delta_ns;

	if (owed > (double)most_ns)
		return most_ns;
	return owed < -(double)most_ns ? -most_ns : (int64_t)owed;
}

uint64_t sp_told_time_beyond(uint64_t sum_ticks, double tick_ns,
			     struct sp_told_time *told, struct sp_told_time *all)
{
	uint64_t delta_ns = sp_told_beyond(
		sp_profile_integer((double)sum_ticks * tick_ns), &told->ns);

	all->ticks += sp_told_beyond(sum_ticks, &told->ticks);
	if (delta_ns)
		delta_ns += (uint64_t)owed_ns(all, tick_ns, delta_ns);
	all->ns += delta_ns;
	return delta_ns;
}
