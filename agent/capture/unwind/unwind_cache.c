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

#define SETS(page_bits) ((size_t)1 << ((page_bits) + SP_CACHE_PAGE_SET_BITS))
#define SETS_FIRST SETS(SP_CACHE_PAGE_BITS_FIRST)
#define SETS_MAX SETS(SP_CACHE_PAGE_BITS)
#define BLOCK_LAST ((1U << SP_CACHE_BLOCK_BITS) - 1)

/* Until there are more, and where there is no memory for more. */
static struct sp_cache_set first_set;
SP_SAMPLING_DATA struct sp_unwind_cache sp_unwind_cache = {.sets = &first_set};

_Static_assert(SETS_MAX - 1 <= UINT16_MAX, "a set's number fits into two bytes");
_Static_assert(sizeof(struct sp_cache_set) << SP_CACHE_PAGE_SET_BITS == SP_PAGE_BYTES,
	       "neighbouring blocks share a page");
/* Two of the processor's lines. */
SP_SAMPLING_DATA _Alignas(64) struct sp_cache_recent sp_cache_recent;

void sp_unwind_cache_open(void)
{
	struct sp_cache_set *sets = NULL;

	if (sp_unwind_cache.sets == &first_set)
		sets = sp_pages_map(SETS_MAX * sizeof(*sets));
	if (!sets)
		return;
	sp_unwind_cache.sets = sets;
	atomic_store_explicit(&sp_unwind_cache.last_set, SETS_FIRST - 1,
			      memory_order_relaxed);
}

/* Half of the rules then lie where they are not looked for. */
static void grow(uint32_t last_set)
{
	if (sp_unwind_cache.sets != &first_set && last_set < SETS_MAX - 1 &&
	    atomic_compare_exchange_strong_explicit(
		    &sp_unwind_cache.last_set, &last_set, 2 * last_set + 1,
		    memory_order_relaxed, memory_order_relaxed))
		atomic_store_explicit(&sp_unwind_cache.puts, 0, memory_order_relaxed);
}

/* After which a rule may be another set's. */
static void count_put(void)
{
	uint32_t last_set =
		atomic_load_explicit(&sp_unwind_cache.last_set, memory_order_relaxed);

	if (sp_unlikely(atomic_fetch_add_explicit(&sp_unwind_cache.puts, 1,
						  memory_order_relaxed) /
				SP_CACHE_PUTS_A_SET >
			last_set))
		grow(last_set);
}

SP_SAMPLING void sp_cache_put(uint64_t frame, uint64_t rule, uint64_t bytes_before,
			      uint64_t bytes_behind)
{
	struct sp_cache_entry *way;
	uint64_t at = frame & BLOCK_LAST;
	uint64_t first = bytes_before < at ? at - bytes_before : 0;
	uint64_t last = bytes_behind < BLOCK_LAST - at ? at + bytes_behind : BLOCK_LAST;
	uint64_t run = sp_cache_block(frame) << 16 | first << 8 | last;

	count_put();
	way = sp_cache_set(frame)->way;
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
	atomic_store_explicit(&sp_unwind_cache.puts, 0, memory_order_relaxed);
	/* Dropping pages clears them, and a fork child need not copy its parent's to
	 * overwrite them. */
	if (sp_unwind_cache.sets == &first_set)
		return;
	atomic_store_explicit(&sp_unwind_cache.last_set, SETS_FIRST - 1,
			      memory_order_relaxed);
	sp_syscall3(SYS_madvise, sp_unwind_cache.sets,
		    SETS_MAX * sizeof(*sp_unwind_cache.sets), MADV_DONTNEED);
}
