/*
 * Reads a pprof file back, for tests: gunzip and unpack by the format's own
 * definition, independent of what writes it. Uses the C library's heap.
 */
#ifndef PROFILE_DECODE_H
#define PROFILE_DECODE_H

#include "profile.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct profile {
	Perftools__Profiles__Profile *message;
	size_t packed_bytes; /* before compression */
	/* By id, for look-ups. */
	const Perftools__Profiles__Location **locations;
	const Perftools__Profiles__Function **functions;
	const Perftools__Profiles__Mapping **mappings;
};

/*
 * One gzip member and nothing after it. NULL, with one line in error, if the file
 * can't be read, is not gzip or not a profile.
 */
struct profile *profile_decode_file(const char *path, char *error, size_t error_bytes);
struct profile *profile_decode(const void *data, size_t size_bytes, char *error,
			       size_t error_bytes);
void profile_free(struct profile *profile);

/*
 * Whether everything refers to something that is there: string numbers, ids (unique
 * and not 0), as many values as types, addresses inside of their mappings, no two
 * kinds of value under one label key, valid UTF-8, entry 0 of the strings empty.
 * False with one line in error.
 */
bool profile_check(const struct profile *profile, char *error, size_t error_bytes);

/* NULL for a number out of range. */
const char *profile_string(const struct profile *profile, int64_t index);

/* NULL if there is none of that id. */
const Perftools__Profiles__Location *profile_location(const struct profile *profile,
						      uint64_t id);
const Perftools__Profiles__Function *profile_function(const struct profile *profile,
						      uint64_t id);
const Perftools__Profiles__Mapping *profile_mapping(const struct profile *profile,
						    uint64_t id);

/* Index of a sample type by name ("cpu"), or -1. */
int profile_value_index(const struct profile *profile, const char *type);

/* Name of a location's innermost function; "" if it has none. */
const char *profile_location_name(const struct profile *profile, uint64_t location_id);

/* Sum of a sample type over all samples; 0 if there is no such type. */
int64_t profile_total(const struct profile *profile, const char *type);
/* Over the samples with a function of that very name anywhere in their stack. */
int64_t profile_sum_with(const struct profile *profile, const char *type,
			 const char *function);
/* Over the samples with it as the leaf. */
int64_t profile_sum_leaf(const struct profile *profile, const char *type,
			 const char *function);
/* Over the samples with that text label. */
int64_t profile_sum_label(const struct profile *profile, const char *type,
			  const char *key, const char *value);

bool profile_sample_has(const struct profile *profile,
			const Perftools__Profiles__Sample *sample, const char *function);
/* NULL if the sample has no such label. */
const Perftools__Profiles__Label *
profile_sample_label(const struct profile *profile,
		     const Perftools__Profiles__Sample *sample, const char *key);

/* NULL past the end. */
const char *profile_comment(const struct profile *profile, size_t index);

#endif
