/*
 * Threads that came without a slot, as there was none free or as nobody saw them start:
 * they keep their state, with memory for stacks, to their end, of which nobody tells. So
 * the kernel is asked. Context: collector.
 */
#include "heap_threads.h"

#include "sp_capture.h"
#include "sp_recording.h"
#include "sp_syscall.h"

#include <errno.h>

static bool is_gone(uint32_t tid)
{
	return sp_syscall3(SYS_tgkill, sp_capture.recording.header->pid, tid, 0) ==
	       -ESRCH;
}

/* What was its thread's number may name a new one, and then stays for as long as that. */
static bool has_vanished(const struct sp_heap_thread *thread)
{
	/* Acquire: pairs with the beginning of that life. */
	uint32_t life = atomic_load_explicit(&thread->life, memory_order_acquire);
	uint32_t tid = __atomic_load_n(&thread->tid, __ATOMIC_RELAXED);

	if (!(life & 1) || !tid ||
	    __atomic_load_n(&thread->slot, __ATOMIC_RELAXED) != NULL || !is_gone(tid))
		return false;
	/* It may have told its end itself meanwhile, so that the state is another's by
	 * now; from here on it cannot. Acquire: after the question. */
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&thread->life, memory_order_relaxed) == life;
}

void sp_heap_strays_end_vanished(void)
{
	uint32_t count;
	struct sp_heap_thread *threads = sp_heap_threads(&count);

	for (uint32_t i = 0; i < count; i++)
		if (has_vanished(&threads[i]))
			sp_heap_thread_end_life(&threads[i]);
}
