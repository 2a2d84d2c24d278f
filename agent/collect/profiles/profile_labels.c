/*
 * Label sets as labels of samples. Samples of one stack in different label sets are
 * different samples, as they are different cells. Context: collector.
 */
#include "profile_labels.h"

#include "sp_compiler.h"
#include "sp_recording_spans.h"

#include <string.h>

/* mode or bytes, span_name, span_id, trace_id, thread, process_title, and the recorded
 * ones. */
_Static_assert(6 + SP_SPAN_LABELS_MAX <= SP_VIEW_LABELS_MAX, "room for all labels");

static void add(struct sp_view_sample *sample, const char *key, const char *text)
{
	if (text[0] != '\0' && sample->label_count < SP_VIEW_LABELS_MAX)
		sample->labels[sample->label_count++] =
			(struct sp_view_label){.key = key, .str = text};
}

/* "" for an id that is not kept, all of it 0. */
static void write_id(char *text, const uint8_t *id, size_t id_bytes)
{
	static const char digits[] = "0123456789abcdef";
	bool is_kept = false;

	for (size_t i = 0; i < id_bytes; i++) {
		text[2 * i] = digits[id[i] >> 4];
		text[2 * i + 1] = digits[id[i] & 0xf];
		is_kept |= id[i] != 0;
	}
	text[is_kept ? 2 * id_bytes : 0] = '\0';
}

/* Readers know what these mean. */
static bool is_ours(const char *key)
{
	static const char *const ours[] = {"mode",	   "bytes",    "span_name",
					   "span_id",	   "trace_id", "thread",
					   "process_title"};

	for (size_t i = 0; i < SP_ARRAY_COUNT(ours); i++) {
		if (strcmp(key, ours[i]) == 0)
			return true;
	}
	return false;
}

void sp_profile_add_recorded_labels(const struct sp_recording *recording,
				    const struct sp_label_set *set,
				    struct sp_view_sample *sample)
{
	for (unsigned int i = 0; i < 2 * SP_SPAN_LABELS_MAX && set->labels[i]; i += 2) {
		const char *key = sp_recording_span_text(recording, set->labels[i]);

		if (!is_ours(key))
			add(sample, key,
			    sp_recording_span_text(recording, set->labels[i + 1]));
	}
}

void sp_profile_add_labels(const struct sp_recording *recording, uint32_t label_set,
			   struct sp_profile_ids *ids, struct sp_view_sample *sample)
{
	const struct sp_label_set *set;
	const char *name;

	if (label_set == SP_LABEL_SET_NONE)
		return;
	set = sp_recording_label_set(recording, label_set);
	if (label_set == SP_LABEL_SET_OTHER || !set) {
		add(sample, "span_name", SP_SPAN_NAME_OTHER);
		return;
	}
	name = sp_recording_span_name(recording, set->path);
	if (name)
		add(sample, "span_name", name);
	write_id(ids->span_id, set->span_id, sizeof(set->span_id));
	write_id(ids->trace_id, set->trace_id, sizeof(set->trace_id));
	add(sample, "span_id", ids->span_id);
	add(sample, "trace_id", ids->trace_id);
	add(sample, "thread", sp_recording_span_text(recording, set->thread_name));
	add(sample, "process_title",
	    sp_recording_span_text(recording, set->process_title));
	sp_profile_add_recorded_labels(recording, set, sample);
}
