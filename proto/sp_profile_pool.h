/*
 * The code of several profiles as that of one. Mappings, functions and locations are
 * told apart by what they are and not by their ids, which differ from file to file.
 *
 * Context of everything here: collector. Profiles are as sp_profile_read() gives them
 * and outlive the pool. Functions return 0, -ENOMEM, or -EINVAL for a profile that
 * refers to what it does not have.
 */
#ifndef SP_PROFILE_POOL_H
#define SP_PROFILE_POOL_H

#include "profile.pb-c.h"
#include "sp_profile_stream.h"
#include "sp_string_table.h"

#include <stdbool.h>

/* Bytes that tell things apart, put together piece by piece. */
struct sp_pool_key {
	char *bytes;
	size_t size_bytes, capacity_bytes;
	bool is_short; /* of memory */
};

void sp_pool_key_begin(struct sp_pool_key *key);
void sp_pool_key_number(struct sp_pool_key *key, uint64_t number);
void sp_pool_key_text(struct sp_pool_key *key, const char *text);

/* From the ids of one profile to numbers in the pool, which count from 1. */
struct sp_pool_ids {
	struct sp_string_table ids;
	uint32_t *numbers;
};

struct sp_pool_input {
	const Perftools__Profiles__Profile *profile;
	struct sp_pool_ids mappings, functions, locations;
};

struct sp_pool_item {
	struct sp_pool_input *input; /* whose message it is */
	const void *message;
	uint64_t memory_start, memory_limit; /* of a mapping */
	uint32_t mapping;		     /* of a location: its number, 0 = none */
	bool is_used;
};

struct sp_pool_table {
	struct sp_string_table keys;
	struct sp_pool_item *items; /* number - 1 */
	uint32_t capacity_items;
};

struct sp_profile_pool {
	struct sp_pool_table mappings, functions, locations;
	struct sp_pool_key key;
};

void sp_profile_pool_init(struct sp_profile_pool *pool);
void sp_profile_pool_fini(struct sp_profile_pool *pool);

/* input is zeroed and outlives the pool; to be released by the caller, also after
 * failure. What is in the pool already keeps the message that it has. */
int sp_profile_pool_add(struct sp_profile_pool *pool, struct sp_pool_input *input,
			const Perftools__Profiles__Profile *profile);
void sp_pool_input_fini(struct sp_pool_input *input);

/* The number of a location of that profile. */
int sp_profile_pool_location(struct sp_pool_input *input, uint64_t id, uint32_t *number);

/* It will be written, and its functions. */
int sp_profile_pool_use(struct sp_profile_pool *pool, uint32_t location);

/* Writes all mappings, and the locations and functions that are used; ids are numbers. */
int sp_profile_pool_put(const struct sp_profile_pool *pool,
			struct sp_profile_stream *stream);

#endif
