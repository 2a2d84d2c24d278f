/*
 * What the spans of a recording come to at one moment, path by path, before it is made
 * into profiles. Context of everything here: collector.
 */
#ifndef SP_PROFILE_SPAN_VALUES_H
#define SP_PROFILE_SPAN_VALUES_H

#include "profile_common.h"
#include "profile_heap_values.h"
#include "sp_recording_span.h"

/* In the order of the span profile; times in nanoseconds. */
enum sp_span_value {
	SP_SPAN_WALL, /* busy and idle */
	SP_SPAN_WALL_BUSY,
	SP_SPAN_WALL_IDLE,
	SP_SPAN_CPU,
	SP_SPAN_CPU_USER,
	SP_SPAN_CPU_SYSTEM,
	SP_SPAN_ALLOC_OBJECTS,
	SP_SPAN_ALLOC_BYTES,
	SP_SPAN_INUSE_OBJECTS,
	SP_SPAN_INUSE_BYTES,
	SP_SPAN_SPANS, /* closed */
	SP_SPAN_VALUES
};

/* Of the spans of one path, without those in them. */
struct sp_span_path_values {
	uint64_t of[SP_SPAN_VALUES];
};

/* A kind of time that children took beyond their parent, as they ran beside it. */
struct sp_span_excess {
	uint64_t paths, ns;
};

struct sp_span_totals {
	uint64_t of[SP_SPAN_VALUES];
	struct sp_span_excess busy, cpu;
	uint64_t open_spans, entered_spans; /* not closed; of these, entered now */
	uint64_t held_spans;		    /* closed, their memory is in use */
	/* CPU samples in spans, and how many of them found the kernel at work. */
	uint64_t sampled_periods, kernel_periods;
};

struct sp_span_values {
	const struct sp_recording *recording;
	uint64_t path_count;
	struct sp_span_path_values *paths;
	struct sp_span_totals totals;
	double scale; /* the head sampler's, of all but the process's own span */
	struct sp_rounding roundings[SP_SPAN_VALUES];
};

/*
 * heap: of the same moment, NULL if there is none. Nobody drains the recording
 * meanwhile. 0 or -ENOMEM.
 */
int sp_span_values_init(struct sp_span_values *values,
			const struct sp_recording *recording,
			const struct sp_heap_values *heap);
void sp_span_values_fini(struct sp_span_values *values);

/* Does the recording tell of any span? */
bool sp_span_values_has_any(const struct sp_recording *recording);

#endif
