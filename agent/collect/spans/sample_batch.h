/*
 * Samples on their way to reporters of events: kept while the consumer holds its lock,
 * told later in batches. Context of everything here: collector, on one thread.
 */
#ifndef SP_SAMPLE_BATCH_H
#define SP_SAMPLE_BATCH_H

#include "profile_labels.h"
#include "sp_recording.h"
#include "sp_reporter.h"

struct sp_sample_collection;

/* Batches of at most samples_max. NULL when memory is short. */
struct sp_sample_collection *
sp_sample_collection_create(const struct sp_recording *recording, uint32_t samples_max);
void sp_sample_collection_destroy(struct sp_sample_collection *samples);

/* Copies what it is given; a sample without room is counted as missed. */
void sp_sample_collection_add(struct sp_sample_collection *samples,
			      const struct sp_cpu_record *record, const uint64_t *frames,
			      uint32_t frame_count);

/* The next batch, valid until the next call; false at the end, when it is empty but for
 * the missed samples that no batch told of. */
bool sp_sample_collection_next(struct sp_sample_collection *samples,
			       struct sp_sample_batch *batch);
void sp_sample_collection_empty(struct sp_sample_collection *samples);

#endif
