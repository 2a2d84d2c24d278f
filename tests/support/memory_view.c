/*
 * An array of samples in the C library's heap and a cursor over it.
 */
#include "memory_view.h"

#include <stdlib.h>
#include <string.h>

#define PERIOD_NS 10000000

static int next_sample(void *cursor, struct sp_view_sample *sample)
{
	struct memory_view *memory = cursor;

	if (memory->next == memory->count)
		return 0;
	*sample = memory->samples[memory->next++];
	return 1;
}

static void rewind_samples(void *cursor)
{
	struct memory_view *memory = cursor;

	memory->next = 0;
	memory->passes++;
}

void memory_view_init(struct memory_view *memory)
{
	memset(memory, 0, sizeof(*memory));
	memory->view = (struct sp_profile_view){
		.kind = "cpu",
		.value_types = {{"samples", "count"}, {"cpu", "nanoseconds"}},
		.value_type_count = 2,
		.default_value_type = 1,
		.period_type = {"cpu", "nanoseconds"},
		.period = PERIOD_NS,
		.time_ns = INT64_C(1700000000000000000),
		.duration_ns = INT64_C(2500000000),
		.pid = 17,
		.next_sample = next_sample,
		.rewind = rewind_samples,
		.cursor = memory,
	};
}

void memory_view_fini(struct memory_view *memory)
{
	for (size_t i = 0; i < memory->count; i++)
		free((void *)(uintptr_t)memory->samples[i].frames);
	free(memory->samples);
}

struct sp_view_sample *memory_view_add(struct memory_view *memory, int64_t count,
				       const uint64_t *frames, uint32_t frame_count)
{
	uint64_t *copy = calloc(frame_count + 1U, sizeof(*copy));
	struct sp_view_sample *sample;

	memory->samples =
		realloc(memory->samples, (memory->count + 1) * sizeof(*memory->samples));
	if (!memory->samples || !copy)
		abort();
	if (frame_count > 0)
		memcpy(copy, frames, frame_count * sizeof(*frames));
	sample = &memory->samples[memory->count++];
	memset(sample, 0, sizeof(*sample));
	sample->frames = copy;
	sample->frame_count = frame_count;
	sample->values[0] = count;
	sample->values[1] = count * PERIOD_NS;
	return sample;
}

void memory_view_label_text(struct sp_view_sample *sample, const char *key,
			    const char *text)
{
	sample->labels[sample->label_count++] =
		(struct sp_view_label){.key = key, .str = text};
}

void memory_view_label_number(struct sp_view_sample *sample, const char *key,
			      int64_t number, const char *unit)
{
	sample->labels[sample->label_count++] =
		(struct sp_view_label){.key = key, .number = number, .unit = unit};
}
