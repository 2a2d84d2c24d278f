/*
 * The shared rule cache: two ways a set, newest first. Context: signal. An entry
 * that is torn by a concurrent write is a miss, never a wrong rule.
 */
#include "unwind_cache.h"

#include "sp_pages.h"
#include "sp_syscall.h"
#include "sp_unwind.h"

#include <assert.h>
#include <sys/mman.h>

static_assert(sizeof(sp_unwind_cache) % SP_PAGE_BYTES == 0, "the cache is whole pages");

struct sp_cache_set sp_unwind_cache[1 << SP_CACHE_SET_BITS]
	__attribute__((aligned(4096), visibility("hidden")));

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
	/* The pages are zero-filled memory of this object: dropping them clears
	 * them, and a fork child need not copy its parent's to overwrite them. */
	sp_syscall3(SYS_madvise, sp_unwind_cache, sizeof(sp_unwind_cache), MADV_DONTNEED);
}
