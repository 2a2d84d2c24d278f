/*
 * The shared rule cache: four ways a set, newest first. Context: signal. An entry
 * that is torn by a concurrent write is a miss, never a wrong rule.
 */
#include "unwind_cache.h"

#include "sp_pages.h"
#include "sp_syscall.h"
#include "sp_unwind.h"

#include <string.h>
#include <sys/mman.h>

#define SETS ((size_t)1 << (SP_CACHE_PAGE_BITS + SP_CACHE_PAGE_SET_BITS))
#define BLOCK_LAST ((1U << SP_CACHE_BLOCK_BITS) - 1)

/* Until there are more, and where there is no memory for more. */
static struct sp_cache_set first_set;
struct sp_unwind_cache sp_unwind_cache = {.sets = &first_set};

_Static_assert(SETS - 1 <= UINT16_MAX, "a set's number fits into two bytes");
_Static_assert(sizeof(struct sp_cache_set) << SP_CACHE_PAGE_SET_BITS == SP_PAGE_BYTES,
	       "neighbouring blocks share a page");
/* Two of the processor's lines. */
_Alignas(64) struct sp_cache_recent sp_cache_recent;

void sp_unwind_cache_open(void)
{
	struct sp_cache_set *sets = NULL;

	if (sp_unwind_cache.sets == &first_set)
		sets = sp_pages_map(SETS * sizeof(*sets));
	if (sets)
		sp_unwind_cache = (struct sp_unwind_cache){sets, SETS - 1};
}

SP_SAMPLING void sp_cache_put(uint64_t frame, uint64_t rule, uint64_t bytes_before,
			      uint64_t bytes_behind)
{
	struct sp_cache_entry *way = sp_cache_set(frame)->way;
	uint64_t at = frame & BLOCK_LAST;
	uint64_t first = bytes_before < at ? at - bytes_before : 0;
	uint64_t last = bytes_behind < BLOCK_LAST - at ? at + bytes_behind : BLOCK_LAST;
	uint64_t run = sp_cache_block(frame) << 16 | first << 8 | last;

	/* Relaxed everywhere: see sp_cache_get(). */
	for (unsigned int i = SP_CACHE_WAYS - 1; i > 0; i--) {
		atomic_store_explicit(
			&way[i].check,
			atomic_load_explicit(&way[i - 1].check, memory_order_relaxed),
			memory_order_relaxed);
		atomic_store_explicit(
			&way[i].rule,
			atomic_load_explicit(&way[i - 1].rule, memory_order_relaxed),
			memory_order_relaxed);
	}
	atomic_store_explicit(&way[0].check, sp_cache_seal(run, rule),
			      memory_order_relaxed);
	atomic_store_explicit(&way[0].rule, rule, memory_order_relaxed);
}

void sp_unwind_cache_reset(void)
{
	memset(&first_set, 0, sizeof(first_set));
	/* Dropping pages clears them, and a fork child need not copy its parent's to
	 * overwrite them. */
	if (sp_unwind_cache.sets != &first_set)
		sp_syscall3(SYS_madvise, sp_unwind_cache.sets,
			    SETS * sizeof(*sp_unwind_cache.sets), MADV_DONTNEED);
}
