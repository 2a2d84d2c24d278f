/*
 * Three tables with keys made of what a thing is. A location is its place in the file
 * of its mapping where a build id says which file that is; so code that was loaded at
 * another address is still the same. Context: collector.
 */
#include "sp_profile_pool.h"

#include "sp_heap.h"

#include <errno.h>
#include <string.h>

#define FIRST_ITEMS 64U
#define FIRST_KEY_BYTES ((size_t)256)
/* The name of the mapping that spans whatever generated code was met. */
#define JIT_NAME "[jit]"

typedef Perftools__Profiles__Profile profile_message;
typedef Perftools__Profiles__Mapping mapping_message;
typedef Perftools__Profiles__Function function_message;
typedef Perftools__Profiles__Location location_message;

static const char *text_of(const profile_message *profile, int64_t index)
{
	return profile->string_table[index];
}

/* --- keys --- */

static void key_add(struct sp_pool_key *key, const void *bytes, size_t size_bytes)
{
	size_t wanted_bytes = key->size_bytes + size_bytes;

	if (wanted_bytes > key->capacity_bytes) {
		size_t capacity_bytes = 2 * wanted_bytes + FIRST_KEY_BYTES;
		char *grown = sp_heap_realloc(key->bytes, capacity_bytes);

		if (!grown) {
			key->is_short = true;
			return;
		}
		key->bytes = grown;
		key->capacity_bytes = capacity_bytes;
	}
	memcpy(key->bytes + key->size_bytes, bytes, size_bytes);
	key->size_bytes = wanted_bytes;
}

void sp_pool_key_begin(struct sp_pool_key *key)
{
	key->size_bytes = 0;
}

void sp_pool_key_number(struct sp_pool_key *key, uint64_t number)
{
	key_add(key, &number, sizeof(number));
}

void sp_pool_key_text(struct sp_pool_key *key, const char *text)
{
	/* With its end, so that no two lists of texts are one. */
	key_add(key, text, strlen(text) + 1);
}

/* --- tables --- */

/* The number of what has that key; a new item is 0 but for its message. */
static int find_item(struct sp_pool_table *table, const struct sp_pool_key *key,
		     struct sp_pool_input *input, const void *message, uint32_t *number)
{
	bool is_new;
	int64_t index = key->is_short ? -ENOMEM
				      : sp_string_table_add(&table->keys, key->bytes,
							    key->size_bytes, &is_new);

	if (index < 0)
		return (int)index;
	if (index >= table->capacity_items) {
		uint32_t capacity =
			table->capacity_items ? table->capacity_items * 2 : FIRST_ITEMS;
		struct sp_pool_item *grown =
			sp_heap_realloc(table->items, (size_t)capacity * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		table->items = grown;
		table->capacity_items = capacity;
	}
	if (is_new)
		table->items[index] =
			(struct sp_pool_item){.input = input, .message = message};
	*number = (uint32_t)index + 1;
	return 0;
}

static void fini_table(struct sp_pool_table *table)
{
	sp_string_table_fini(&table->keys);
	sp_heap_free(table->items);
}

/* --- ids --- */

static int init_ids(struct sp_pool_ids *ids, size_t count)
{
	sp_string_table_init(&ids->ids);
	ids->numbers = sp_heap_alloc((count + 1) * sizeof(*ids->numbers));
	return ids->numbers ? 0 : -ENOMEM;
}

/* To be called once for each message, in order: the table counts along. */
static int add_id(struct sp_pool_ids *ids, uint64_t id, uint32_t number)
{
	bool is_new;
	int64_t index =
		sp_string_table_add(&ids->ids, (const char *)&id, sizeof(id), &is_new);

	if (index < 0)
		return (int)index;
	if (!is_new || id == 0)
		return -EINVAL;
	ids->numbers[index] = number;
	return 0;
}

static int find_id(struct sp_pool_ids *ids, uint64_t id, uint32_t *number)
{
	bool is_new;
	int64_t index =
		sp_string_table_add(&ids->ids, (const char *)&id, sizeof(id), &is_new);

	*number = 0;
	if (index < 0)
		return (int)index;
	/* Nobody goes on after that: it does not matter that the table has it now. */
	if (is_new)
		return -EINVAL;
	*number = ids->numbers[index];
	return 0;
}

static void fini_ids(struct sp_pool_ids *ids)
{
	sp_string_table_fini(&ids->ids);
	sp_heap_free(ids->numbers);
}

/* --- what is what --- */

static int add_mapping(struct sp_profile_pool *pool, struct sp_pool_input *input,
		       const mapping_message *message)
{
	const char *build_id = text_of(input->profile, message->build_id);
	const char *filename = text_of(input->profile, message->filename);
	struct sp_pool_item *item;
	uint32_t number;
	int err;

	sp_pool_key_begin(&pool->key);
	sp_pool_key_text(&pool->key, build_id);
	sp_pool_key_text(&pool->key, filename);
	if (strcmp(filename, JIT_NAME) != 0)
		sp_pool_key_number(&pool->key, message->memory_start);
	err = find_item(&pool->mappings, &pool->key, input, message, &number);
	if (err)
		return err;
	item = &pool->mappings.items[number - 1];
	if (item->message == message || message->memory_start < item->memory_start)
		item->memory_start = message->memory_start;
	if (message->memory_limit > item->memory_limit)
		item->memory_limit = message->memory_limit;
	return add_id(&input->mappings, message->id, number);
}

static int add_function(struct sp_profile_pool *pool, struct sp_pool_input *input,
			const function_message *message)
{
	uint32_t number;
	int err;

	sp_pool_key_begin(&pool->key);
	sp_pool_key_text(&pool->key, text_of(input->profile, message->name));
	sp_pool_key_text(&pool->key, text_of(input->profile, message->system_name));
	sp_pool_key_text(&pool->key, text_of(input->profile, message->filename));
	err = find_item(&pool->functions, &pool->key, input, message, &number);
	return err ? err : add_id(&input->functions, message->id, number);
}

/* Code without a file may be another's at the same address a moment later. */
static int key_of_place(struct sp_profile_pool *pool, struct sp_pool_input *input,
			const location_message *message, uint32_t mapping)
{
	const mapping_message *file =
		mapping ? pool->mappings.items[mapping - 1].message : NULL;
	const profile_message *profile =
		mapping ? pool->mappings.items[mapping - 1].input->profile : NULL;
	const char *build_id = file ? text_of(profile, file->build_id) : "";
	uint32_t function = 0;
	int err = 0;

	sp_pool_key_begin(&pool->key);
	sp_pool_key_text(&pool->key, build_id);
	if (build_id[0] != '\0') {
		sp_pool_key_number(&pool->key, message->address - file->memory_start +
						       file->file_offset);
		return 0;
	}
	if (message->n_line)
		err = find_id(&input->functions, message->line[0]->function_id,
			      &function);
	sp_pool_key_number(&pool->key, mapping);
	sp_pool_key_number(&pool->key, message->address);
	sp_pool_key_number(&pool->key, function);
	return err;
}

static int add_location(struct sp_profile_pool *pool, struct sp_pool_input *input,
			const location_message *message)
{
	uint32_t mapping = 0, number, function;
	int err = 0;

	if (message->mapping_id)
		err = find_id(&input->mappings, message->mapping_id, &mapping);
	for (size_t i = 0; i < message->n_line && !err; i++)
		err = find_id(&input->functions, message->line[i]->function_id,
			      &function);
	if (!err)
		err = key_of_place(pool, input, message, mapping);
	if (!err)
		err = find_item(&pool->locations, &pool->key, input, message, &number);
	if (err)
		return err;
	if (pool->locations.items[number - 1].message == message)
		pool->locations.items[number - 1].mapping = mapping;
	return add_id(&input->locations, message->id, number);
}

int sp_profile_pool_add(struct sp_profile_pool *pool, struct sp_pool_input *input,
			const Perftools__Profiles__Profile *profile)
{
	int err;

	input->profile = profile;
	err = init_ids(&input->mappings, profile->n_mapping);
	if (!err)
		err = init_ids(&input->functions, profile->n_function);
	if (!err)
		err = init_ids(&input->locations, profile->n_location);
	for (size_t i = 0; i < profile->n_mapping && !err; i++)
		err = add_mapping(pool, input, profile->mapping[i]);
	for (size_t i = 0; i < profile->n_function && !err; i++)
		err = add_function(pool, input, profile->function[i]);
	for (size_t i = 0; i < profile->n_location && !err; i++)
		err = add_location(pool, input, profile->location[i]);
	return err;
}

int sp_profile_pool_location(struct sp_pool_input *input, uint64_t id, uint32_t *number)
{
	return find_id(&input->locations, id, number);
}

int sp_profile_pool_use(struct sp_profile_pool *pool, uint32_t location)
{
	struct sp_pool_item *item = &pool->locations.items[location - 1];
	const location_message *message = item->message;
	uint32_t function;
	int err = 0;

	if (item->is_used)
		return 0;
	item->is_used = true;
	for (size_t i = 0; i < message->n_line && !err; i++) {
		err = find_id(&item->input->functions, message->line[i]->function_id,
			      &function);
		if (!err)
			pool->functions.items[function - 1].is_used = true;
	}
	return err;
}

/* --- writing --- */

static int64_t copy_text(const struct sp_pool_item *item,
			 struct sp_profile_stream *stream, int64_t index)
{
	return sp_profile_stream_string(stream, text_of(item->input->profile, index));
}

static void put_mapping(const struct sp_pool_item *item, uint32_t number,
			struct sp_profile_stream *stream)
{
	mapping_message copy = *(const mapping_message *)item->message;
	mapping_message *pointer = &copy;
	profile_message part = PERFTOOLS__PROFILES__PROFILE__INIT;

	copy.id = number;
	copy.memory_start = item->memory_start;
	copy.memory_limit = item->memory_limit;
	copy.filename = copy_text(item, stream, copy.filename);
	copy.build_id = copy_text(item, stream, copy.build_id);
	part.n_mapping = 1;
	part.mapping = &pointer;
	sp_profile_stream_put(stream, &part);
}

static void put_function(const struct sp_pool_item *item, uint32_t number,
			 struct sp_profile_stream *stream)
{
	function_message copy = *(const function_message *)item->message;
	function_message *pointer = &copy;
	profile_message part = PERFTOOLS__PROFILES__PROFILE__INIT;

	copy.id = number;
	copy.name = copy_text(item, stream, copy.name);
	copy.system_name = copy_text(item, stream, copy.system_name);
	copy.filename = copy_text(item, stream, copy.filename);
	part.n_function = 1;
	part.function = &pointer;
	sp_profile_stream_put(stream, &part);
}

static int put_location(const struct sp_pool_item *item, uint32_t number,
			struct sp_profile_stream *stream)
{
	location_message copy = *(const location_message *)item->message;
	location_message *pointer = &copy;
	profile_message part = PERFTOOLS__PROFILES__PROFILE__INIT;
	Perftools__Profiles__Line *lines =
		sp_heap_alloc((copy.n_line + 1) * sizeof(*lines));
	Perftools__Profiles__Line **pointers =
		sp_heap_alloc((copy.n_line + 1) * sizeof(*pointers));
	int err = lines && pointers ? 0 : -ENOMEM;

	for (size_t i = 0; i < copy.n_line && !err; i++) {
		uint32_t function;

		err = find_id(&item->input->functions, copy.line[i]->function_id,
			      &function);
		lines[i] = *copy.line[i];
		lines[i].function_id = err ? 0 : function;
		pointers[i] = &lines[i];
	}
	copy.id = number;
	copy.mapping_id = item->mapping;
	copy.line = pointers;
	part.n_location = 1;
	part.location = &pointer;
	if (!err)
		sp_profile_stream_put(stream, &part);
	sp_heap_free(pointers);
	sp_heap_free(lines);
	return err;
}

int sp_profile_pool_put(const struct sp_profile_pool *pool,
			struct sp_profile_stream *stream)
{
	int err = 0;

	for (uint32_t i = 0; i < pool->mappings.keys.count; i++)
		put_mapping(&pool->mappings.items[i], i + 1, stream);
	for (uint32_t i = 0; i < pool->functions.keys.count; i++) {
		if (pool->functions.items[i].is_used)
			put_function(&pool->functions.items[i], i + 1, stream);
	}
	for (uint32_t i = 0; i < pool->locations.keys.count && !err; i++) {
		if (pool->locations.items[i].is_used)
			err = put_location(&pool->locations.items[i], i + 1, stream);
	}
	return err;
}

/* --- life --- */

void sp_profile_pool_init(struct sp_profile_pool *pool)
{
	memset(pool, 0, sizeof(*pool));
}

void sp_profile_pool_fini(struct sp_profile_pool *pool)
{
	fini_table(&pool->mappings);
	fini_table(&pool->functions);
	fini_table(&pool->locations);
	sp_heap_free(pool->key.bytes);
}

void sp_pool_input_fini(struct sp_pool_input *input)
{
	fini_ids(&input->mappings);
	fini_ids(&input->functions);
	fini_ids(&input->locations);
}
