/*
 * Do the hooks count, or pass all calls on? A heap profile wants every allocation
 * counted, spans only those of their own time: until a thread has its first span a
 * program without a heap profile does without. Context: signal, unless said otherwise.
 */
#include "heap_threads.h"

#include "sp_capture.h"

static _Atomic bool are_wanted_by_spans;

static void let_hooks_count(void)
{
	atomic_store_explicit(&sp_alloc_line.is_off, false, memory_order_relaxed);
	sp_heap_filter_open_quick_way();
}

void sp_heap_counting_begin(void)
{
	/* Where jemalloc serves, the hooks have the blocks at hand only if they count. */
	bool is_wanted = sp_heap_global.rate_bytes || sp_alloc_line.has_block_caches;

	if (!is_wanted)
		atomic_store(&sp_alloc_line.is_off, true);
	/* Sequentially consistent, as in sp_heap_count_for_spans(): one of both sees what
	 * the other has stored. Pairs with the first call of each thread as well. */
	atomic_store(&sp_heap_global.is_ready, true);
	if (is_wanted || atomic_load(&are_wanted_by_spans))
		let_hooks_count();
}

void sp_heap_count_for_spans(void)
{
	static _Atomic bool do_hooks_count;

	if (atomic_load(&do_hooks_count))
		return;
	/* Whoever comes meanwhile does it as well, and need not wait for this. */
	atomic_store(&are_wanted_by_spans, true);
	if (atomic_load(&sp_heap_global.is_ready))
		let_hooks_count();
	/* Last: whoever stands aside just now looks whether the hooks count. */
	if (sp_capture.bring_hooks_back)
		sp_capture.bring_hooks_back();
	atomic_store(&do_hooks_count, true);
}
