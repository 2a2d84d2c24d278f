/*
 * A profile in pprof's format. Context: collector. The view is read twice: first
 * for its different frames, which get their names module by module, then for its
 * samples, which are written as they are read; so memory grows with the code that
 * ran and not with the samples.
 */
#include "sp_heap.h"
#include "sp_pprof_writer.h"
#include "sp_reporter.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What a packed location with its function, and a packed sample, come to. */
#define EXPECTED_FRAME_BYTES ((size_t)48)
#define EXPECTED_SAMPLE_BYTES ((size_t)24)

typedef Perftools__Profiles__Profile pprof_profile;

/* A sample without a stack would be in the total but under no function. */
static void complete_stack(const struct sp_pprof_writer *writer,
			   struct sp_view_sample *sample)
{
	if (sample->frame_count == 0) {
		sample->frames = &writer->no_stack;
		sample->frame_count = 1;
	}
	if (sample->label_count > SP_VIEW_LABELS_MAX)
		sample->label_count = SP_VIEW_LABELS_MAX;
}

/* 1 with a sample, 0 at the end, or -errno. */
static int next_sample(struct sp_pprof_writer *writer, struct sp_view_sample *sample)
{
	int status = writer->view->next_sample(writer->view->cursor, sample);

	if (status > 0)
		complete_stack(writer, sample);
	return status;
}

static int collect(struct sp_pprof_writer *writer)
{
	struct sp_view_sample sample;
	int status;

	writer->view->rewind(writer->view->cursor);
	while ((status = next_sample(writer, &sample)) > 0) {
		for (uint32_t i = 0; i < sample.frame_count; i++) {
			int err = sp_frame_table_add(&writer->frames, sample.frames[i]);

			if (err)
				return err;
		}
		for (uint32_t i = 0; i < sample.label_count; i++)
			sp_label_keys_note(&writer->label_keys, &sample.labels[i]);
		writer->expected_bytes +=
			EXPECTED_SAMPLE_BYTES + (size_t)2 * sample.frame_count;
	}
	sp_frame_table_sort(&writer->frames);
	writer->expected_bytes += EXPECTED_FRAME_BYTES * writer->frames.count;
	return status;
}

static int64_t string(struct sp_pprof_writer *writer, const char *text)
{
	return sp_profile_stream_string(writer->stream, text);
}

static Perftools__Profiles__ValueType value_type(struct sp_pprof_writer *writer,
						 const struct sp_value_type *type)
{
	Perftools__Profiles__ValueType message = PERFTOOLS__PROFILES__VALUE_TYPE__INIT;

	message.unit = string(writer, type->unit);
	message.type = string(writer, type->type);
	return message;
}

/*
 * Some readers take default_sample_type for an index into the sample types if it
 * is small enough to be one. With every other name of a type given its number
 * first, it is not.
 */
static int64_t default_sample_type(struct sp_pprof_writer *writer)
{
	const struct sp_profile_view *view = writer->view;

	if (view->default_value_type >= view->value_type_count)
		return 0;
	for (uint32_t i = 0; i < view->value_type_count; i++) {
		string(writer, view->value_types[i].unit);
		if (i != view->default_value_type)
			string(writer, view->value_types[i].type);
	}
	return string(writer, view->value_types[view->default_value_type].type);
}

static void put_types(struct sp_pprof_writer *writer)
{
	const struct sp_profile_view *view = writer->view;
	pprof_profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
	Perftools__Profiles__ValueType types[SP_VIEW_VALUES_MAX];
	Perftools__Profiles__ValueType *type_pointers[SP_VIEW_VALUES_MAX];
	Perftools__Profiles__ValueType period_type;

	part.default_sample_type = default_sample_type(writer);
	for (uint32_t i = 0; i < view->value_type_count; i++) {
		types[i] = value_type(writer, &view->value_types[i]);
		type_pointers[i] = &types[i];
	}
	part.n_sample_type = view->value_type_count;
	part.sample_type = type_pointers;
	period_type = value_type(writer, &view->period_type);
	part.period_type = &period_type;
	part.period = view->period;
	part.time_nanos = view->time_ns;
	part.duration_nanos = view->duration_ns;
	part.drop_frames = string(writer, view->drop_frames);
	sp_profile_stream_put(writer->stream, &part);
}

static void put_comment(struct sp_pprof_writer *writer, const char *text)
{
	pprof_profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
	int64_t comment = string(writer, text);

	part.n_comment = 1;
	part.comment = &comment;
	sp_profile_stream_put(writer->stream, &part);
}

static void put_comments(struct sp_pprof_writer *writer)
{
	for (uint32_t i = 0; i < writer->view->comment_count; i++)
		put_comment(writer, writer->view->comments[i]);
	if (writer->label_keys.left_out_labels > 0) {
		char text[96];

		(void)snprintf(text, sizeof(text),
			       "%" PRIu64
			       " labels left out: key reserved or more than %d keys",
			       writer->label_keys.left_out_labels, SP_LABEL_KEYS_MAX);
		put_comment(writer, text);
	}
}

/* False if the label is to be left out. */
static bool fill_label(struct sp_pprof_writer *writer, const struct sp_view_label *label,
		       Perftools__Profiles__Label *message)
{
	const struct sp_label_key *key = sp_label_keys_find(&writer->label_keys, label);
	char number[24];

	if (!key)
		return false;
	message->key = string(writer, key->key);
	if (label->str) {
		message->str = string(writer, label->str);
		return message->str != 0; /* "" would be read as a number */
	}
	if (key->is_text) {
		(void)snprintf(number, sizeof(number), "%" PRId64, label->number);
		message->str = string(writer, number);
		return true;
	}
	message->num = label->number;
	message->num_unit = string(writer, label->unit);
	return true;
}

static size_t fill_labels(struct sp_pprof_writer *writer,
			  const struct sp_view_sample *sample,
			  Perftools__Profiles__Label *labels)
{
	size_t count = 0;

	for (uint32_t i = 0; i < sample->label_count; i++) {
		bool is_repeated = false;

		perftools__profiles__label__init(&labels[count]);
		if (!fill_label(writer, &sample->labels[i], &labels[count]))
			continue;
		for (size_t before = 0; before < count; before++)
			is_repeated |= labels[before].key == labels[count].key;
		count += !is_repeated;
	}
	return count;
}

static int fill_location_ids(struct sp_pprof_writer *writer,
			     const struct sp_view_sample *sample)
{
	if (sample->frame_count > writer->location_ids_capacity) {
		uint64_t *grown =
			sp_heap_realloc(writer->location_ids,
					(size_t)sample->frame_count * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		writer->location_ids = grown;
		writer->location_ids_capacity = sample->frame_count;
	}
	for (uint32_t i = 0; i < sample->frame_count; i++) {
		uint32_t index;

		/* The view promised to show the same samples twice. */
		if (!sp_frame_table_find(&writer->frames, sample->frames[i], &index))
			return -EPROTO;
		writer->location_ids[i] = index + UINT64_C(1);
	}
	return 0;
}

static int put_sample(struct sp_pprof_writer *writer, struct sp_view_sample *sample)
{
	pprof_profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
	Perftools__Profiles__Sample message = PERFTOOLS__PROFILES__SAMPLE__INIT;
	Perftools__Profiles__Sample *message_pointer = &message;
	Perftools__Profiles__Label labels[SP_VIEW_LABELS_MAX];
	Perftools__Profiles__Label *label_pointers[SP_VIEW_LABELS_MAX];
	int err = fill_location_ids(writer, sample);

	if (err)
		return err;
	message.n_location_id = sample->frame_count;
	message.location_id = writer->location_ids;
	message.n_value = writer->view->value_type_count;
	message.value = sample->values;
	message.n_label = fill_labels(writer, sample, labels);
	for (size_t i = 0; i < message.n_label; i++)
		label_pointers[i] = &labels[i];
	message.label = label_pointers;
	part.n_sample = 1;
	part.sample = &message_pointer;
	sp_profile_stream_put(writer->stream, &part);
	return sp_profile_stream_error(writer->stream);
}

static int put_samples(struct sp_pprof_writer *writer)
{
	struct sp_view_sample sample;
	int status;

	writer->view->rewind(writer->view->cursor);
	while ((status = next_sample(writer, &sample)) > 0) {
		int err = put_sample(writer, &sample);

		if (err)
			return err;
	}
	return status;
}

static int put_profile(struct sp_pprof_writer *writer)
{
	int err;

	put_types(writer);
	put_comments(writer);
	sp_pprof_put_mappings(writer);
	err = sp_pprof_put_frames(writer);
	return err ? err : put_samples(writer);
}

static int write_profile(const struct sp_profile_view *view, struct sp_known_names *names,
			 struct sp_sink *sink)
{
	struct sp_pprof_writer writer = {.view = view,
					 .names = names,
					 .no_stack =
						 sp_frame_pseudo(SP_PSEUDO_INCOMPLETE)};
	int err, close_err;

	if (view->value_type_count > SP_VIEW_VALUES_MAX)
		return -EINVAL;
	sp_frame_table_init(&writer.frames);
	sp_label_keys_init(&writer.label_keys);
	err = collect(&writer);
	if (err)
		goto out;
	err = sp_profile_stream_open(&writer.stream, sink, writer.expected_bytes);
	if (err)
		goto out;
	err = put_profile(&writer);
	close_err = sp_profile_stream_close(writer.stream);
	if (!err)
		err = close_err;
out:
	sp_heap_free(writer.location_ids);
	sp_frame_table_fini(&writer.frames);
	return err;
}

const struct sp_reporter_ops sp_reporter_pprof = {
	.name = "pprof",
	.extension = "pb.gz",
	.write_profile = write_profile,
};
