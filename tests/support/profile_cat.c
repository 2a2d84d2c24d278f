/*
 * profile_cat [-s] FILE: a pprof file as text that stays the same as long as the
 * profile does. First the head, a line for each fact; with -s then a line for each
 * sample, root first:
 *
 *   main;work;spin span_name=load,mode=user samples=3,cpu=30000000
 *
 * Exits with 1 and says why if the file is not a profile or does not hold together.
 */
#include "profile_decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *text_of(const struct profile *profile, int64_t index)
{
	const char *text = profile_string(profile, index);

	return text ? text : "";
}

static void print_head(const struct profile *profile)
{
	const Perftools__Profiles__Profile *message = profile->message;

	for (size_t i = 0; i < message->n_sample_type; i++) {
		const char *type = text_of(profile, message->sample_type[i]->type);

		printf("sample_type %s/%s total %" PRId64 "%s\n", type,
		       text_of(profile, message->sample_type[i]->unit),
		       profile_total(profile, type),
		       message->sample_type[i]->type == message->default_sample_type
			       ? " default"
			       : "");
	}
	if (message->period_type)
		printf("period %s/%s %" PRId64 "\n",
		       text_of(profile, message->period_type->type),
		       text_of(profile, message->period_type->unit), message->period);
	printf("time_ns %" PRId64 "\nduration_ns %" PRId64 "\n", message->time_nanos,
	       message->duration_nanos);
	printf("samples %zu\nlocations %zu\nfunctions %zu\nstrings %zu\n",
	       message->n_sample, message->n_location, message->n_function,
	       message->n_string_table);
	if (message->drop_frames)
		printf("drop_frames %s\n", text_of(profile, message->drop_frames));
	for (size_t i = 0; i < message->n_comment; i++)
		printf("comment %s\n", profile_comment(profile, i));
	for (size_t i = 0; i < message->n_mapping; i++) {
		const Perftools__Profiles__Mapping *mapping = message->mapping[i];
		const char *build_id = text_of(profile, mapping->build_id);

		printf("mapping %" PRIu64 " %#" PRIx64 "-%#" PRIx64 " +%#" PRIx64
		       " %s %s%s\n",
		       mapping->id, mapping->memory_start, mapping->memory_limit,
		       mapping->file_offset, build_id[0] ? build_id : "-",
		       text_of(profile, mapping->filename),
		       mapping->has_functions ? " has_functions" : "");
	}
}

static void print_labels(const struct profile *profile,
			 const Perftools__Profiles__Sample *sample)
{
	for (size_t i = 0; i < sample->n_label; i++) {
		const Perftools__Profiles__Label *label = sample->label[i];

		printf("%s%s=", i ? "," : " ", text_of(profile, label->key));
		if (label->str)
			printf("%s", text_of(profile, label->str));
		else
			printf("%" PRId64 "%s", label->num,
			       text_of(profile, label->num_unit));
	}
}

static void print_samples(const struct profile *profile)
{
	const Perftools__Profiles__Profile *message = profile->message;

	for (size_t i = 0; i < message->n_sample; i++) {
		const Perftools__Profiles__Sample *sample = message->sample[i];

		for (size_t j = sample->n_location_id; j-- > 0;)
			printf("%s%s",
			       profile_location_name(profile, sample->location_id[j]),
			       j ? ";" : "");
		print_labels(profile, sample);
		for (size_t j = 0; j < sample->n_value; j++)
			printf("%s%s=%" PRId64, j ? "," : " ",
			       text_of(profile, message->sample_type[j]->type),
			       sample->value[j]);
		printf("\n");
	}
}

int main(int argc, char **argv)
{
	bool has_samples = argc == 3 && strcmp(argv[1], "-s") == 0;
	struct profile *profile;
	char error[256];

	if (argc != (has_samples ? 3 : 2)) {
		fprintf(stderr, "usage: profile_cat [-s] FILE\n");
		return 2;
	}
	profile = profile_decode_file(argv[argc - 1], error, sizeof(error));
	if (!profile || !profile_check(profile, error, sizeof(error))) {
		fprintf(stderr, "profile_cat: %s: %s\n", argv[argc - 1], error);
		profile_free(profile);
		return 1;
	}
	print_head(profile);
	if (has_samples)
		print_samples(profile);
	profile_free(profile);
	return 0;
}
