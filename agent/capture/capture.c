/*
 * State shared by hooks and handler, and the way to the reporter thread. Context:
 * signal.
 */
#include "sp_capture.h"

#include "sp_heap_capture.h"
#include "sp_span_capture.h"
#include "sp_syscall.h"

#include <linux/futex.h>

SP_SAMPLING_DATA struct sp_capture sp_capture;

void sp_capture_set_state(enum sp_capture_state state)
{
	/* Release: what the state promises is there. Pairs with the acquire in
	 * sp_capture_is_running(). */
	atomic_store_explicit(&sp_capture.state, state, memory_order_release);
}

bool sp_capture_change_state(enum sp_capture_state from, enum sp_capture_state to)
{
	uint32_t found = from;

	return atomic_compare_exchange_strong(&sp_capture.state, &found, to);
}

void sp_capture_wake_reporter(void)
{
	/* Sequentially consistent, as is the reporter's store of 0 before it looks
	 * for work: either it sees the work or we see the 0. */
	if (atomic_exchange(&sp_capture.wake, 1) == 0 &&
	    atomic_load_explicit(&sp_capture.has_reporter_thread, memory_order_relaxed))
		sp_syscall3(SYS_futex, &sp_capture.wake, FUTEX_WAKE_PRIVATE, 1);
}

void sp_capture_want_code(void)
{
	if (atomic_load_explicit(&sp_capture.wants_code, memory_order_relaxed))
		return;
	atomic_store_explicit(&sp_capture.wants_code, true, memory_order_relaxed);
	sp_capture_wake_reporter();
}

void sp_capture_take_storage(void)
{
	if (sp_capture.drain && sp_capture_is_running())
		sp_capture.drain();
}

bool sp_capture_is_cut_off(void)
{
	return sp_heap_capture_is_cut_off() || sp_span_capture_is_cut_off();
}

void sp_capture_work_ended(void)
{
	if (!sp_capture_is_cut_off())
		sp_span_capture_begin_late();
}
