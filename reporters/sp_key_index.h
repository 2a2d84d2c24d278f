/*
 * From 64-bit keys to numbers. Context of everything here: collector.
 */
#ifndef SP_KEY_INDEX_H
#define SP_KEY_INDEX_H

#include <stddef.h>
#include <stdint.h>

#define SP_KEY_NONE UINT32_MAX

struct sp_key_index {
	uint64_t *keys; /* 0 = free */
	uint32_t *items;
	uint32_t capacity, used;
};

/* All zero is an empty one. Keys are not 0. */
void sp_key_index_fini(struct sp_key_index *index);

/* SP_KEY_NONE if there is none. */
uint32_t sp_key_index_find(const struct sp_key_index *index, uint64_t key);

/* A key that is not there yet. 0 or -ENOMEM. */
int sp_key_index_add(struct sp_key_index *index, uint64_t key, uint32_t item);

/* Keeps its memory. */
void sp_key_index_empty(struct sp_key_index *index);

/* Keys of texts and of numbers: begin with SP_KEY_START, mix in one after the other;
 * never 0. Equal keys are taken for equal contents. */
#define SP_KEY_START UINT64_C(0xcbf29ce484222325)
uint64_t sp_key_mix(uint64_t key, uint64_t number);
uint64_t sp_key_mix_text(uint64_t key, const char *text);

#endif
