/*
 * A hash table over texts kept in chunks, both in the agent's own heap. Context:
 * collector. Numbers are dense and never change, since the texts that they stand
 * for have already been written out.
 */
#include "sp_string_table.h"

#include "sp_heap.h"

#include <errno.h>
#include <string.h>

#define FIRST_CAPACITY_ENTRIES 64
#define CAPACITY_ENTRIES_MAX (UINT32_C(1) << 30)
#define FIRST_CHUNK_BYTES ((size_t)2048)
#define CHUNK_BYTES_MAX ((size_t)65536)

struct sp_string_entry {
	const char *text;
	uint32_t text_bytes;
	uint32_t hash;
};

struct sp_string_chunk {
	struct sp_string_chunk *older;
	size_t used_bytes;
	size_t capacity_bytes;
	char bytes[];
};

static uint32_t hash_text(const char *text, size_t text_bytes)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	for (size_t i = 0; i < text_bytes; i++)
		hash = (hash ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
	return (uint32_t)(hash ^ hash >> 32);
}

static uint32_t slot_mask(const struct sp_string_table *table)
{
	return table->capacity_entries * 2 - 1;
}

static void insert_slot(struct sp_string_table *table, uint32_t index)
{
	uint32_t mask = slot_mask(table);
	uint32_t slot = table->entries[index].hash & mask;

	while (table->slots[slot] != 0)
		slot = (slot + 1) & mask;
	table->slots[slot] = index + 1;
}

static int grow(struct sp_string_table *table)
{
	uint32_t capacity = table->capacity_entries ? table->capacity_entries * 2
						    : FIRST_CAPACITY_ENTRIES;
	struct sp_string_entry *entries;
	uint32_t *slots;

	if (capacity > CAPACITY_ENTRIES_MAX)
		return -ENOMEM;
	slots = sp_heap_zalloc((size_t)capacity * 2 * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	entries = sp_heap_realloc(table->entries, (size_t)capacity * sizeof(*entries));
	if (!entries) {
		sp_heap_free(slots);
		return -ENOMEM;
	}
	sp_heap_free(table->slots);
	table->entries = entries;
	table->slots = slots;
	table->capacity_entries = capacity;
	for (uint32_t i = 0; i < table->count; i++)
		insert_slot(table, i);
	return 0;
}

static const char *keep_text(struct sp_string_table *table, const char *text,
			     size_t text_bytes)
{
	struct sp_string_chunk *chunk = table->newest_chunk;
	char *copy;

	if (!chunk || chunk->capacity_bytes - chunk->used_bytes < text_bytes) {
		size_t capacity = chunk ? chunk->capacity_bytes * 2 : FIRST_CHUNK_BYTES;

		if (capacity > CHUNK_BYTES_MAX)
			capacity = CHUNK_BYTES_MAX;
		if (capacity < text_bytes)
			capacity = text_bytes;
		chunk = sp_heap_alloc(sizeof(*chunk) + capacity);
		if (!chunk)
			return NULL;
		chunk->older = table->newest_chunk;
		chunk->used_bytes = 0;
		chunk->capacity_bytes = capacity;
		table->newest_chunk = chunk;
	}
	copy = chunk->bytes + chunk->used_bytes;
	memcpy(copy, text, text_bytes);
	chunk->used_bytes += text_bytes;
	return copy;
}

void sp_string_table_init(struct sp_string_table *table)
{
	memset(table, 0, sizeof(*table));
}

void sp_string_table_fini(struct sp_string_table *table)
{
	struct sp_string_chunk *chunk = table->newest_chunk;

	while (chunk) {
		struct sp_string_chunk *older = chunk->older;

		sp_heap_free(chunk);
		chunk = older;
	}
	sp_heap_free(table->slots);
	sp_heap_free(table->entries);
	sp_string_table_init(table);
}

int64_t sp_string_table_add(struct sp_string_table *table, const char *text,
			    size_t text_bytes, bool *is_new)
{
	uint32_t hash = hash_text(text, text_bytes);
	const char *copy;

	*is_new = false;
	if (text_bytes > UINT32_MAX)
		return -ENOMEM;
	if (table->count == table->capacity_entries) {
		int err = grow(table);

		if (err)
			return err;
	}
	for (uint32_t slot = hash & slot_mask(table); table->slots[slot] != 0;
	     slot = (slot + 1) & slot_mask(table)) {
		uint32_t index = table->slots[slot] - 1;
		const struct sp_string_entry *entry = &table->entries[index];

		if (entry->hash == hash && entry->text_bytes == text_bytes &&
		    memcmp(entry->text, text, text_bytes) == 0)
			return index;
	}
	copy = keep_text(table, text, text_bytes);
	if (!copy)
		return -ENOMEM;
	table->entries[table->count] = (struct sp_string_entry){
		.text = copy, .text_bytes = (uint32_t)text_bytes, .hash = hash};
	insert_slot(table, table->count);
	*is_new = true;
	return table->count++;
}
