/*
 * What reporters of events have been told of each span, and what they have not: taken
 * down while the consumer holds its lock, told later, as reporters may block. Context
 * of everything here: collector, on the reporter thread.
 */
#ifndef SP_SPAN_RECORDS_H
#define SP_SPAN_RECORDS_H

#include "sp_recording_span.h"
#include "span_absorb.h"
#include "told_times.h"

/* Sums since the span was created. */
struct sp_span_sums {
	struct sp_told_time busy, idle;
	uint64_t cpu_ns;
	uint64_t allocations, alloc_bytes;
};

/* A span, by the number of its entry; that of an entry that nobody has seen in use has
 * id 0. It stays when the entry is free again, until reporters know. */
struct sp_span_record {
	struct sp_span_record *next; /* whose the entry was after it; owned */
	uint64_t id;		     /* the handle */
	uint64_t parent, follows;
	uint32_t path, label_set;
	uint8_t trace_id[16];
	uint64_t span_id;
	uint64_t created_ticks;
	struct sp_span_delta absorbed; /* all of it */
	struct sp_span_sums told;
	double heap_bytes, heap_objects;
	bool has_heap; /* the last total that was told was not 0 */
	bool has_changed, has_ended;
	bool has_new_labels; /* since it was announced, if it was */
	void *announced; /* what was told of it at first, to be freed; NULL: nothing yet
			  */
};

struct sp_span_records {
	const struct sp_recording *recording;
	struct sp_span_record *items;
	uint64_t capacity, used;
	uint64_t missed_spans; /* no memory */
};

void sp_span_records_fini(struct sp_span_records *records);

/* Lock held. As the absorber tells of spans; those around a span come with it. */
void sp_span_records_change(struct sp_span_records *records, const struct sp_span *span,
			    const struct sp_span_delta *delta);
void sp_span_records_end(struct sp_span_records *records, const struct sp_span *span);

/* Lock held, after a pass: finds spans that have done nothing yet, and those that have
 * new labels. */
void sp_span_records_find_silent(struct sp_span_records *records);

/* NULL: no such span, or one that is destroyed. */
struct sp_span_record *sp_span_record_find(const struct sp_span_records *records,
					   uint64_t id);

/* Of an entry's first, whose end was told: the next one, or none, takes its place. */
void sp_span_record_forget(struct sp_span_record *record);

/* Adds up the blocks in use by span: heap_bytes and heap_objects of all records. */
void sp_span_records_sum_heap(struct sp_span_records *records);

#endif
