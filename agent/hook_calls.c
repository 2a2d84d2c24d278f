/*
 * What the hooks ask for: a fork child's late start, the end of the process and of its
 * image, and moments at which our thread must not be there. Context: hook, cold; keeps
 * errno where the host's call goes on.
 */
#include "hook_calls.h"

#include "agent.h"
#include "fork_child.h"
#include "heap_jemalloc.h"
#include "own_rights.h"
#include "process_end.h"
#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_cpu_timer.h"
#include "sp_held_signals.h"
#include "sp_recording_writer.h"
#include "sp_reporter_thread.h"
#include "sp_span_capture.h"
#include "sp_syscall.h"
#include "sp_thread.h"

#include <errno.h>
#include <sys/single_threaded.h>

/* A fork child that has used so much leaves a profile in any case; by then most have been
 * sampled. */
#define FORKED_CPU_NS_MIN (SP_NS_PER_SECOND / 50)

/* False when there is none and none can be had. */
static bool ensure_reporter_thread(void)
{
	static _Atomic bool is_starting;
	bool has;

	if (atomic_load_explicit(&sp_capture.has_reporter_thread, memory_order_relaxed))
		return true;
	if (!sp_heap_is_usable() || atomic_exchange(&is_starting, true))
		return false;
	has = sp_reporter_thread_start(&sp_agent.reporter_setup) == 0;
	atomic_store(&is_starting, false);
	return has;
}

static void safe_point(void)
{
	uint32_t state = atomic_load_explicit(&sp_capture.state, memory_order_acquire);

	if (sp_likely(atomic_load_explicit(&sp_capture.has_reporter_thread,
					   memory_order_relaxed)))
		return;
	if (state == SP_CAPTURE_FORKED)
		sp_fork_child_begin();
	else if (state != SP_CAPTURE_RUNNING)
		return;
	ensure_reporter_thread();
}

static void before_chroot(void)
{
	safe_point();
	sp_reporter_thread_await_place(SP_AGENT_END_TIMEOUT_NS);
}

/* A fork child whose time belongs in a profile, though by chance no sample fell into it.
 */
static bool has_time_to_tell(void)
{
	return atomic_load_explicit(&sp_capture.state, memory_order_acquire) ==
		       SP_CAPTURE_FORKED &&
	       sp_capture.period_ns && !sp_capture_is_cut_off() &&
	       sp_clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) >= FORKED_CPU_NS_MIN;
}

void sp_hook_calls_write_at_end(void)
{
	int saved_errno = errno;
	uint64_t mask;

	atomic_store_explicit(&sp_capture.ending_thread,
			      (uint32_t)sp_syscall0(SYS_gettid), memory_order_relaxed);
	if (has_time_to_tell()) {
		sp_fork_child_begin();
		errno = saved_errno;
	}
	/* Else a fork child has nothing to tell. It begins no recording on its last way
	 * from here on either: nobody would end that. */
	if (sp_capture_change_state(SP_CAPTURE_FORKED, SP_CAPTURE_ENDING) ||
	    atomic_load_explicit(&sp_capture.state, memory_order_acquire) !=
		    SP_CAPTURE_RUNNING)
		return;
	/* Of what the program's handlers use, an end has taken down much already: while
	 * we keep it waiting they do not run. */
	mask = sp_signals_hold();
	sp_span_settle();
	if (atomic_load_explicit(&sp_capture.has_reporter_thread, memory_order_relaxed))
		sp_reporter_thread_ask(SP_REQUEST_WRITE_END, SP_AGENT_END_TIMEOUT_NS);
	else if (sp_heap_is_usable())
		sp_reporter_write_here(&sp_agent.reporter_setup);
	sp_signals_release(mask);
	errno = saved_errno;
}

static _Atomic bool is_pausing;

/* One of the program's threads at a time: only one can join ours. Who comes meanwhile is
 * not alone in the process in any case. */
static bool pause_reporter(void)
{
	if (atomic_exchange(&is_pausing, true))
		return false;
	if (!sp_reporter_thread_ask(SP_REQUEST_STOP, SP_AGENT_END_TIMEOUT_NS)) {
		atomic_store(&is_pausing, false);
		return false;
	}
	sp_reporter_thread_join();
	return true;
}

/* Unless another thread has given up meanwhile what ours needs. */
static void resume_reporter(void)
{
	if (sp_capture_is_running())
		ensure_reporter_thread();
	atomic_store(&is_pausing, false);
}

void sp_hook_calls_forked(void)
{
	atomic_store_explicit(&is_pausing, false, memory_order_relaxed);
}

/* In a program of several threads the C library has seen to ours as to all, but for
 * capset(), which is for one thread: ours then keeps what it has. A new thread has the
 * rights of the one that makes it. */
static void rights_changed(bool may_follow)
{
	if (!__libc_single_threaded ||
	    !atomic_load_explicit(&sp_capture.has_reporter_thread, memory_order_relaxed))
		return;
	if (may_follow) {
		sp_own_rights_note();
		sp_reporter_thread_ask(SP_REQUEST_TAKE_RIGHTS,
				       SP_AGENT_RIGHTS_TIMEOUT_NS);
	} else if (pause_reporter()) {
		resume_reporter();
	}
}

static void addresses_limited(void)
{
	sp_recording_fit_addresses(&sp_capture.recording);
}

/*
 * Any system call may end the program from here on, in any thread. What was recorded
 * is written, and nothing of ours runs again but hooks that pass everything through.
 */
static void before_confinement(void)
{
	uint32_t slots;

	sp_hooks_set_calls(NULL);
	if (atomic_load_explicit(&sp_capture.state, memory_order_acquire) !=
	    SP_CAPTURE_RUNNING) {
		sp_capture_set_state(SP_CAPTURE_OFF);
		sp_cpu_timer_disarm_forked();
		return;
	}
	sp_span_settle();
	if (ensure_reporter_thread()) {
		sp_reporter_thread_ask(SP_REQUEST_WRITE_CONFINED,
				       SP_AGENT_END_TIMEOUT_NS);
		pause_reporter();
	}
	sp_capture_set_state(SP_CAPTURE_OFF);
	slots = (uint32_t)sp_recording_used(&sp_capture.recording, SP_SECTION_SLOTS);
	for (uint32_t i = 0; i < slots; i++)
		sp_cpu_timer_disarm(sp_thread_slot_at(i));
}

static void before_exit(void)
{
	if (!sp_process_end_awaits_other())
		sp_hook_calls_write_at_end();
}

/* Also at a jump, of any thread, and in a vfork child. */
static void goes_on(void)
{
	uint32_t thread = (uint32_t)sp_syscall0(SYS_gettid);
	uint64_t mask;

	if (!atomic_compare_exchange_strong(&sp_capture.ending_thread, &thread, 0))
		return;
	sp_process_end_goes_on();
	if (sp_capture_change_state(SP_CAPTURE_ENDING, SP_CAPTURE_FORKED) ||
	    !sp_capture_is_running())
		return;
	/* None of the program's handlers works on what is put back. */
	mask = sp_signals_hold();
	sp_reporter_put_recording_back(SP_AGENT_GOES_ON_TIMEOUT_NS);
	sp_signals_release(mask);
}

const struct sp_hook_calls sp_agent_hook_calls = {
	.safe_point = safe_point,
	.before_exec = sp_hook_calls_write_at_end,
	.goes_on = goes_on,
	.before_exit = before_exit,
	.before_chroot = before_chroot,
	.before_confinement = before_confinement,
	.rights_changed = rights_changed,
	.addresses_limited = addresses_limited,
	.forked = sp_fork_child_note,
	.pause_reporter = pause_reporter,
	.resume_reporter = resume_reporter,
};
