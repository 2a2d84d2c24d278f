/*
 * The index over addresses (heap_index.c), as whoever looks something up in it sees it:
 * that happens twice for every block, so it is expanded in place. Context: hook, and
 * every block is sampled.
 */
#ifndef HEAP_INDEX_H
#define HEAP_INDEX_H

#include "sp_compiler.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SP_HEAP_SLOT_SHIFT 4U
#define SP_HEAP_LEAF_SHIFT 22U
#define SP_HEAP_FORK_BITS 13U /* of a branch, and of the root */
#define SP_HEAP_INDEX_BITS (SP_HEAP_LEAF_SHIFT + 2 * SP_HEAP_FORK_BITS)

#define SP_HEAP_FORKS (UINT64_C(1) << SP_HEAP_FORK_BITS)
#define SP_HEAP_LEAF_SLOTS (UINT64_C(1) << (SP_HEAP_LEAF_SHIFT - SP_HEAP_SLOT_SHIFT))

struct sp_heap_leaf {
	_Atomic uint32_t slots[SP_HEAP_LEAF_SLOTS];
};

struct sp_heap_branch {
	/* Of multiples of 16, and of the 8 after each. */
	_Atomic(struct sp_heap_leaf *) leaves[SP_HEAP_FORKS][2];
};

struct sp_heap_root {
	_Atomic(struct sp_heap_branch *) branches[SP_HEAP_FORKS];
};

/* NULL until the process's first recording. */
extern SP_HIDDEN _Atomic(struct sp_heap_root *) sp_heap_root;

/* Context: signal, before the recording's first use. */
void sp_heap_index_begin(void);
/* The slot of an address, made if need be; NULL: no memory, or no such address. System
 * calls. */
_Atomic uint32_t *sp_heap_index_make_slot(uint64_t address);

static inline uint64_t sp_heap_index_bits(uint64_t address, uint32_t shift)
{
	return address >> shift & (SP_HEAP_FORKS - 1);
}

static inline _Atomic uint32_t *sp_heap_index_slot_in(struct sp_heap_leaf *leaf,
						      uint64_t address)
{
	return &leaf->slots[address >> SP_HEAP_SLOT_SHIFT & (SP_HEAP_LEAF_SLOTS - 1)];
}

/* Holds the number of the address's entry, from 1, or 0; NULL: none was made yet. */
static inline _Atomic uint32_t *sp_heap_index_slot(uint64_t address)
{
	/* Acquire: pair with whoever made them. */
	struct sp_heap_root *root =
		atomic_load_explicit(&sp_heap_root, memory_order_acquire);
	struct sp_heap_branch *branch;
	struct sp_heap_leaf *leaf;

	if (sp_unlikely(!root || address >> SP_HEAP_INDEX_BITS))
		return NULL;
	branch = atomic_load_explicit(
		&root->branches[sp_heap_index_bits(address, SP_HEAP_LEAF_SHIFT +
								    SP_HEAP_FORK_BITS)],
		memory_order_acquire);
	if (sp_unlikely(!branch))
		return NULL;
	leaf = atomic_load_explicit(
		&branch->leaves[sp_heap_index_bits(address, SP_HEAP_LEAF_SHIFT)]
			       [address >> 3 & 1],
		memory_order_acquire);
	return sp_likely(leaf != NULL) ? sp_heap_index_slot_in(leaf, address) : NULL;
}

#endif
