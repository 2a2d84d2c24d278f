/*
 * A pprof file written piece by piece: protobuf-c packs one message at a time,
 * gzip takes what it packs, a sink takes what gzip gives. Pieces of a protobuf
 * message may be written one after the other, so that nobody ever holds a whole
 * profile; and nothing here allocates but from the agent's own heap.
 *
 * Context of everything here: collector.
 */
#ifndef SP_PROFILE_STREAM_H
#define SP_PROFILE_STREAM_H

#include "profile.pb-c.h"
#include "sp_sink.h"

#include <stddef.h>
#include <stdint.h>

/* Longer texts are cut: a command line can have megabytes, and readers have limits. */
#define SP_PROFILE_STRING_BYTES_MAX ((size_t)32768)

struct sp_profile_stream;

/*
 * Starts a file. expected_bytes: how much will be packed, roughly; a small
 * profile gets a small compressor. 0, or -errno with nothing to close.
 */
int sp_profile_stream_open(struct sp_profile_stream **stream, struct sp_sink *sink,
			   size_t expected_bytes);

/*
 * The number of a text in the profile's string table, writing it if it is new;
 * 0 for NULL and "". What is not UTF-8 in it is written as \xNN.
 */
int64_t sp_profile_stream_string(struct sp_profile_stream *stream, const char *text);

/*
 * Writes what is set in part, which the profile gets merged with: repeated fields
 * are appended to it.
 */
void sp_profile_stream_put(struct sp_profile_stream *stream,
			   const Perftools__Profiles__Profile *part);

/* The first error, which made all calls after it do nothing; 0 if there was none. */
int sp_profile_stream_error(const struct sp_profile_stream *stream);

/* Finishes the file and forgets the stream. 0, or the first error. */
int sp_profile_stream_close(struct sp_profile_stream *stream);

#endif
