/*
 * Samples of a round in a buffer that grows to a limit: a round is a quarter of a
 * second, in which no program gets that many. Context: collector.
 */
#include "sample_batch.h"

#include "profile_common.h"
#include "sp_heap.h"

#include <string.h>

#define BUFFER_WORDS_FIRST UINT64_C(4096)
#define BUFFER_WORDS_MAX (UINT64_C(1) << 20)

/* In the buffer: this, then the frames. */
struct kept_sample {
	uint32_t label_set;
	uint32_t weight_periods;
	uint32_t frame_count;
	uint32_t mode;
	uint64_t frames[];
};
#define KEPT_WORDS (sizeof(struct kept_sample) / sizeof(uint64_t))

struct sp_sample_collection {
	const struct sp_recording *recording;
	uint32_t samples_max;
	uint64_t *words;
	uint64_t used_words, capacity_words;
	uint64_t next_word; /* of the next batch */
	uint64_t missed;
	/* The batch that was given out last. */
	struct sp_view_module *modules;
	struct sp_view_sample *samples;
	struct sp_profile_ids *ids;
};

struct sp_sample_collection *
sp_sample_collection_create(const struct sp_recording *recording, uint32_t samples_max)
{
	struct sp_sample_collection *samples = sp_heap_zalloc(sizeof(*samples));

	if (!samples)
		return NULL;
	samples->recording = recording;
	samples->samples_max = samples_max;
	samples->samples = sp_heap_zalloc(samples_max * sizeof(*samples->samples));
	samples->ids = sp_heap_zalloc(samples_max * sizeof(*samples->ids));
	if (samples->samples && samples->ids)
		return samples;
	sp_sample_collection_destroy(samples);
	return NULL;
}

void sp_sample_collection_destroy(struct sp_sample_collection *samples)
{
	sp_heap_free(samples->words);
	sp_heap_free(samples->modules);
	sp_heap_free(samples->samples);
	sp_heap_free(samples->ids);
	sp_heap_free(samples);
}

static bool make_room(struct sp_sample_collection *samples, uint64_t words)
{
	uint64_t capacity =
		samples->capacity_words ? samples->capacity_words : BUFFER_WORDS_FIRST;
	uint64_t *grown;

	while (capacity < samples->used_words + words)
		capacity *= 2;
	if (capacity == samples->capacity_words)
		return true;
	grown = capacity <= BUFFER_WORDS_MAX
			? sp_heap_realloc(samples->words, capacity * sizeof(*grown))
			: NULL;
	if (!grown)
		return false;
	samples->words = grown;
	samples->capacity_words = capacity;
	return true;
}

void sp_sample_collection_add(struct sp_sample_collection *samples,
			      const struct sp_cpu_record *record, const uint64_t *frames,
			      uint32_t frame_count)
{
	struct kept_sample *kept;

	if (!make_room(samples, KEPT_WORDS + frame_count)) {
		samples->missed++;
		return;
	}
	kept = (void *)(samples->words + samples->used_words);
	kept->label_set = record->label_set;
	kept->weight_periods = record->weight_periods;
	kept->frame_count = frame_count;
	kept->mode = record->mode;
	memcpy(kept->frames, frames, frame_count * sizeof(*frames));
	samples->used_words += KEPT_WORDS + frame_count;
}

static void fill(struct sp_sample_collection *samples, uint32_t index,
		 const struct kept_sample *kept)
{
	const struct sp_recording *recording = samples->recording;
	struct sp_view_sample *sample = &samples->samples[index];

	memset(sample, 0, sizeof(*sample));
	sample->frames = kept->frames;
	sample->frame_count = kept->frame_count;
	sample->values[0] = 1;
	sample->values[1] =
		(int64_t)(kept->weight_periods * recording->header->cpu_period_ns);
	sample->labels[sample->label_count++] = (struct sp_view_label){
		.key = "mode", .str = kept->mode == SP_MODE_KERNEL ? "kernel" : "user"};
	sp_profile_add_labels(recording, kept->label_set, &samples->ids[index], sample);
}

bool sp_sample_collection_next(struct sp_sample_collection *samples,
			       struct sp_sample_batch *batch)
{
	*batch = (struct sp_sample_batch){.samples = samples->samples};
	while (samples->next_word < samples->used_words &&
	       batch->count < samples->samples_max) {
		const struct kept_sample *kept =
			(const void *)(samples->words + samples->next_word);

		fill(samples, batch->count++, kept);
		samples->next_word += KEPT_WORDS + kept->frame_count;
	}
	batch->missed_samples = samples->missed;
	samples->missed = 0;
	if (!batch->count)
		return false;
	sp_heap_free(samples->modules);
	samples->modules = sp_profile_modules(samples->recording, &batch->module_count);
	batch->modules = samples->modules;
	return true;
}

void sp_sample_collection_empty(struct sp_sample_collection *samples)
{
	samples->used_words = 0;
	samples->next_word = 0;
}
