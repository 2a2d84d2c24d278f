/*
 * Whether a decoded profile holds together: nothing refers to what is not there,
 * and the rules are kept on which readers rely.
 */
#include "profile_decode.h"

#include <iconv.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check {
	const struct profile *profile;
	char *error;
	size_t error_bytes;
	uint8_t *label_kinds; /* by string number of the key */
};

enum {
	LABEL_IS_TEXT = 1,
	LABEL_IS_NUMBER = 2,
};

static bool fail(const struct check *check, const char *what, uint64_t which)
{
	snprintf(check->error, check->error_bytes, "%s (%" PRIu64 ")", what, which);
	return false;
}

static bool is_string(const struct check *check, int64_t index)
{
	return profile_string(check->profile, index) != NULL;
}

/* By the C library's converter, not by the agent's own rules. */
static bool is_utf8(const char *text)
{
	iconv_t converter = iconv_open("UTF-32LE", "UTF-8");
	char *in = (char *)(uintptr_t)text;
	size_t in_bytes = strlen(text);
	bool is_valid = true;

	while (in_bytes > 0 && is_valid) {
		char out[256], *out_end = out;
		size_t out_bytes = sizeof(out), before_bytes = in_bytes;

		is_valid = iconv(converter, &in, &in_bytes, &out_end, &out_bytes) !=
				   (size_t)-1 ||
			   in_bytes < before_bytes;
	}
	iconv_close(converter);
	return is_valid;
}

static bool check_strings(const struct check *check)
{
	const Perftools__Profiles__Profile *message = check->profile->message;

	if (message->n_string_table == 0 || message->string_table[0][0] != '\0')
		return fail(check, "string 0 is not empty", 0);
	for (size_t i = 0; i < message->n_string_table; i++) {
		if (!is_utf8(message->string_table[i]))
			return fail(check, "string is not UTF-8", i);
	}
	return true;
}

static bool check_head(const struct check *check)
{
	const Perftools__Profiles__Profile *message = check->profile->message;
	bool is_default_found = message->default_sample_type == 0;

	for (size_t i = 0; i < message->n_sample_type; i++) {
		const Perftools__Profiles__ValueType *type = message->sample_type[i];

		if (!is_string(check, type->type) || !is_string(check, type->unit))
			return fail(check, "sample type without a name", i);
		is_default_found |= type->type == message->default_sample_type;
	}
	if (!is_default_found)
		return fail(check, "default sample type is no sample type",
			    (uint64_t)message->default_sample_type);
	if (message->default_sample_type != 0 &&
	    (uint64_t)message->default_sample_type < message->n_sample_type)
		return fail(check, "default sample type could be taken for an index",
			    (uint64_t)message->default_sample_type);
	if (message->period_type && (!is_string(check, message->period_type->type) ||
				     !is_string(check, message->period_type->unit)))
		return fail(check, "period type without a name", 0);
	for (size_t i = 0; i < message->n_comment; i++) {
		if (!is_string(check, message->comment[i]))
			return fail(check, "comment is no string", i);
	}
	if (!is_string(check, message->drop_frames) ||
	    !is_string(check, message->keep_frames))
		return fail(check, "frames to drop or keep are no string", 0);
	return true;
}

static bool check_mappings(const struct check *check)
{
	const struct profile *profile = check->profile;

	for (size_t i = 0; i < profile->message->n_mapping; i++) {
		const Perftools__Profiles__Mapping *mapping = profile->mappings[i];

		if (mapping->id == 0 ||
		    (i > 0 && profile->mappings[i - 1]->id == mapping->id))
			return fail(check, "mapping id is 0 or there twice", mapping->id);
		if (mapping->memory_start > mapping->memory_limit)
			return fail(check, "mapping ends before it starts", mapping->id);
		if (!is_string(check, mapping->filename) ||
		    !is_string(check, mapping->build_id))
			return fail(check, "mapping's name is no string", mapping->id);
		for (const char *digit = profile_string(profile, mapping->build_id);
		     *digit; digit++) {
			if (!strchr("0123456789abcdef", *digit))
				return fail(check, "build id is not hexadecimal",
					    mapping->id);
		}
	}
	return true;
}

static bool check_functions(const struct check *check)
{
	const struct profile *profile = check->profile;

	for (size_t i = 0; i < profile->message->n_function; i++) {
		const Perftools__Profiles__Function *function = profile->functions[i];

		if (function->id == 0 ||
		    (i > 0 && profile->functions[i - 1]->id == function->id))
			return fail(check, "function id is 0 or there twice",
				    function->id);
		if (!is_string(check, function->name) || function->name == 0 ||
		    !is_string(check, function->system_name) ||
		    !is_string(check, function->filename))
			return fail(check, "function's name is no string", function->id);
	}
	return true;
}

static bool check_locations(const struct check *check)
{
	const struct profile *profile = check->profile;

	for (size_t i = 0; i < profile->message->n_location; i++) {
		const Perftools__Profiles__Location *location = profile->locations[i];
		const Perftools__Profiles__Mapping *mapping =
			profile_mapping(profile, location->mapping_id);

		if (location->id == 0 ||
		    (i > 0 && profile->locations[i - 1]->id == location->id))
			return fail(check, "location id is 0 or there twice",
				    location->id);
		if (location->mapping_id != 0 && !mapping)
			return fail(check, "location's mapping is not there",
				    location->id);
		if (mapping && (location->address < mapping->memory_start ||
				location->address >= mapping->memory_limit))
			return fail(check, "location is outside of its mapping",
				    location->id);
		for (size_t j = 0; j < location->n_line; j++) {
			if (!profile_function(profile, location->line[j]->function_id))
				return fail(check, "location's function is not there",
					    location->id);
		}
	}
	return true;
}

static bool check_label(struct check *check, const Perftools__Profiles__Label *label,
			uint64_t sample)
{
	uint8_t *kinds;

	if (!is_string(check, label->key) || label->key == 0 ||
	    !is_string(check, label->str) || !is_string(check, label->num_unit))
		return fail(check, "label's key, text or unit is no string", sample);
	if (label->str != 0 && (label->num != 0 || label->num_unit != 0))
		return fail(check, "label is text and number", sample);
	kinds = &check->label_kinds[label->key];
	*kinds |= label->str != 0 ? LABEL_IS_TEXT : LABEL_IS_NUMBER;
	if (*kinds == (LABEL_IS_TEXT | LABEL_IS_NUMBER))
		return fail(check, "label key has text and numbers",
			    (uint64_t)label->key);
	return true;
}

static bool check_sample(struct check *check, uint64_t index)
{
	const struct profile *profile = check->profile;
	const Perftools__Profiles__Sample *sample = profile->message->sample[index];

	if (sample->n_value != profile->message->n_sample_type)
		return fail(check, "sample has not as many values as there are types",
			    index);
	if (sample->n_location_id == 0)
		return fail(check, "sample has no stack", index);
	for (size_t i = 0; i < sample->n_location_id; i++) {
		if (!profile_location(profile, sample->location_id[i]))
			return fail(check, "sample's location is not there", index);
	}
	for (size_t i = 0; i < sample->n_label; i++) {
		if (!check_label(check, sample->label[i], index))
			return false;
		for (size_t j = 0; j < i; j++) {
			if (sample->label[i]->key == sample->label[j]->key)
				return fail(check, "sample has one label twice", index);
		}
	}
	return true;
}

bool profile_check(const struct profile *profile, char *error, size_t error_bytes)
{
	struct check check = {profile, error, error_bytes, NULL};
	bool is_good = check_strings(&check) && check_head(&check) &&
		       check_mappings(&check) && check_functions(&check) &&
		       check_locations(&check);

	check.label_kinds = calloc(profile->message->n_string_table + 1, 1);
	for (size_t i = 0; is_good && i < profile->message->n_sample; i++)
		is_good = check.label_kinds && check_sample(&check, i);
	free(check.label_kinds);
	return is_good;
}
