/*
 * What the C library allocates for our own thread, the table of its thread-local storage,
 * lies in pages of ours and not in the program's heap. Whoever ends the thread's stack
 * gives it back by free(), and that may be a thread of the program which has got the
 * stack, also in a fork child. To know such a block again costs free() and realloc()
 * nothing: its address shares NULL's counter in the filter (SP_HEAP_NULL_STEP), so that
 * both go the slow way for it, and look there.
 */
#ifndef SP_OWN_BLOCK_H
#define SP_OWN_BLOCK_H

#include "sp_compiler.h"
#include "sp_pages.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_OWN_BLOCKS 16U
#define SP_OWN_BLOCK_BYTES SP_PAGE_BYTES /* of each, whatever was asked for */
/* As low as address spaces of sanitizers and others leave it free: 104 TiB. */
#define SP_OWN_BLOCK_FIRST (UINT64_C(0x68) << 40)
#define SP_OWN_BLOCK_STEP (UINT64_C(1) << 38)

/* While the calling thread makes our own. */
extern SP_HIDDEN SP_TLS bool sp_own_block_is_wanted;

extern SP_HIDDEN _Atomic bool sp_own_blocks_taken[SP_OWN_BLOCKS];

/* Context: init, before the names of our functions are withdrawn (sp_alloc_aside.h). */
void sp_own_block_settle(void);

/* Context: hook. Zeroed; NULL: it is the program's allocator to ask. */
void *sp_own_block_take(size_t size_bytes);

/* Context: hook. Is it one that was taken? */
static inline bool sp_own_block_is(const void *ptr)
{
	uint64_t offset = (uint64_t)(uintptr_t)ptr - SP_OWN_BLOCK_FIRST;
	uint64_t index = offset / SP_OWN_BLOCK_STEP;

	return sp_unlikely(index < SP_OWN_BLOCKS) && offset % SP_OWN_BLOCK_STEP == 0 &&
	       atomic_load_explicit(&sp_own_blocks_taken[index], memory_order_acquire);
}

/* Context: hook. As free() and realloc(). */
void sp_own_block_free(void *ptr);
void *sp_own_block_resize(void *ptr, size_t size_bytes);

#endif
