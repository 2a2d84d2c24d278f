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

/* All of them fit into the processor's first cache. */
#define FIRST_COUNTERS (UINT64_C(4) << 10)
#define MOST_COUNTERS (UINT64_C(64) << 20)
_Static_assert(MOST_COUNTERS << SP_HEAP_FILTER_SHIFT <= SP_HEAP_NULL_STEP,
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

/*
 * One that says yes to NULL alone, which is no block that is given back, and to few
 * others; and one counter that always does. The mask's lowest byte comes first.
 */
#define NONE_COUNTERS 64U
static union {
	struct sp_heap_filter filter;
	unsigned char bytes[sizeof(struct sp_heap_filter) + NONE_COUNTERS];
} none = {.bytes = {NONE_COUNTERS - 1, [sizeof(struct sp_heap_filter)] = OF_NULL}},
  all = {.filter = {.mask = 0}};

_Atomic(struct sp_heap_filter *) sp_heap_filter = &none.filter;

static _Atomic(struct sp_heap_filter *) next_filter;
static _Atomic uint64_t live_blocks; /* about */

static struct sp_heap_filter *make(uint64_t counters)
{
	struct sp_heap_filter *filter = sp_pages_map(sizeof(*filter) + counters);

	if (filter) {
		filter->mask = counters - 1;
		/* NULL is for the slow way, which knows it. */
		filter->counters[0] = OF_NULL;
	}
	return filter;
}

static _Atomic uint8_t *counter_of(struct sp_heap_filter *filter, const void *ptr)
{
	return &filter->counters[sp_heap_filter_index(ptr, filter->mask)];
}

static bool is_constant(const struct sp_heap_filter *filter)
{
	return filter == &none.filter || filter == &all.filter;
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

static void count_up(struct sp_heap_filter *filter, const void *ptr)
{
	_Atomic uint8_t *counter;
	uint8_t value;

	if (!filter || is_constant(filter))
		return;
	counter = counter_of(filter, ptr);
	value = atomic_load_explicit(counter, memory_order_relaxed);
	/* Relaxed: the store that publishes the block comes later. */
	while (value != STICKY && !atomic_compare_exchange_weak_explicit(
					  counter, &value, one_more(value, ptr),
					  memory_order_relaxed, memory_order_relaxed))
		;
}

static void count_down(struct sp_heap_filter *filter, const void *ptr)
{
	_Atomic uint8_t *counter;
	uint8_t value;

	if (is_constant(filter))
		return;
	counter = counter_of(filter, ptr);
	value = atomic_load_explicit(counter, memory_order_relaxed);
	while (value != STICKY && value != 0 &&
	       !atomic_compare_exchange_weak_explicit(counter, &value, one_less(value),
						      memory_order_relaxed,
						      memory_order_relaxed))
		;
}

void sp_heap_filter_reset(bool is_exact)
{
	struct sp_heap_filter *filter = is_exact ? &all.filter : make(FIRST_COUNTERS);

	atomic_store_explicit(&all.filter.counters[0], STICKY, memory_order_relaxed);
	atomic_store_explicit(&next_filter, NULL, memory_order_relaxed);
	atomic_store_explicit(&live_blocks, 0, memory_order_relaxed);
	/* Without memory for it every free looks into the table: slow, but right. */
	atomic_store_explicit(&sp_heap_filter, filter ? filter : &all.filter,
			      memory_order_release);
}

void sp_heap_filter_forget(void)
{
	atomic_store_explicit(&next_filter, NULL, memory_order_relaxed);
	atomic_store_explicit(&sp_heap_filter, &none.filter, memory_order_release);
}

struct sp_heap_filter *sp_heap_filter_add(const void *ptr,
					  struct sp_heap_filter **in_the_making)
{
	struct sp_heap_filter *filter = sp_heap_filter_now();

	*in_the_making = NULL;
	if (is_constant(filter))
		return filter;
	*in_the_making = atomic_load_explicit(&next_filter, memory_order_acquire);
	count_up(filter, ptr);
	count_up(*in_the_making, ptr);
	atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
	return filter;
}

void sp_heap_filter_check_added(const void *ptr, struct sp_heap_filter *added,
				struct sp_heap_filter *added_in_the_making)
{
	struct sp_heap_filter *filter, *next;

	if (is_constant(added))
		return;
	/* Either whoever makes a filter sees the block in the table, or we see it here.
	 */
	atomic_thread_fence(memory_order_seq_cst);
	/* In this order: who finds none in the making because it is done, finds it in
	 * force. */
	next = atomic_load_explicit(&next_filter, memory_order_acquire);
	filter = sp_heap_filter_now();
	if (next && next != added_in_the_making)
		count_up(next, ptr);
	if (filter != added && filter != added_in_the_making && filter != next)
		count_up(filter, ptr);
}

struct sp_heap_filter *sp_heap_filter_now(void)
{
	return atomic_load_explicit(&sp_heap_filter, memory_order_acquire);
}

bool sp_heap_filter_may_be(struct sp_heap_filter *filter, const void *ptr)
{
	uint8_t value =
		atomic_load_explicit(counter_of(filter, ptr), memory_order_relaxed);

	return value & ALONE ? value == alone(ptr) : value != 0;
}

void sp_heap_filter_remove(struct sp_heap_filter *filter, const void *ptr)
{
	if (is_constant(filter))
		return;
	count_down(filter, ptr);
	atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
}

static void fill(struct sp_heap_filter *filter, const struct sp_recording *recording)
{
	uint64_t blocks = sp_live_blocks_of_levels(sp_live_levels_in(
		sp_recording_reserved(recording, SP_SECTION_LIVE_BLOCKS)));
	struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);

	for (uint64_t i = 0; i < blocks; i++) {
		uint64_t word =
			atomic_load_explicit(&table[i].word, memory_order_acquire);

		if ((word & SP_LIVE_STATE_MASK) == SP_LIVE_LIVE)
			count_up(filter,
				 (const void *)(uintptr_t)(word >> 2)); // NOLINT
	}
}

void sp_heap_filter_keep_ahead(const struct sp_recording *recording)
{
	struct sp_heap_filter *now = sp_heap_filter_now();
	uint64_t blocks = atomic_load_explicit(&live_blocks, memory_order_relaxed);
	uint64_t counters = now->mask + 1;
	struct sp_heap_filter *larger;

	if (is_constant(now) || blocks >> 63 || blocks * COUNTERS_A_BLOCK <= counters ||
	    counters >= MOST_COUNTERS)
		return;
	while (counters < blocks * COUNTERS_A_BLOCK * 2 && counters < MOST_COUNTERS)
		counters *= 2;
	larger = make(counters);
	if (!larger)
		return;
	atomic_store(&next_filter, larger);
	/* Pairs with the fence of sp_heap_filter_check_added(). */
	atomic_thread_fence(memory_order_seq_cst);
	fill(larger, recording);
	atomic_store_explicit(&sp_heap_filter, larger, memory_order_release);
	atomic_store_explicit(&next_filter, NULL, memory_order_release);
}
