/*
 * Sums that only grow, told as what came since they were last told. Times are counted in
 * ticks of a clock whose rate becomes known better, and told in whole nanoseconds: what
 * that leaves over is made up for, so that all that is told adds up to all there is.
 * Context of everything here: collector.
 */
#ifndef SP_TOLD_TIMES_H
#define SP_TOLD_TIMES_H

#include "sp_recording.h"

struct sp_told_time {
	uint64_t ticks, ns;
};

/* Of the clock of spans; guessed in the first moments, before it is measured. */
double sp_span_ns_per_tick(const struct sp_recording_header *header);

/* Since 1970. */
int64_t sp_span_realtime_ns(const struct sp_recording_header *header, uint64_t ticks);

/* What is beyond what was told, which it then is. */
uint64_t sp_told_beyond(uint64_t sum, uint64_t *told);

/*
 * The same of one span's ticks, in nanoseconds, longer or shorter by a small part where
 * all that was told of all spans is not what their ticks come to.
 */
uint64_t sp_told_time_beyond(uint64_t sum_ticks, double tick_ns,
			     struct sp_told_time *told, struct sp_told_time *all);

#endif
