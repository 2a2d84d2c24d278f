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
#include "heap_index.h"

#include "sp_pages.h"
#include "sp_syscall.h"

#include <sys/mman.h>

/* Addresses of 256 GiB, in leaves of 1 MiB. */
#define LEAVES_MAX 65536U

_Atomic(struct sp_heap_root *) sp_heap_root;
static _Atomic uint32_t leaf_count;

void sp_heap_index_begin(void)
{
	struct sp_heap_root *made;

	if (atomic_load_explicit(&sp_heap_root, memory_order_relaxed))
		return;
	made = sp_pages_map(sizeof(*made));
	atomic_store_explicit(&sp_heap_root, made, memory_order_release);
}

/* Somebody else may have made it meanwhile. */
static struct sp_heap_branch *make_branch(_Atomic(struct sp_heap_branch *) *place)
{
	struct sp_heap_branch *before = atomic_load_explicit(place, memory_order_acquire),
			      *made;

	if (before)
		return before;
	made = sp_pages_map(sizeof(*made));
	/* Release: pairs with sp_heap_index_slot(). */
	if (!made || atomic_compare_exchange_strong_explicit(place, &before, made,
							     memory_order_release,
							     memory_order_acquire))
		return made;
	sp_pages_unmap(made, sizeof(*made));
	return before;
}

static struct sp_heap_leaf *map_leaf(void)
{
	struct sp_heap_leaf *leaf;

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

static struct sp_heap_leaf *make_leaf(_Atomic(struct sp_heap_leaf *) *place)
{
	struct sp_heap_leaf *before = atomic_load_explicit(place, memory_order_acquire),
			    *made;

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
	struct sp_heap_root *from =
		atomic_load_explicit(&sp_heap_root, memory_order_acquire);
	struct sp_heap_branch *branch;
	struct sp_heap_leaf *leaf;

	if (!from || address >> SP_HEAP_INDEX_BITS)
		return NULL;
	branch = make_branch(&from->branches[sp_heap_index_bits(
		address, SP_HEAP_LEAF_SHIFT + SP_HEAP_FORK_BITS)]);
	if (!branch)
		return NULL;
	leaf = make_leaf(&branch->leaves[sp_heap_index_bits(address, SP_HEAP_LEAF_SHIFT)]
					[address >> 3 & 1]);
	return leaf ? sp_heap_index_slot_in(leaf, address) : NULL;
}
