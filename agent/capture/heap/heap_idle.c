/*
 * Which threads are in the middle of a sample: the collector watches until each was seen
 * in none. Context: collector. Nobody is waited for, and no thread notices.
 */
#include "heap_threads.h"

static uint32_t idle_watch;

void sp_heap_capture_watch_begin(void)
{
	idle_watch++;
}

bool sp_heap_capture_was_idle(void)
{
	uint32_t used;
	struct sp_heap_thread *threads = sp_heap_threads(&used);
	bool were_all = true;

	for (uint32_t i = 0; i < used; i++) {
		if (!__atomic_load_n(&threads[i].sampling_at, __ATOMIC_ACQUIRE))
			threads[i].idle_watch = idle_watch;
		were_all &= threads[i].idle_watch == idle_watch;
	}
	return were_all;
}
