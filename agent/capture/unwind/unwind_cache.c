/*
 * The shared rule cache: two ways a set, newest first. Context: signal. An entry
 * that is torn by a concurrent write is a miss, never a wrong rule.
 */
#include "unwind_cache.h"

#include "sp_pages.h"
#include "sp_syscall.h"
#include "sp_unwind.h"

#include <string.h>
#include <sys/mman.h>

#define SETS ((size_t)1 << SP_CACHE_SET_BITS)

/* Until there are more, and where there is no memory for more. */
static struct sp_cache_set first_set;
struct sp_unwind_cache sp_unwind_cache = {.sets = &first_set};

_Static_assert(SP_CACHE_SET_BITS <= 16, "a set's number fits into two bytes");
/* Two of the processor's lines. */
_Alignas(64) _Atomic uint16_t sp_cache_recent[SP_CACHE_RECENT];

void sp_unwind_cache_open(void)
{
	struct sp_cache_set *sets = NULL;

	if (sp_unwind_cache.sets == &first_set)
		sets = sp_pages_map(SETS * sizeof(*sets));
	if (sets)
		sp_unwind_cache = (struct sp_unwind_cache){sets, SETS - 1};
}

void sp_cache_put(uint64_t key, uint64_t rule)
{
	struct sp_cache_entry *way = sp_cache_set(key)->way;
	uint64_t old_check = atomic_load_explicit(&way[0].check, memory_order_relaxed);
	uint64_t old_rule = atomic_load_explicit(&way[0].rule, memory_order_relaxed);

	/* Relaxed everywhere: see sp_cache_get(). */
	atomic_store_explicit(&way[1].check, old_check, memory_order_relaxed);
	atomic_store_explicit(&way[1].rule, old_rule, memory_order_relaxed);
	atomic_store_explicit(&way[0].check, key ^ rule, memory_order_relaxed);
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
