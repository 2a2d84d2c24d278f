/*
 * Both profiles are poured into one; samples of the newer one add to the values of
 * their stack, those of the older take away. The newer one comes first, so that what
 * is in both looks as it does now. Context: collector.
 */
#include "sp_profile_delta.h"

#include "sp_heap.h"
#include "sp_profile_pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_MAX 16U
#define FIRST_SAMPLES 256U
/* What comments begin with that profiles are told apart by. */
#define DELTA_COMMENT "delta: "
#define KIND_COMMENT "kind: "
#define PROCESS_COMMENT "process: "
/* What a packed sample, and a location with its function, come to. */
#define EXPECTED_SAMPLE_BYTES ((size_t)64)

typedef Perftools__Profiles__Profile profile_message;
typedef Perftools__Profiles__Sample sample_message;

struct sample {
	struct sp_pool_input *input;
	const sample_message *message;
	int64_t values[VALUES_MAX];
};

struct delta {
	const struct sp_delta_input *older, *newer;
	struct sp_profile_pool pool;
	struct sp_pool_input older_ids, newer_ids;
	struct sp_string_table sample_keys;
	struct sample *samples;
	uint32_t capacity_samples;
	uint64_t *locations; /* scratch, for one sample */
	size_t capacity_locations;
	char *error;
	size_t error_bytes;
};

static const char *text_of(const profile_message *profile, int64_t index)
{
	return profile->string_table[index];
}

/* --- are they two of a kind? --- */

static bool is_same_type(const profile_message *one,
			 const Perftools__Profiles__ValueType *one_type,
			 const profile_message *other,
			 const Perftools__Profiles__ValueType *other_type)
{
	return strcmp(text_of(one, one_type->type), text_of(other, other_type->type)) ==
		       0 &&
	       strcmp(text_of(one, one_type->unit), text_of(other, other_type->unit)) ==
		       0;
}

/* What follows these words in the first comment that begins with them; NULL: none does.
 */
static const char *find_comment(const profile_message *profile, const char *beginning)
{
	for (size_t i = 0; i < profile->n_comment; i++) {
		const char *text = text_of(profile, profile->comment[i]);

		if (strncmp(text, beginning, strlen(beginning)) == 0)
			return text + strlen(beginning);
	}
	return NULL;
}

/* Kinds that measure the same say what they are: what was in use at the peak is not what
 * is in use at the end. */
static int check_names_of_kinds(const struct delta *delta)
{
	const char *older = find_comment(delta->older->profile, KIND_COMMENT);
	const char *newer = find_comment(delta->newer->profile, KIND_COMMENT);

	if (!older || !newer || strcmp(older, newer) == 0)
		return 0;
	snprintf(delta->error, delta->error_bytes,
		 "%s and %s are different kinds of profiles: one is of the kind %s, the "
		 "other %s",
		 delta->older->name, delta->newer->name, older, newer);
	return -EINVAL;
}

static int check_wholeness(const struct delta *delta)
{
	const struct sp_delta_input *inputs[] = {delta->older, delta->newer};

	for (size_t i = 0; i < 2; i++) {
		if (!find_comment(inputs[i]->profile, DELTA_COMMENT))
			continue;
		snprintf(delta->error, delta->error_bytes,
			 "%s is itself what \"spanprof delta\" has made of two profiles",
			 inputs[i]->name);
		return -EINVAL;
	}
	return 0;
}

static int check_kinds(const struct delta *delta)
{
	const profile_message *older = delta->older->profile;
	const profile_message *newer = delta->newer->profile;
	bool is_same = older->n_sample_type == newer->n_sample_type &&
		       older->period_type && newer->period_type &&
		       older->period == newer->period &&
		       is_same_type(older, older->period_type, newer, newer->period_type);

	for (size_t i = 0; i < newer->n_sample_type && is_same; i++)
		is_same = is_same_type(older, older->sample_type[i], newer,
				       newer->sample_type[i]);
	if (is_same && newer->n_sample_type <= VALUES_MAX)
		return check_names_of_kinds(delta);
	snprintf(
		delta->error, delta->error_bytes,
		"%s and %s are different kinds of profiles: %s is measured in one, %s in "
		"the other",
		delta->older->name, delta->newer->name,
		older->n_sample_type ? text_of(older, older->sample_type[0]->type)
				     : "nothing",
		newer->n_sample_type ? text_of(newer, newer->sample_type[0]->type)
				     : "nothing");
	return -EINVAL;
}

/* The process whose profile it is; 0 if it does not say. */
static unsigned long process_of(const profile_message *profile)
{
	const char *process = find_comment(profile, PROCESS_COMMENT);

	return process ? strtoul(process, NULL, 10) : 0;
}

static int check_processes(const struct delta *delta)
{
	const profile_message *older = delta->older->profile;
	const profile_message *newer = delta->newer->profile;
	unsigned long older_pid = process_of(older), newer_pid = process_of(newer);

	if (!older_pid || !newer_pid)
		snprintf(delta->error, delta->error_bytes,
			 "%s is no profile that spanprof made of one process",
			 older_pid ? delta->newer->name : delta->older->name);
	else if (older_pid != newer_pid)
		snprintf(delta->error, delta->error_bytes,
			 "%s is of process %lu and %s of process %lu", delta->older->name,
			 older_pid, delta->newer->name, newer_pid);
	else if (older->time_nanos != newer->time_nanos)
		snprintf(delta->error, delta->error_bytes,
			 "%s and %s are of two processes with the number %lu, one after "
			 "the other",
			 delta->older->name, delta->newer->name, newer_pid);
	else if (older->duration_nanos > newer->duration_nanos)
		snprintf(delta->error, delta->error_bytes,
			 "%s is younger than %s; name the older one first",
			 delta->older->name, delta->newer->name);
	else
		return 0;
	return -EINVAL;
}

/* --- samples --- */

static int key_of_sample(struct delta *delta, struct sp_pool_input *input,
			 const sample_message *sample)
{
	struct sp_pool_key *key = &delta->pool.key;
	uint32_t location = 0;
	int err = 0;

	sp_pool_key_begin(key);
	sp_pool_key_number(key, sample->n_location_id);
	for (size_t i = 0; i < sample->n_location_id && !err; i++) {
		err = sp_profile_pool_location(input, sample->location_id[i], &location);
		sp_pool_key_number(key, location);
	}
	for (size_t i = 0; i < sample->n_label; i++) {
		const Perftools__Profiles__Label *label = sample->label[i];

		sp_pool_key_text(key, text_of(input->profile, label->key));
		sp_pool_key_text(key, text_of(input->profile, label->str));
		sp_pool_key_number(key, (uint64_t)label->num);
		sp_pool_key_text(key, text_of(input->profile, label->num_unit));
	}
	if (!err && key->is_short)
		err = -ENOMEM;
	return err;
}

static int find_sample(struct delta *delta, struct sp_pool_input *input,
		       const sample_message *message, struct sample **sample)
{
	const struct sp_pool_key *key = &delta->pool.key;
	bool is_new;
	int64_t index = sp_string_table_add(&delta->sample_keys, key->bytes,
					    key->size_bytes, &is_new);

	if (index < 0)
		return (int)index;
	if (index >= delta->capacity_samples) {
		uint32_t capacity = delta->capacity_samples ? delta->capacity_samples * 2
							    : FIRST_SAMPLES;
		struct sample *grown = sp_heap_realloc(delta->samples,
						       (size_t)capacity * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		delta->samples = grown;
		delta->capacity_samples = capacity;
	}
	*sample = &delta->samples[index];
	if (is_new) {
		memset(*sample, 0, sizeof(**sample));
		(*sample)->input = input;
		(*sample)->message = message;
	}
	return 0;
}

static int add_sample(struct delta *delta, struct sp_pool_input *input,
		      const sample_message *message)
{
	bool is_older = input == &delta->older_ids;
	struct sample *sample = NULL;
	int err = key_of_sample(delta, input, message);

	if (!err)
		err = find_sample(delta, input, message, &sample);
	for (size_t i = 0; i < message->n_value && !err; i++) {
		int64_t *value = &sample->values[i];

		if (is_older ? __builtin_sub_overflow(*value, message->value[i], value)
			     : __builtin_add_overflow(*value, message->value[i], value))
			err = -EINVAL;
	}
	return err;
}

static int add_input(struct delta *delta, struct sp_pool_input *ids,
		     const struct sp_delta_input *input)
{
	int err = sp_profile_pool_add(&delta->pool, ids, input->profile);

	for (size_t i = 0; i < input->profile->n_sample && !err; i++)
		err = add_sample(delta, ids, input->profile->sample[i]);
	if (err == -EINVAL)
		snprintf(delta->error, delta->error_bytes,
			 "%s is damaged: its samples make no sense", input->name);
	return err;
}

static bool has_changed(const struct sample *sample)
{
	for (unsigned int i = 0; i < VALUES_MAX; i++) {
		if (sample->values[i])
			return true;
	}
	return false;
}

/* --- writing --- */

static int64_t string(struct sp_profile_stream *stream, const char *text)
{
	return sp_profile_stream_string(stream, text);
}

/* Readers take a small default_sample_type for an index: all other names first. */
static void put_types(const profile_message *profile, struct sp_profile_stream *stream)
{
	const char *default_type = text_of(profile, profile->default_sample_type);
	profile_message part = PERFTOOLS__PROFILES__PROFILE__INIT;
	Perftools__Profiles__ValueType types[VALUES_MAX], *pointers[VALUES_MAX];
	Perftools__Profiles__ValueType period = PERFTOOLS__PROFILES__VALUE_TYPE__INIT;

	for (size_t i = 0; i < profile->n_sample_type; i++) {
		const char *type = text_of(profile, profile->sample_type[i]->type);

		string(stream, text_of(profile, profile->sample_type[i]->unit));
		if (strcmp(type, default_type) != 0)
			string(stream, type);
	}
	for (size_t i = 0; i < profile->n_sample_type; i++) {
		perftools__profiles__value_type__init(&types[i]);
		types[i].type =
			string(stream, text_of(profile, profile->sample_type[i]->type));
		types[i].unit =
			string(stream, text_of(profile, profile->sample_type[i]->unit));
		pointers[i] = &types[i];
	}
	period.type = string(stream, text_of(profile, profile->period_type->type));
	period.unit = string(stream, text_of(profile, profile->period_type->unit));
	part.n_sample_type = profile->n_sample_type;
	part.sample_type = pointers;
	part.period_type = &period;
	part.period = profile->period;
	part.default_sample_type = string(stream, default_type);
	part.drop_frames = string(stream, text_of(profile, profile->drop_frames));
	sp_profile_stream_put(stream, &part);
}

static void put_comment(struct sp_profile_stream *stream, const char *text)
{
	profile_message part = PERFTOOLS__PROFILES__PROFILE__INIT;
	int64_t comment = string(stream, text);

	part.n_comment = 1;
	part.comment = &comment;
	sp_profile_stream_put(stream, &part);
}

static bool has_comment(const profile_message *profile, const char *text)
{
	for (size_t i = 0; i < profile->n_comment; i++) {
		if (strcmp(text_of(profile, profile->comment[i]), text) == 0)
			return true;
	}
	return false;
}

/* What both say holds for what lies between them as well. */
static void put_comments(const struct delta *delta, struct sp_profile_stream *stream)
{
	const profile_message *older = delta->older->profile;
	const profile_message *newer = delta->newer->profile;
	char text[2 * 4096 + 128];

	snprintf(text, sizeof(text), DELTA_COMMENT "%s less %s, %.3f s later",
		 delta->newer->name, delta->older->name,
		 (double)(newer->duration_nanos - older->duration_nanos) / 1e9);
	put_comment(stream, text);
	snprintf(text, sizeof(text), PROCESS_COMMENT "%lu", process_of(newer));
	put_comment(stream, text);
	for (size_t i = 0; i < newer->n_comment; i++) {
		const char *comment = text_of(newer, newer->comment[i]);

		if (has_comment(older, comment) &&
		    strncmp(comment, PROCESS_COMMENT, strlen(PROCESS_COMMENT)) != 0)
			put_comment(stream, comment);
	}
}

static void put_times(const struct delta *delta, struct sp_profile_stream *stream)
{
	const profile_message *older = delta->older->profile;
	profile_message part = PERFTOOLS__PROFILES__PROFILE__INIT;

	if (__builtin_add_overflow(older->time_nanos, older->duration_nanos,
				   &part.time_nanos))
		part.time_nanos = older->time_nanos;
	if (__builtin_sub_overflow(delta->newer->profile->duration_nanos,
				   older->duration_nanos, &part.duration_nanos))
		part.duration_nanos = 0;
	sp_profile_stream_put(stream, &part);
}

static int find_locations(struct delta *delta, const struct sample *sample)
{
	size_t count = sample->message->n_location_id;

	if (count > delta->capacity_locations) {
		uint64_t *grown =
			sp_heap_realloc(delta->locations, count * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		delta->locations = grown;
		delta->capacity_locations = count;
	}
	for (size_t i = 0; i < count; i++) {
		uint32_t number;
		int err = sp_profile_pool_location(
			sample->input, sample->message->location_id[i], &number);

		if (err)
			return err;
		delta->locations[i] = number;
	}
	return 0;
}

static int put_sample(struct delta *delta, const struct sample *sample,
		      struct sp_profile_stream *stream)
{
	const profile_message *profile = sample->input->profile;
	profile_message part = PERFTOOLS__PROFILES__PROFILE__INIT;
	sample_message copy = *sample->message, *pointer = &copy;
	Perftools__Profiles__Label *labels =
		sp_heap_alloc((copy.n_label + 1) * sizeof(*labels));
	Perftools__Profiles__Label **pointers =
		sp_heap_alloc((copy.n_label + 1) * sizeof(*pointers));
	int err = labels && pointers ? find_locations(delta, sample) : -ENOMEM;

	for (size_t i = 0; i < copy.n_label && !err; i++) {
		labels[i] = *copy.label[i];
		labels[i].key = string(stream, text_of(profile, labels[i].key));
		labels[i].str = string(stream, text_of(profile, labels[i].str));
		labels[i].num_unit = string(stream, text_of(profile, labels[i].num_unit));
		pointers[i] = &labels[i];
	}
	copy.location_id = delta->locations;
	copy.value = (int64_t *)(uintptr_t)sample->values;
	copy.label = pointers;
	part.n_sample = 1;
	part.sample = &pointer;
	if (!err)
		sp_profile_stream_put(stream, &part);
	sp_heap_free(pointers);
	sp_heap_free(labels);
	return err;
}

static int use_locations(struct delta *delta)
{
	for (uint32_t i = 0; i < delta->sample_keys.count; i++) {
		const struct sample *sample = &delta->samples[i];
		int err = 0;

		if (!has_changed(sample))
			continue;
		err = find_locations(delta, sample);
		for (size_t j = 0; j < sample->message->n_location_id && !err; j++)
			err = sp_profile_pool_use(&delta->pool,
						  (uint32_t)delta->locations[j]);
		if (err)
			return err;
	}
	return 0;
}

static int put_all(struct delta *delta, struct sp_profile_stream *stream)
{
	int err;

	put_types(delta->newer->profile, stream);
	put_times(delta, stream);
	put_comments(delta, stream);
	err = sp_profile_pool_put(&delta->pool, stream);
	for (uint32_t i = 0; i < delta->sample_keys.count && !err; i++) {
		if (has_changed(&delta->samples[i]))
			err = put_sample(delta, &delta->samples[i], stream);
	}
	return err;
}

static int write_delta(struct delta *delta, struct sp_sink *sink)
{
	struct sp_profile_stream *stream;
	int err = use_locations(delta), close_err;

	if (!err)
		err = sp_profile_stream_open(
			&stream, sink, delta->sample_keys.count * EXPECTED_SAMPLE_BYTES);
	if (err)
		return err;
	err = put_all(delta, stream);
	close_err = sp_profile_stream_close(stream);
	return err ? err : close_err;
}

int sp_profile_delta_write(const struct sp_delta_input *older,
			   const struct sp_delta_input *newer, struct sp_sink *sink,
			   char *error, size_t error_bytes)
{
	struct delta delta = {.older = older,
			      .newer = newer,
			      .error = error,
			      .error_bytes = error_bytes};
	int err = check_wholeness(&delta);

	if (!err)
		err = check_kinds(&delta);
	if (!err)
		err = check_processes(&delta);
	if (err)
		return err;
	sp_profile_pool_init(&delta.pool);
	sp_string_table_init(&delta.sample_keys);
	err = add_input(&delta, &delta.newer_ids, newer);
	if (!err)
		err = add_input(&delta, &delta.older_ids, older);
	if (!err) {
		err = write_delta(&delta, sink);
		if (err)
			snprintf(error, error_bytes, "%s", strerrordesc_np(-err));
	} else if (err == -ENOMEM) {
		snprintf(error, error_bytes, "no memory for both profiles at once");
	}
	sp_string_table_fini(&delta.sample_keys);
	sp_profile_pool_fini(&delta.pool);
	sp_pool_input_fini(&delta.newer_ids);
	sp_pool_input_fini(&delta.older_ids);
	sp_heap_free(delta.locations);
	sp_heap_free(delta.samples);
	return err;
}
