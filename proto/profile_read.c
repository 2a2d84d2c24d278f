/*
 * zlib's inflate, protobuf-c's unpack, then a look at everything that is a number of
 * something else. Damaged files are refused, however they are damaged. Context:
 * collector.
 */
#include "sp_profile_read.h"

#include "sp_heap.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <zlib.h>

#define GZIP_ONLY 16 /* added to the window's bits */
#define WINDOW_BITS 15
#define FIRST_BYTES ((size_t)65536)

typedef Perftools__Profiles__Profile profile_message;

static void *alloc_for_zlib(void *opaque, uInt count, uInt size_bytes)
{
	size_t total_bytes;

	(void)opaque;
	if (__builtin_mul_overflow((size_t)count, (size_t)size_bytes, &total_bytes))
		return Z_NULL;
	return sp_heap_alloc(total_bytes);
}

static void free_for_zlib(void *opaque, void *ptr)
{
	(void)opaque;
	sp_heap_free(ptr);
}

static void *alloc_for_unpack(void *opaque, size_t size_bytes)
{
	(void)opaque;
	return sp_heap_alloc(size_bytes);
}

static ProtobufCAllocator unpack_allocator = {
	.alloc = alloc_for_unpack,
	.free = free_for_zlib,
};

/* --- gzip --- */

struct unpacked {
	uint8_t *bytes;
	size_t size_bytes, capacity_bytes;
};

static int grow(struct unpacked *unpacked)
{
	size_t capacity_bytes =
		unpacked->capacity_bytes ? unpacked->capacity_bytes * 2 : FIRST_BYTES;
	uint8_t *grown;

	if (capacity_bytes > SP_PROFILE_READ_BYTES_MAX)
		return -EFBIG;
	grown = sp_heap_realloc(unpacked->bytes, capacity_bytes);
	if (!grown)
		return -ENOMEM;
	unpacked->bytes = grown;
	unpacked->capacity_bytes = capacity_bytes;
	return 0;
}

static int inflate_all(z_stream *inflater, struct unpacked *unpacked)
{
	int status = Z_OK;

	while (status == Z_OK) {
		size_t room_bytes;

		if (unpacked->size_bytes == unpacked->capacity_bytes) {
			int err = grow(unpacked);

			if (err)
				return err;
		}
		room_bytes = unpacked->capacity_bytes - unpacked->size_bytes;
		inflater->next_out = unpacked->bytes + unpacked->size_bytes;
		inflater->avail_out = (uInt)room_bytes;
		status = inflate(inflater, Z_NO_FLUSH);
		unpacked->size_bytes += room_bytes - inflater->avail_out;
	}
	if (status == Z_MEM_ERROR)
		return -ENOMEM;
	return status == Z_STREAM_END && inflater->avail_in == 0 ? 0 : -EINVAL;
}

static int gunzip(const void *bytes, size_t size_bytes, struct unpacked *unpacked)
{
	z_stream inflater = {
		.next_in = (Bytef *)(uintptr_t)bytes,
		.avail_in = (uInt)size_bytes,
		.zalloc = alloc_for_zlib,
		.zfree = free_for_zlib,
	};
	int err;

	if (size_bytes > SP_PROFILE_READ_BYTES_MAX)
		return -EFBIG;
	if (inflateInit2(&inflater, WINDOW_BITS + GZIP_ONLY) != Z_OK)
		return -ENOMEM;
	err = inflate_all(&inflater, unpacked);
	inflateEnd(&inflater);
	return err;
}

/* --- sense --- */

static bool is_text(const profile_message *profile, int64_t index)
{
	return index >= 0 && (uint64_t)index < profile->n_string_table;
}

static bool is_type(const profile_message *profile,
		    const Perftools__Profiles__ValueType *type)
{
	return is_text(profile, type->type) && is_text(profile, type->unit);
}

static const char *check_head(const profile_message *profile)
{
	if (profile->n_string_table == 0 || profile->string_table[0][0] != '\0')
		return "its texts begin wrong";
	for (size_t i = 0; i < profile->n_sample_type; i++) {
		if (!is_type(profile, profile->sample_type[i]))
			return "a value has no name";
	}
	if (profile->period_type && !is_type(profile, profile->period_type))
		return "its period has no name";
	for (size_t i = 0; i < profile->n_comment; i++) {
		if (!is_text(profile, profile->comment[i]))
			return "a comment has no text";
	}
	if (!is_text(profile, profile->drop_frames) ||
	    !is_text(profile, profile->keep_frames) ||
	    !is_text(profile, profile->default_sample_type))
		return "a text of it is missing";
	return NULL;
}

static const char *check_code(const profile_message *profile)
{
	for (size_t i = 0; i < profile->n_mapping; i++) {
		if (!is_text(profile, profile->mapping[i]->filename) ||
		    !is_text(profile, profile->mapping[i]->build_id))
			return "a mapping has no name";
	}
	for (size_t i = 0; i < profile->n_function; i++) {
		if (!is_text(profile, profile->function[i]->name) ||
		    !is_text(profile, profile->function[i]->system_name) ||
		    !is_text(profile, profile->function[i]->filename))
			return "a function has no name";
	}
	return NULL;
}

static const char *check_samples(const profile_message *profile)
{
	for (size_t i = 0; i < profile->n_sample; i++) {
		const Perftools__Profiles__Sample *sample = profile->sample[i];

		if (sample->n_value != profile->n_sample_type)
			return "a sample has too many values or too few";
		for (size_t j = 0; j < sample->n_label; j++) {
			if (!is_text(profile, sample->label[j]->key) ||
			    !is_text(profile, sample->label[j]->str) ||
			    !is_text(profile, sample->label[j]->num_unit))
				return "a label has no text";
		}
	}
	return NULL;
}

/* --- all --- */

int sp_profile_read(const void *bytes, size_t size_bytes,
		    Perftools__Profiles__Profile **profile, const char **problem)
{
	struct unpacked unpacked = {NULL, 0, 0};
	profile_message *message = NULL;
	int err = gunzip(bytes, size_bytes, &unpacked);

	*problem = err == -EINVAL  ? "not a whole gzip file"
		   : err == -EFBIG ? "too large for a profile"
				   : "no memory";
	if (!err) {
		message = perftools__profiles__profile__unpack(
			&unpack_allocator, unpacked.size_bytes, unpacked.bytes);
		err = message ? 0 : -EINVAL;
		*problem = "not a profile";
	}
	sp_heap_free(unpacked.bytes);
	if (err)
		return err;
	*problem = check_head(message);
	if (!*problem)
		*problem = check_code(message);
	if (!*problem)
		*problem = check_samples(message);
	if (*problem) {
		sp_profile_read_free(message);
		return -EINVAL;
	}
	*profile = message;
	return 0;
}

void sp_profile_read_free(Perftools__Profiles__Profile *profile)
{
	perftools__profiles__profile__free_unpacked(profile, &unpack_allocator);
}
