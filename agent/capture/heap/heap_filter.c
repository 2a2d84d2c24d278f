/*
 * The counting filter. It is private memory, as it can be made from the live table at
 * any time: a larger one is filled from the table by the consumer while hooks go on.
 *
 * No sampled block may ever be missing in the filter in force, as its end would go
 * unseen; one that is counted twice only costs a look-up. So while a new one is made,
 * whoever adds a block counts it in both, whoever removes one leaves the new one
 * alone, and both say so in an order that the other side can rely on:
 *
 *   add:     count in the filters that are there; publish the block; look again
 *   remove:  note the filter in force; take the block out of the table; count down
 *   make:    announce the new filter; go over the table; put it in force
 *
 * Old filters are kept: a hook may still look at one. Context: signal.
 */
#include "heap_threads.h"

#include "sp_pages.h"
#include "sp_recording_heap.h"
#include "sp_syscall.h"

#include <sys/mman.h>

/* They take few lines of the processor's first cache. */
#define FIRST_COUNTERS (UINT64_C(1) << 10)
_Static_assert(SP_HEAP_FILTER_COUNTERS_MAX << SP_HEAP_FILTER_SHIFT <= SP_HEAP_NULL_STEP,
	       "addresses that share NULL's counter do so in the largest filter");
/* Counters for each live block, so that few other addresses meet one. */
#define COUNTERS_A_BLOCK 64U

/*
 * What a counter is: how many blocks it stands for; or, of one block alone, bits of the
 * whole address, so that its neighbours, and whoever else falls there, need not be looked
 * for in the table. Which of two blocks is left is not known: a count does for that one.
 */
#define ALONE 0x80U
#define STICKY 0x7fU  /* as many or more: never counted down */
#define OF_NULL ALONE /* whose hash is 0 */

struct sp_alloc_line sp_alloc_line;

static _Atomic uintptr_t next_filter;
/* About: of what threads without state added and removed; the others count for
 * themselves, and their state keeps its count from thread to thread. */
static _Atomic int64_t lone_blocks;

static void count_blocks(int64_t blocks)
{
	struct sp_heap_thread *self = sp_heap_self;

	if (sp_likely(self != NULL))
		self->live_blocks += blocks;
	else
		atomic_fetch_add_explicit(&lone_blocks, blocks, memory_order_relaxed);
}

static uint64_t live_blocks(void)
{
	int64_t blocks = atomic_load_explicit(&lone_blocks, memory_order_relaxed);
	uint32_t count;
	const struct sp_heap_thread *threads = sp_heap_threads(&count);

	for (uint32_t i = 0; i < count; i++)
		blocks += __atomic_load_n(&threads[i].live_blocks, __ATOMIC_RELAXED);
	return blocks > 0 ? (uint64_t)blocks : 0;
}

/* NULL is for the slow way, which knows it. */
static void set_null(uintptr_t filter)
{
	atomic_store_explicit(sp_heap_filter_counter(filter, NULL), OF_NULL,
			      memory_order_relaxed);
}

static uint64_t counters_of(uintptr_t filter)
{
	return (filter & (SP_HEAP_FILTER_COUNTERS_MAX - 1)) + 1;
}

/* SP_HEAP_FILTER_NONE: there is no memory for it. */
static uintptr_t make(uint64_t counters)
{
	void *memory = sp_pages_map_aligned(counters, SP_HEAP_FILTER_COUNTERS_MAX);
	uintptr_t filter = (uintptr_t)memory + counters - 1;

	if (!memory)
		return SP_HEAP_FILTER_NONE;
	set_null(filter);
	return filter;
}

static uint8_t alone(const void *ptr)
{
	return (uint8_t)(sp_heap_hash(ptr) >> 57 | ALONE);
}

static uint8_t one_more(uint8_t value, const void *ptr)
{
	if (value & ALONE)
		return 2;
	return value ? (uint8_t)(value + 1) : alone(ptr);
}

static uint8_t one_less(uint8_t value)
{
	return value & ALONE ? 0 : (uint8_t)(value - 1);
}

static void count_up(uintptr_t filter, const void *ptr)
{
	_Atomic uint8_t *counter;
	uint8_t value;

	if (sp_heap_filter_is_constant(filter))
		return;
	counter = sp_heap_filter_counter(filter, ptr);
	value = atomic_load_explicit(counter, memory_order_relaxed);
	/* Relaxed: the store that publishes the block comes later. */
	while (value != STICKY && !atomic_compare_exchange_weak_explicit(
					  counter, &value, one_more(value, ptr),
					  memory_order_relaxed, memory_order_relaxed))
		;
}

static void count_down(uintptr_t filter, const void *ptr)
{
	_Atomic uint8_t *counter;
	uint8_t value;

	if (sp_heap_filter_is_constant(filter))
		return;
	counter = sp_heap_filter_counter(filter, ptr);
	value = atomic_load_explicit(counter, memory_order_relaxed);
	while (value != STICKY && value != 0 &&
	       !atomic_compare_exchange_weak_explicit(counter, &value, one_less(value),
						      memory_order_relaxed,
						      memory_order_relaxed))
		;
}

void sp_heap_filter_begin(bool is_exact)
{
	uintptr_t filter = sp_heap_filter_now();

	/* A fork child goes on with its parent's, which has forgotten all. */
	if (filter != SP_HEAP_FILTER_NONE)
		return;
	if (!is_exact)
		filter = make(FIRST_COUNTERS);
	/* Without memory for it every free looks into the table: slow, but right. */
	if (filter == SP_HEAP_FILTER_NONE)
		filter = SP_HEAP_FILTER_ALL;
	atomic_store_explicit(&sp_alloc_line.filter, filter, memory_order_release);
}

void sp_heap_filter_open_quick_way(void)
{
	void *thread_pointer;

	/* Where jemalloc serves, the hooks have a way of their own. */
	if (sp_heap_filter_is_constant(sp_heap_filter_now()) ||
	    sp_alloc_line.has_block_caches)
		return;
	__asm__("mov %%fs:0, %0" : "=r"(thread_pointer));
	atomic_store_explicit(&sp_alloc_line.self_offset,
			      (char *)&sp_heap_self - (char *)thread_pointer,
			      memory_order_release);
}

void sp_heap_filter_forget(void)
{
	uintptr_t filter = sp_heap_filter_now();
	uint64_t counters = counters_of(filter);

	atomic_store_explicit(&next_filter, SP_HEAP_FILTER_NONE, memory_order_relaxed);
	atomic_store_explicit(&lone_blocks, 0, memory_order_relaxed);
	if (sp_heap_filter_is_constant(filter))
		return;
	/* What is left if that fails costs look-ups. */
	sp_syscall3(SYS_madvise, filter - (counters - 1), counters, MADV_DONTNEED);
	set_null(filter);
}

uintptr_t sp_heap_filter_count_in(const void *ptr, uintptr_t *in_the_making)
{
	uintptr_t filter = sp_heap_filter_now();

	*in_the_making = atomic_load_explicit(&next_filter, memory_order_acquire);
	count_up(filter, ptr);
	count_up(*in_the_making, ptr);
	count_blocks(1);
	return filter;
}

void sp_heap_filter_recheck(const void *ptr, uintptr_t added,
			    uintptr_t added_in_the_making)
{
	uintptr_t filter, next;

	/* In this order: who finds none in the making because it is done, finds it in
	 * force. */
	next = atomic_load_explicit(&next_filter, memory_order_acquire);
	filter = sp_heap_filter_now();
	if (next != added_in_the_making)
		count_up(next, ptr);
	if (filter != added && filter != added_in_the_making && filter != next)
		count_up(filter, ptr);
}

bool sp_heap_filter_has(uintptr_t filter, const void *ptr)
{
	uint8_t value = atomic_load_explicit(sp_heap_filter_counter(filter, ptr),
					     memory_order_relaxed);
	return value & ALONE ? value == alone(ptr) : value != 0;
}

void sp_heap_filter_count_out(uintptr_t filter, const void *ptr)
{
	count_down(filter, ptr);
	count_blocks(-1);
}

static void fill(uintptr_t filter, const struct sp_recording *recording)
{
	uint64_t blocks = sp_live_blocks(recording);
	struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);

	for (uint64_t i = 0; i < blocks; i++) {
		uint64_t word =
			atomic_load_explicit(&table[i].word, memory_order_acquire);
		const void *ptr = (const void *)(uintptr_t)(word >> 2); // NOLINT

		if ((word & SP_LIVE_STATE_MASK) == SP_LIVE_LIVE && !sp_heap_is_noted(ptr))
			count_up(filter, ptr);
	}
}

void sp_heap_filter_keep_ahead(const struct sp_recording *recording)
{
	uintptr_t now = sp_heap_filter_now(), larger;
	uint64_t counters = counters_of(now), blocks;

	if (sp_heap_filter_is_constant(now) || counters >= SP_HEAP_FILTER_COUNTERS_MAX)
		return;
	blocks = live_blocks();
	if (blocks * COUNTERS_A_BLOCK <= counters)
		return;
	while (counters < blocks * COUNTERS_A_BLOCK * 2 &&
	       counters < SP_HEAP_FILTER_COUNTERS_MAX)
		counters *= 2;
	larger = make(counters);
	if (larger == SP_HEAP_FILTER_NONE)
		return;
	atomic_store(&next_filter, larger);
	/* Pairs with the barrier before sp_heap_filter_recheck(). */
	atomic_thread_fence(memory_order_seq_cst);
	fill(larger, recording);
	atomic_store_explicit(&sp_alloc_line.filter, larger, memory_order_release);
	atomic_store_explicit(&next_filter, SP_HEAP_FILTER_NONE, memory_order_release);
}
