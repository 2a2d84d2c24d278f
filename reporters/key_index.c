/*
 * Open addressing, at most half full; nothing is taken out but all at once. Context:
 * collector.
 */
#include "sp_key_index.h"

#include "sp_heap.h"

#include <errno.h>
#include <string.h>

#define CAPACITY_FIRST 64U

void sp_key_index_fini(struct sp_key_index *index)
{
	sp_heap_free(index->keys);
	sp_heap_free(index->items);
	*index = (struct sp_key_index){0};
}

static uint32_t place_of(const struct sp_key_index *index, uint64_t key)
{
	uint32_t at = (uint32_t)(key ^ key >> 32) * 0x9e3779b1U & (index->capacity - 1);

	while (index->keys[at] && index->keys[at] != key)
		at = (at + 1) & (index->capacity - 1);
	return at;
}

uint32_t sp_key_index_find(const struct sp_key_index *index, uint64_t key)
{
	uint32_t at;

	if (!index->used)
		return SP_KEY_NONE;
	at = place_of(index, key);
	return index->keys[at] ? index->items[at] : SP_KEY_NONE;
}

static int grow(struct sp_key_index *index)
{
	uint32_t capacity = index->capacity ? index->capacity * 2 : CAPACITY_FIRST;
	struct sp_key_index grown = {
		.keys = sp_heap_zalloc(capacity * sizeof(*grown.keys)),
		.items = sp_heap_alloc(capacity * sizeof(*grown.items)),
		.capacity = capacity,
		.used = index->used,
	};

	if (!grown.keys || !grown.items) {
		sp_key_index_fini(&grown);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < index->capacity; i++) {
		uint32_t at;

		if (!index->keys[i])
			continue;
		at = place_of(&grown, index->keys[i]);
		grown.keys[at] = index->keys[i];
		grown.items[at] = index->items[i];
	}
	sp_key_index_fini(index);
	*index = grown;
	return 0;
}

int sp_key_index_add(struct sp_key_index *index, uint64_t key, uint32_t item)
{
	int err = index->used * 2 >= index->capacity ? grow(index) : 0;
	uint32_t at;

	if (err)
		return err;
	at = place_of(index, key);
	index->keys[at] = key;
	index->items[at] = item;
	index->used++;
	return 0;
}

void sp_key_index_empty(struct sp_key_index *index)
{
	if (index->used)
		memset(index->keys, 0, index->capacity * sizeof(*index->keys));
	index->used = 0;
}

uint64_t sp_key_mix(uint64_t key, uint64_t number)
{
	key = (key ^ number) * UINT64_C(0x9e3779b97f4a7c15);
	key ^= key >> 29;
	key *= UINT64_C(0xbf58476d1ce4e5b9);
	key ^= key >> 32;
	return key ? key : 1;
}

uint64_t sp_key_mix_text(uint64_t key, const char *text)
{
	size_t bytes = strlen(text);

	key = sp_key_mix(key, bytes);
	for (size_t i = 0; i < bytes; i++)
		key = sp_key_mix(key, (unsigned char)text[i]);
	return key;
}
