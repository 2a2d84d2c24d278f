/*
 * What the heap of a recording comes to at one moment, stack by stack, before it is
 * made into profiles. Context of everything here: collector.
 */
#ifndef SP_PROFILE_HEAP_VALUES_H
#define SP_PROFILE_HEAP_VALUES_H

#include "sp_recording_heap.h"

/* What is known of one cell; all are estimates, doubles. */
enum sp_heap_value {
	SP_HEAP_ALLOC_OBJECTS,
	SP_HEAP_ALLOC_BYTES,
	SP_HEAP_INUSE_OBJECTS,
	SP_HEAP_INUSE_BYTES,
	SP_HEAP_PEAK_OBJECTS,
	SP_HEAP_PEAK_BYTES,
	SP_HEAP_FREED_OBJECTS,
	SP_HEAP_FREED_BYTES,
	SP_HEAP_SHORT_OBJECTS,
	SP_HEAP_SHORT_BYTES,
	SP_HEAP_CROSS_OBJECTS,
	SP_HEAP_AGE_CYCLES, /* objects times age */
	SP_HEAP_VALUES
};

struct sp_heap_cell_values {
	double of[SP_HEAP_VALUES];
};

struct sp_heap_totals {
	double of[SP_HEAP_VALUES];
	/* Counted, not sampled. */
	uint64_t exact_allocations, exact_frees, exact_bytes;
	double standard_error_bytes; /* of the estimate of exact_bytes */
	/* That samples and their ends took on the program's threads: an estimate. */
	uint64_t cost_cycles;
	/* Of what was in use at the peak, as an estimate at any one moment has it. */
	double peak_error_bytes;
	uint64_t lost_samples;
	/*
	 * The peak is now, or was when the estimate was last higher than ever; that
	 * was the peak_epoch-th time, at a moment known only by the births of blocks
	 * in use: later than one, before the other, counted from the start. 0 and
	 * UINT64_MAX if no block tells.
	 */
	bool is_peak_now;
	uint64_t peak_epoch;
	uint64_t peak_after_ns, peak_before_ns;
};

struct sp_heap_values {
	const struct sp_recording *recording;
	uint64_t rate_bytes;
	uint64_t cycles_per_second; /* 0: cycles, and ages, mean nothing */
	uint64_t cell_count;
	struct sp_heap_cell_values *cells;
	struct sp_heap_totals totals;
};

/*
 * Takes all values at this moment: the program may go on allocating, but nobody
 * drains the recording meanwhile. 0 or -ENOMEM.
 */
int sp_heap_values_init(struct sp_heap_values *values,
			const struct sp_recording *recording);
void sp_heap_values_fini(struct sp_heap_values *values);

/* The stack of a cell, in the recording, leaf first; false if there is none. */
bool sp_heap_values_stack(const struct sp_heap_values *values, uint64_t cell_index,
			  const uint64_t **frames, uint32_t *frame_count);
uint64_t sp_heap_values_size_class(const struct sp_heap_values *values,
				   uint64_t cell_index);
uint32_t sp_heap_values_label_set(const struct sp_heap_values *values,
				  uint64_t cell_index);

#endif
