/*
 * Where every block is sampled: from an address to the number of its entry in the live
 * table. For each 16 bytes of addresses there is a slot, so that what the program has
 * side by side lies side by side here, too, and no block ever stands in the way of
 * another: leaves of slots, which are made where the program's first block falls, under
 * branches, under a root. Blocks at odd multiples of 8 have leaves of their own, as few
 * allocators have such.
 *
 * A slot is written by whoever owns its address at that moment, and says only where to
 * look: an entry is the block's if its word says so. So nothing is lost with a slot that
 * a jump out of a hook left behind. All is private memory, which nobody needs after the
 * process; a fork child finds its slots empty (MADV_WIPEONFORK). Context: hook.
 */
#include "heap_threads.h"

#include "sp_pages.h"
#include "sp_syscall.h"

#include <sys/mman.h>

#define SLOT_SHIFT 4U
#define LEAF_SHIFT 22U
#define FORK_BITS 13U /* of a branch, and of the root */
#define ADDRESS_BITS (LEAF_SHIFT + 2 * FORK_BITS)
/* Addresses of 256 GiB, in leaves of 1 MiB. */
#define LEAVES_MAX 65536U

#define LEAF_SLOTS (UINT64_C(1) << (LEAF_SHIFT - SLOT_SHIFT))

struct leaf {
	_Atomic uint32_t slots[LEAF_SLOTS];
};

struct branch {
	/* Of multiples of 16, and of the 8 after each. */
	_Atomic(struct leaf *) leaves[UINT64_C(1) << FORK_BITS][2];
};

struct root {
	_Atomic(struct branch *) branches[UINT64_C(1) << FORK_BITS];
};

static _Atomic(struct root *) root;
static _Atomic uint32_t leaf_count;

static uint64_t bits_of(uint64_t address, uint32_t shift)
{
	return address >> shift & ((UINT64_C(1) << FORK_BITS) - 1);
}

static struct leaf *leaf_of(uint64_t address)
{
	/* Acquire: pair with whoever made them. */
	const struct root *from = atomic_load_explicit(&root, memory_order_acquire);
	const struct branch *branch;

	if (sp_unlikely(!from || address >> ADDRESS_BITS))
		return NULL;
	branch = atomic_load_explicit(
		&from->branches[bits_of(address, LEAF_SHIFT + FORK_BITS)],
		memory_order_acquire);
	if (sp_unlikely(!branch))
		return NULL;
	return atomic_load_explicit(
		&branch->leaves[bits_of(address, LEAF_SHIFT)][address >> 3 & 1],
		memory_order_acquire);
}

static _Atomic uint32_t *slot_in(struct leaf *leaf, uint64_t address)
{
	return &leaf->slots[address >> SLOT_SHIFT & (LEAF_SLOTS - 1)];
}

_Atomic uint32_t *sp_heap_index_slot(uint64_t address)
{
	struct leaf *leaf = leaf_of(address);

	return sp_likely(leaf != NULL) ? slot_in(leaf, address) : NULL;
}

void sp_heap_index_begin(void)
{
	struct root *made;

	if (atomic_load_explicit(&root, memory_order_relaxed))
		return;
	made = sp_pages_map(sizeof(*made));
	atomic_store_explicit(&root, made, memory_order_release);
}

/* Somebody else may have made it meanwhile. */
static struct branch *make_branch(_Atomic(struct branch *) *place)
{
	struct branch *before = atomic_load_explicit(place, memory_order_acquire), *made;

	if (before)
		return before;
	made = sp_pages_map(sizeof(*made));
	/* Release: pairs with leaf_of(). */
	if (!made || atomic_compare_exchange_strong_explicit(place, &before, made,
							     memory_order_release,
							     memory_order_acquire))
		return made;
	sp_pages_unmap(made, sizeof(*made));
	return before;
}

static struct leaf *map_leaf(void)
{
	struct leaf *leaf;

	if (atomic_fetch_add_explicit(&leaf_count, 1, memory_order_relaxed) >=
	    LEAVES_MAX) {
		atomic_fetch_sub_explicit(&leaf_count, 1, memory_order_relaxed);
		return NULL;
	}
	leaf = sp_pages_map(sizeof(*leaf));
	if (leaf)
		sp_syscall3(SYS_madvise, leaf, sizeof(*leaf), MADV_WIPEONFORK);
	return leaf;
}

static struct leaf *make_leaf(_Atomic(struct leaf *) *place)
{
	struct leaf *before = atomic_load_explicit(place, memory_order_acquire), *made;

	if (before)
		return before;
	made = map_leaf();
	if (!made || atomic_compare_exchange_strong_explicit(place, &before, made,
							     memory_order_release,
							     memory_order_acquire))
		return made;
	sp_pages_unmap(made, sizeof(*made));
	atomic_fetch_sub_explicit(&leaf_count, 1, memory_order_relaxed);
	return before;
}

_Atomic uint32_t *sp_heap_index_make_slot(uint64_t address)
{
	struct root *from = atomic_load_explicit(&root, memory_order_acquire);
	struct branch *branch;
	struct leaf *leaf;

	if (!from || address >> ADDRESS_BITS)
		return NULL;
	branch = make_branch(&from->branches[bits_of(address, LEAF_SHIFT + FORK_BITS)]);
	if (!branch)
		return NULL;
	leaf = make_leaf(&branch->leaves[bits_of(address, LEAF_SHIFT)][address >> 3 & 1]);
	return leaf ? slot_in(leaf, address) : NULL;
}
