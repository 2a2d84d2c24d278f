/*
 * zlib's inflate and protobuf-c's unpack, then plain look-ups.
 */
#include "profile_decode.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define GZIP_ONLY 16 /* added to the window's bits */

struct bytes {
	uint8_t *data;
	size_t size_bytes;
};

static bool fail(char *error, size_t error_bytes, const char *text)
{
	snprintf(error, error_bytes, "%s", text);
	return false;
}

/* Of all that is in data, as gunzip would, but that it takes one member only. */
static bool gunzip(const void *data, size_t size_bytes, struct bytes *out, char *error,
		   size_t error_bytes)
{
	z_stream inflater = {.next_in = (Bytef *)(uintptr_t)data,
			     .avail_in = (uInt)size_bytes};
	size_t capacity_bytes = 65536;
	int status = Z_OK;

	out->data = malloc(capacity_bytes);
	out->size_bytes = 0;
	if (!out->data || inflateInit2(&inflater, MAX_WBITS + GZIP_ONLY) != Z_OK)
		return fail(error, error_bytes, "no memory");
	while (status == Z_OK) {
		uint8_t *grown;

		if (out->size_bytes == capacity_bytes) {
			capacity_bytes *= 2;
			grown = realloc(out->data, capacity_bytes);
			if (!grown)
				break;
			out->data = grown;
		}
		inflater.next_out = out->data + out->size_bytes;
		inflater.avail_out = (uInt)(capacity_bytes - out->size_bytes);
		status = inflate(&inflater, Z_NO_FLUSH);
		out->size_bytes = capacity_bytes - inflater.avail_out;
	}
	inflateEnd(&inflater);
	if (status != Z_STREAM_END)
		return fail(error, error_bytes, "not a whole gzip file");
	if (inflater.avail_in > 0)
		return fail(error, error_bytes, "something follows the gzip data");
	return true;
}

#define DEFINE_BY_ID(name, type)                                                         \
	static int compare_##name(const void *a, const void *b)                          \
	{                                                                                \
		const type *const *left = a, *const *right = b;                          \
                                                                                         \
		return ((*left)->id > (*right)->id) - ((*left)->id < (*right)->id);      \
	}                                                                                \
                                                                                         \
	static const type **sort_##name(type *const *items, size_t count)                \
	{                                                                                \
		const type **sorted = calloc(count + 1, sizeof(const type *));           \
                                                                                         \
		if (sorted && count > 0) {                                               \
			memcpy(sorted, items, count * sizeof(const type *));             \
			qsort(sorted, count, sizeof(const type *), compare_##name);      \
		}                                                                        \
		return sorted;                                                           \
	}                                                                                \
                                                                                         \
	const type *profile_##name(const struct profile *profile, uint64_t id)           \
	{                                                                                \
		size_t low = 0, high = profile->message->n_##name;                       \
                                                                                         \
		while (low < high) {                                                     \
			size_t middle = low + (high - low) / 2;                          \
                                                                                         \
			if (profile->name##s[middle]->id < id)                           \
				low = middle + 1;                                        \
			else                                                             \
				high = middle;                                           \
		}                                                                        \
		return low < profile->message->n_##name &&                               \
				       profile->name##s[low]->id == id                   \
			       ? profile->name##s[low]                                   \
			       : NULL;                                                   \
	}

DEFINE_BY_ID(location, Perftools__Profiles__Location)
DEFINE_BY_ID(function, Perftools__Profiles__Function)
DEFINE_BY_ID(mapping, Perftools__Profiles__Mapping)

struct profile *profile_decode(const void *data, size_t size_bytes, char *error,
			       size_t error_bytes)
{
	struct profile *profile = calloc(1, sizeof(*profile));
	struct bytes packed = {NULL, 0};

	if (profile && gunzip(data, size_bytes, &packed, error, error_bytes)) {
		profile->packed_bytes = packed.size_bytes;
		profile->message = perftools__profiles__profile__unpack(
			NULL, packed.size_bytes, packed.data);
		if (!profile->message)
			fail(error, error_bytes, "not a profile");
	}
	free(packed.data);
	if (!profile || !profile->message) {
		free(profile);
		return NULL;
	}
	profile->locations =
		sort_location(profile->message->location, profile->message->n_location);
	profile->functions =
		sort_function(profile->message->function, profile->message->n_function);
	profile->mappings =
		sort_mapping(profile->message->mapping, profile->message->n_mapping);
	return profile;
}

struct profile *profile_decode_file(const char *path, char *error, size_t error_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct profile *profile = NULL;
	struct stat status;
	uint8_t *data;

	if (fd < 0 || fstat(fd, &status) < 0) {
		snprintf(error, error_bytes, "%s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	data = malloc((size_t)status.st_size + 1);
	if (data && read(fd, data, (size_t)status.st_size) == status.st_size)
		profile =
			profile_decode(data, (size_t)status.st_size, error, error_bytes);
	else
		fail(error, error_bytes, "cannot read it whole");
	free(data);
	close(fd);
	return profile;
}

void profile_free(struct profile *profile)
{
	if (!profile)
		return;
	perftools__profiles__profile__free_unpacked(profile->message, NULL);
	free(profile->locations);
	free(profile->functions);
	free(profile->mappings);
	free(profile);
}

const char *profile_string(const struct profile *profile, int64_t index)
{
	if (index < 0 || (uint64_t)index >= profile->message->n_string_table)
		return NULL;
	return profile->message->string_table[index];
}

static bool is_string(const struct profile *profile, int64_t index, const char *text)
{
	const char *string = profile_string(profile, index);

	return string && strcmp(string, text) == 0;
}

int profile_value_index(const struct profile *profile, const char *type)
{
	for (size_t i = 0; i < profile->message->n_sample_type; i++) {
		if (is_string(profile, profile->message->sample_type[i]->type, type))
			return (int)i;
	}
	return -1;
}

const char *profile_location_name(const struct profile *profile, uint64_t location_id)
{
	const Perftools__Profiles__Location *location =
		profile_location(profile, location_id);
	const Perftools__Profiles__Function *function = NULL;
	const char *name = NULL;

	if (location && location->n_line > 0)
		function = profile_function(profile, location->line[0]->function_id);
	if (function)
		name = profile_string(profile, function->name);
	return name ? name : "";
}

bool profile_sample_has(const struct profile *profile,
			const Perftools__Profiles__Sample *sample, const char *function)
{
	for (size_t i = 0; i < sample->n_location_id; i++) {
		if (strcmp(profile_location_name(profile, sample->location_id[i]),
			   function) == 0)
			return true;
	}
	return false;
}

const Perftools__Profiles__Label *
profile_sample_label(const struct profile *profile,
		     const Perftools__Profiles__Sample *sample, const char *key)
{
	for (size_t i = 0; i < sample->n_label; i++) {
		if (is_string(profile, sample->label[i]->key, key))
			return sample->label[i];
	}
	return NULL;
}

static int64_t value_of(const Perftools__Profiles__Sample *sample, int index)
{
	return index >= 0 && (size_t)index < sample->n_value ? sample->value[index] : 0;
}

int64_t profile_total(const struct profile *profile, const char *type)
{
	int index = profile_value_index(profile, type);
	int64_t total = 0;

	for (size_t i = 0; i < profile->message->n_sample; i++)
		total += value_of(profile->message->sample[i], index);
	return total;
}

int64_t profile_sum_with(const struct profile *profile, const char *type,
			 const char *function)
{
	int index = profile_value_index(profile, type);
	int64_t total = 0;

	for (size_t i = 0; i < profile->message->n_sample; i++) {
		if (profile_sample_has(profile, profile->message->sample[i], function))
			total += value_of(profile->message->sample[i], index);
	}
	return total;
}

int64_t profile_sum_leaf(const struct profile *profile, const char *type,
			 const char *function)
{
	int index = profile_value_index(profile, type);
	int64_t total = 0;

	for (size_t i = 0; i < profile->message->n_sample; i++) {
		const Perftools__Profiles__Sample *sample = profile->message->sample[i];

		if (sample->n_location_id > 0 &&
		    strcmp(profile_location_name(profile, sample->location_id[0]),
			   function) == 0)
			total += value_of(sample, index);
	}
	return total;
}

int64_t profile_sum_label(const struct profile *profile, const char *type,
			  const char *key, const char *value)
{
	int index = profile_value_index(profile, type);
	int64_t total = 0;

	for (size_t i = 0; i < profile->message->n_sample; i++) {
		const Perftools__Profiles__Label *label =
			profile_sample_label(profile, profile->message->sample[i], key);

		if (label && label->str && is_string(profile, label->str, value))
			total += value_of(profile->message->sample[i], index);
	}
	return total;
}

const char *profile_comment(const struct profile *profile, size_t index)
{
	return index < profile->message->n_comment
		       ? profile_string(profile, profile->message->comment[index])
		       : NULL;
}
