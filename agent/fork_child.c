/*
 * The child of a fork: first only a thread with a timer that has no recording to write
 * to, and one that has as soon as there is something to record.
 */
#include "fork_child.h"

#include "agent.h"
#include "heap_jemalloc.h"
#include "hook_calls.h"
#include "own_recording.h"
#include "process_end.h"
#include "sp_capture.h"
#include "sp_cpu_timer.h"
#include "sp_heap_capture.h"
#include "sp_held_signals.h"
#include "sp_hooks.h"
#include "sp_recording_writer.h"
#include "sp_span_capture.h"
#include "sp_syscall.h"
#include "sp_thread.h"
#include "thread_adoption.h"

#include <string.h>
#include <sys/auxv.h>

/* The recording of a fork child is begun once, by handler or hook, whoever is first. */
static _Atomic bool is_beginning;

/* The stack of the thread that forked, as its slot in the parent knew it. */
static uint64_t forked_stack_low, forked_stack_high;

void sp_fork_child_begin(void)
{
	/* Too large for a thread's small stack; is_beginning guards it. */
	static struct sp_recording parents;
	struct sp_slot *slot;
	uint64_t mask;

	/* A vfork child of ours would begin it in its own name. */
	if (!sp_hooks_is_own_process())
		return;
	mask = sp_signals_hold();
	if (atomic_exchange(&is_beginning, true)) {
		sp_signals_release(mask);
		return;
	}
	if (atomic_load_explicit(&sp_capture.state, memory_order_relaxed) !=
	    SP_CAPTURE_FORKED)
		goto out;
	parents = sp_capture.recording;
	memset(&sp_capture.recording, 0, sizeof(sp_capture.recording));
	/* The inherited index may be half changed: it is left, not released. */
	memset(&sp_agent.absorber.nodes, 0, sizeof(sp_agent.absorber.nodes));
	memset(&sp_agent.absorber.cells, 0, sizeof(sp_agent.absorber.cells));
	sp_agent.absorber.finish_stack = NULL;
	if (sp_own_recording_make() != 0) {
		sp_capture_set_state(SP_CAPTURE_OFF);
		goto out;
	}
	sp_capture.recording.header->is_fork_child = 1;
	if (parents.header)
		sp_recording_copy_modules(&sp_capture.recording, &parents);
	if (!sp_capture_is_cut_off())
		sp_recording_detach(&parents);
	slot = sp_thread_adopt((int)sp_syscall0(SYS_gettid), getauxval(AT_ENTRY));
	if (slot) {
		atomic_store_explicit(&slot->stack_low, forked_stack_low,
				      memory_order_relaxed);
		atomic_store_explicit(&slot->stack_high, forked_stack_high,
				      memory_order_relaxed);
		sp_cpu_timer_give_forked(slot);
		sp_thread_set_own_slot(slot);
		sp_heap_thread_begin(slot);
	}
	sp_capture_set_state(SP_CAPTURE_RUNNING);
	sp_agent_begin_spans();
out:
	atomic_store(&is_beginning, false);
	sp_signals_release(mask);
}

static void note_forked_stack(void)
{
	const struct sp_slot *slot = sp_hooks_thread_slot();
	uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);
	uint64_t low, high;

	sp_thread_adoption_main_stack(&low, &high);
	if (here < low || here >= high) {
		low = high = 0;
		if (slot && sp_capture.recording.header) {
			low = atomic_load_explicit(&slot->stack_low,
						   memory_order_relaxed);
			high = atomic_load_explicit(&slot->stack_high,
						    memory_order_relaxed);
		}
	}
	forked_stack_low = low;
	forked_stack_high = high;
}

void sp_fork_child_note(void)
{
	uint32_t state = atomic_load_explicit(&sp_capture.state, memory_order_relaxed);

	sp_heap_after_fork_in_child();
	if (state == SP_CAPTURE_OFF || !sp_capture.own_process)
		return;
	memset(&sp_agent.earlier, 0, sizeof(sp_agent.earlier));
	sp_agent.earlier_thread_cpu_ns = 0;
	note_forked_stack();
	sp_process_end_forked();
	sp_hooks_thread_forked();
	sp_thread_set_own_slot(NULL);
	sp_heap_capture_forked();
	sp_span_capture_forked();
	sp_reporter_thread_forked();
	sp_hook_calls_forked();
	atomic_store_explicit(&sp_capture.own_process->is_ours, 1, memory_order_relaxed);
	atomic_store_explicit(&sp_capture.process_id, (uint32_t)sp_syscall0(SYS_getpid),
			      memory_order_relaxed);
	atomic_store_explicit(&sp_capture.handlers_running, 0, memory_order_relaxed);
	atomic_store(&is_beginning, false);
	atomic_store_explicit(&sp_capture.ending_thread, 0, memory_order_relaxed);
	sp_capture_set_state(SP_CAPTURE_FORKED);
	sp_cpu_timer_arm_forked();
}
