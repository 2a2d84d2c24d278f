/*
 * protobuf-c's append callback feeding zlib's deflate feeding a sink. Context:
 * collector. The first error sticks and is what close returns; memory is the
 * compressor, two small buffers and the texts, whatever the size of the profile. What
 * fits a page of a disk is stored as it is: compressing it would save nobody anything,
 * and cost a program that only starts and ends 0.1 ms.
 */
#include "sp_profile_stream.h"

#include "sp_heap.h"
#include "sp_string_table.h"
#include "sp_utf8.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <zlib.h>

/* As Go writes its own: a quarter larger than the usual level, in half the time. */
#define COMPRESSION_LEVEL Z_BEST_SPEED
#define WINDOW_BITS_GZIP 16 /* added to the window's: write gzip's header */
#define WINDOW_BITS 15
#define MEMORY_LEVEL 8
/* For what fits a small window anyhow: 32 KiB of state in place of 256, which
 * would be zeroed and touched for nothing. */
#define SMALL_PROFILE_BYTES ((size_t)8192)
#define SMALL_WINDOW_BITS 12
#define SMALL_MEMORY_LEVEL 5

struct sp_profile_stream {
	ProtobufCBuffer buffer; /* first member: what protobuf-c hands back to us */
	struct sp_sink *sink;
	struct sp_string_table strings;
	z_stream deflater;
	bool is_small;
	bool is_deflating;
	int error;
	size_t packed_bytes;
	/* protobuf-c appends byte by byte; deflate wants more at a time. */
	uint8_t packed[4000];
	uint8_t compressed[8192];
};

static void *heap_alloc_for_zlib(void *opaque, uInt count, uInt size_bytes)
{
	size_t total_bytes;

	(void)opaque;
	if (__builtin_mul_overflow((size_t)count, (size_t)size_bytes, &total_bytes))
		return Z_NULL;
	return sp_heap_alloc(total_bytes);
}

static void heap_free_for_zlib(void *opaque, void *ptr)
{
	(void)opaque;
	sp_heap_free(ptr);
}

static uint8_t *put_little_endian(uint8_t *at, uint32_t value, unsigned int size_bytes)
{
	for (unsigned int i = 0; i < size_bytes; i++)
		*at++ = (uint8_t)(value >> 8 * i);
	return at;
}

/* All there is: a gzip file of one block that is not compressed (RFC 1951, 1952). */
static void store_packed(struct sp_profile_stream *stream)
{
	static const uint8_t header[] = {0x1f, 0x8b, Z_DEFLATED, 0, 0, 0, 0, 0, 0, 3};
	const uint32_t size_bytes = (uint32_t)stream->packed_bytes;
	uint8_t *at = stream->compressed;

	_Static_assert(sizeof(stream->packed) <= UINT16_MAX, "a block takes so much");
	memcpy(at, header, sizeof(header));
	at += sizeof(header);
	*at++ = 1; /* the last block, stored */
	at = put_little_endian(at, size_bytes, 2);
	at = put_little_endian(at, ~size_bytes, 2);
	memcpy(at, stream->packed, size_bytes);
	at += size_bytes;
	at = put_little_endian(at, (uint32_t)crc32(0, stream->packed, size_bytes), 4);
	at = put_little_endian(at, size_bytes, 4);
	stream->error = stream->sink->write(stream->sink, stream->compressed,
					    (size_t)(at - stream->compressed));
}

static int begin_deflating(struct sp_profile_stream *stream)
{
	int status;

	memset(&stream->deflater, 0, sizeof(stream->deflater));
	stream->deflater.zalloc = heap_alloc_for_zlib;
	stream->deflater.zfree = heap_free_for_zlib;
	status = deflateInit2(
		&stream->deflater, COMPRESSION_LEVEL, Z_DEFLATED,
		(stream->is_small ? SMALL_WINDOW_BITS : WINDOW_BITS) + WINDOW_BITS_GZIP,
		stream->is_small ? SMALL_MEMORY_LEVEL : MEMORY_LEVEL, Z_DEFAULT_STRATEGY);
	if (status != Z_OK)
		return status == Z_MEM_ERROR ? -ENOMEM : -EINVAL;
	stream->is_deflating = true;
	return 0;
}

static void compress_packed(struct sp_profile_stream *stream, int flush)
{
	z_stream *deflater = &stream->deflater;

	if (!stream->is_deflating) {
		if (flush == Z_FINISH) {
			store_packed(stream);
			return;
		}
		stream->error = begin_deflating(stream);
		if (stream->error)
			return;
	}
	deflater->next_in = stream->packed;
	deflater->avail_in = (uInt)stream->packed_bytes;
	stream->packed_bytes = 0;
	do {
		size_t out_bytes;

		deflater->next_out = stream->compressed;
		deflater->avail_out = sizeof(stream->compressed);
		if (deflate(deflater, flush) == Z_STREAM_ERROR) {
			stream->error = -EIO;
			return;
		}
		out_bytes = sizeof(stream->compressed) - deflater->avail_out;
		if (out_bytes > 0)
			stream->error = stream->sink->write(
				stream->sink, stream->compressed, out_bytes);
	} while (stream->error == 0 && deflater->avail_out == 0);
}

static void append_packed(ProtobufCBuffer *buffer, size_t size_bytes, const uint8_t *data)
{
	struct sp_profile_stream *stream = (struct sp_profile_stream *)buffer;

	while (size_bytes > 0 && stream->error == 0) {
		size_t room_bytes = sizeof(stream->packed) - stream->packed_bytes;
		size_t part_bytes = size_bytes < room_bytes ? size_bytes : room_bytes;

		memcpy(stream->packed + stream->packed_bytes, data, part_bytes);
		stream->packed_bytes += part_bytes;
		data += part_bytes;
		size_bytes -= part_bytes;
		if (stream->packed_bytes == sizeof(stream->packed))
			compress_packed(stream, Z_NO_FLUSH);
	}
}

static void put_string(struct sp_profile_stream *stream, char *text)
{
	Perftools__Profiles__Profile part = PERFTOOLS__PROFILES__PROFILE__INIT;

	part.n_string_table = 1;
	part.string_table = &text;
	sp_profile_stream_put(stream, &part);
}

/* text_bytes of text: all of it, unless it had to be cut. */
static void put_new_string(struct sp_profile_stream *stream, const char *text,
			   size_t text_bytes)
{
	char *copy;

	if (text[text_bytes] == '\0' && sp_utf8_is_valid(text, text_bytes)) {
		put_string(stream, (char *)text);
		return;
	}
	copy = sp_heap_alloc(SP_UTF8_ESCAPE_BYTES * text_bytes + 1);
	if (!copy) {
		stream->error = -ENOMEM;
		return;
	}
	sp_utf8_escape(text, text_bytes, copy);
	put_string(stream, copy);
	sp_heap_free(copy);
}

int sp_profile_stream_open(struct sp_profile_stream **stream, struct sp_sink *sink,
			   size_t expected_bytes)
{
	struct sp_profile_stream *opened = sp_heap_alloc(sizeof(*opened));
	char empty[1] = "";
	bool is_new;

	if (!opened)
		return -ENOMEM;
	opened->buffer.append = append_packed;
	opened->sink = sink;
	opened->is_small = expected_bytes <= SMALL_PROFILE_BYTES;
	opened->is_deflating = false;
	opened->error = 0;
	opened->packed_bytes = 0;
	sp_string_table_init(&opened->strings);
	/* Entry 0 is "" by definition of the format. */
	if (sp_string_table_add(&opened->strings, empty, 0, &is_new) < 0)
		opened->error = -ENOMEM;
	put_string(opened, empty);
	*stream = opened;
	return 0;
}

int64_t sp_profile_stream_string(struct sp_profile_stream *stream, const char *text)
{
	size_t text_bytes;
	int64_t index;
	bool is_new;

	if (!text || stream->error)
		return 0;
	text_bytes = strnlen(text, SP_PROFILE_STRING_BYTES_MAX + 1);
	if (text_bytes > SP_PROFILE_STRING_BYTES_MAX)
		text_bytes = sp_utf8_cut(text, SP_PROFILE_STRING_BYTES_MAX);
	index = sp_string_table_add(&stream->strings, text, text_bytes, &is_new);
	if (index < 0) {
		stream->error = (int)index;
		return 0;
	}
	if (is_new)
		put_new_string(stream, text, text_bytes);
	return index;
}

void sp_profile_stream_put(struct sp_profile_stream *stream,
			   const Perftools__Profiles__Profile *part)
{
	if (stream->error == 0)
		protobuf_c_message_pack_to_buffer(&part->base, &stream->buffer);
}

int sp_profile_stream_error(const struct sp_profile_stream *stream)
{
	return stream->error;
}

int sp_profile_stream_close(struct sp_profile_stream *stream)
{
	int err;

	if (stream->error == 0)
		compress_packed(stream, Z_FINISH);
	err = stream->error;
	if (stream->is_deflating)
		deflateEnd(&stream->deflater);
	sp_string_table_fini(&stream->strings);
	sp_heap_free(stream);
	return err;
}
