/*
 * The consumer's part of spans: see sp_recording_span.h for who writes what. Context
 * of everything here: signal, consumer lock held.
 */
#ifndef SP_SPAN_ABSORB_H
#define SP_SPAN_ABSORB_H

#include "sp_absorb.h"

/* What a span has done since the consumer last looked. */
struct sp_span_delta {
	uint64_t busy_ticks, idle_ticks;
	uint64_t cpu_ns;
	uint64_t allocations, alloc_bytes;
	uint64_t entered;
};

/*
 * Goes over all spans: adds what is new to the sums of their paths, takes closed ones
 * out of the table, but for those whose memory is in use, of which it keeps
 * absorber->held_spans_max. Returns how many spans were closed.
 */
uint64_t sp_span_absorb(struct sp_absorber *absorber);

/* Storage for spans and what they are made of. May make system calls. */
void sp_span_keep_ahead(struct sp_absorber *absorber);

#endif
