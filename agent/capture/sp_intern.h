/*
 * Finding what was appended to the recording by its hash: an index in private memory
 * that hooks of all threads read and add to without a lock. Nothing is ever taken out,
 * so a search may end at the first free place. Context: hook.
 */
#ifndef SP_INTERN_H
#define SP_INTERN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sp_recording.h"

#define SP_INTERN_NONE UINT32_MAX
#define SP_INTERN_LEVELS 8U

/* Each level is four times the last; a full bucket goes on one level up. */
struct sp_intern {
	_Atomic(_Atomic uint64_t *) levels[SP_INTERN_LEVELS];
	/* The full hash of an item that is in the index. */
	uint64_t (*hash_of)(uint32_t item);
};

/* The item with this hash, or SP_INTERN_NONE. */
uint32_t sp_intern_find(const struct sp_intern *index, uint64_t hash);

/* Adds an item that is filled. Returns the one that stands for hash from now on:
 * another thread may have been first. */
uint32_t sp_intern_add(struct sp_intern *index, uint64_t hash, uint32_t item);

/* Context: signal, in a fork child. The memory stays where what a handler interrupted
 * may still look there (sp_capture_is_cut_off()). */
void sp_intern_forget(struct sp_intern *index);

/* Items of an append-only section, now the caller's alone; false: no storage. */
bool sp_intern_append(struct sp_recording *recording, enum sp_section_kind kind,
		      uint64_t items, uint32_t *first);

/* Order matters; good in all bits, if hash is: begin with a constant. Context: signal. */
static inline uint64_t sp_intern_mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * UINT64_C(0x9fb21c651e98df25);
	return hash ^ hash >> 32;
}

#endif
