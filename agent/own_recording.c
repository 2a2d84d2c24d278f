/*
 * The recording of this process: made at the start and again in a fork child, its
 * storage taken ahead of need, and drained by whoever cannot wait for the reporter
 * thread.
 */
#include "own_recording.h"

#include "agent.h"
#include "heap_absorb.h"
#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_heap_capture.h"
#include "sp_held_signals.h"
#include "sp_hooks.h"
#include "sp_recording_writer.h"
#include "sp_ring.h"
#include "sp_span_capture.h"
#include "sp_syscall.h"
#include "span_absorb.h"

#include <stdlib.h>

/* For the threads of the first moments; the reporter thread adds more. */
#define RINGS_FIRST 2
/* What whoever finds none adds. */
#define RINGS_IN_NEED 8
#define SLOTS_IN_NEED 128
/* Often enough for what a killed process used to be known to a hundredth of a second or
 * two, and seldom enough to cost nothing. */
#define NOTE_PERIOD_NS (SP_NS_PER_SECOND / 50)

static uint64_t span_ticks(void)
{
	return sp_clock_ticks();
}

static uint32_t untracked(enum sp_switch track, uint32_t what)
{
	return track == SP_SWITCH_NO ? what : 0;
}

/* What the user does not want to know of spans. */
static uint32_t untracked_of_spans(void)
{
	const struct sp_options *options = &sp_agent.options;

	return untracked(options->track_cpu, SP_UNTRACKED_CPU) |
	       untracked(options->track_wall, SP_UNTRACKED_WALL) |
	       untracked(options->track_allocations, SP_UNTRACKED_ALLOCATIONS) |
	       untracked(options->track_heap, SP_UNTRACKED_HEAP);
}

int sp_own_recording_make(void)
{
	struct sp_recording_settings settings = {
		.directory = sp_agent.options.recording_dir,
		.runtime_directory = sp_agent.runtime_dir,
		.out_directory = sp_agent.options.out_dir,
		.program = sp_agent.program,
		.bytes_max = sp_agent.options.recording_bytes_max,
		.wants_large_pages = sp_heap_capture_wants_large_pages(),
	};
	int err = sp_recording_create(&sp_capture.recording, &settings);

	if (err)
		return err;
	sp_collector_identify(&sp_capture.recording, &sp_agent.options, sp_agent.program);
	sp_capture.recording.header->earlier_cpu_ns = sp_agent.earlier.cpu_ns;
	sp_capture.recording.header->earlier_thread_cpu_ns =
		sp_agent.earlier_thread_cpu_ns;
	sp_capture.recording.header->earlier_user_ns = sp_agent.earlier.user_ns;
	sp_capture.recording.header->earlier_system_ns = sp_agent.earlier.system_ns;
	sp_agent.absorber.wants_heap = sp_heap_capture_wants_absorb;
	sp_agent.absorber.give_block_back = sp_heap_capture_give_block_back;
	sp_agent.absorber.give_span_back = sp_span_give_back;
	sp_agent.absorber.span_pass_ended = sp_span_pass_ended;
	sp_agent.absorber.now_ticks = span_ticks;
	sp_agent.absorber.held_spans_max = sp_agent.options.held_spans_max;
	sp_heap_capture_begin(&sp_capture.recording);
	sp_span_capture_begin(&sp_capture.recording);
	sp_capture.recording.header->span_untracked = untracked_of_spans();
	atomic_store_explicit(&sp_capture.recording.header->heap_coverage,
			      sp_agent.heap_coverage, memory_order_relaxed);
	err = sp_absorber_init(&sp_agent.absorber, &sp_capture.recording);
	if (err)
		return err;
	sp_ring_pool_grow(&sp_capture.recording, RINGS_FIRST);
	sp_heap_keep_ahead(&sp_agent.absorber);
	atomic_store_explicit(&sp_capture.recording.header->state, SP_RECORDING_RUNNING,
			      memory_order_release);
	return 0;
}

static void take_storage_in_need(struct sp_recording_header *header)
{
	uint64_t live = atomic_load_explicit(&header->live_slots, memory_order_relaxed);

	if (!atomic_load_explicit(&header->free_ring_count, memory_order_relaxed))
		sp_ring_pool_grow(&sp_capture.recording, RINGS_IN_NEED);
	if (live >= sp_recording_reserved(&sp_capture.recording, SP_SECTION_SLOTS))
		sp_recording_reserve(&sp_capture.recording, SP_SECTION_SLOTS,
				     live + SLOTS_IN_NEED);
	sp_heap_keep_ahead(&sp_agent.absorber);
	sp_span_keep_ahead(&sp_agent.absorber);
	sp_heap_filter_keep_ahead(&sp_capture.recording);
}

/*
 * Hooks work on the recording with the program's signals open. A handler of the program's
 * that never came back (it jumps, or ends the process) would keep the lock for ever: so
 * none runs meanwhile. Neither may a vfork child have it, which its parent does not know
 * to be gone when it is killed.
 */
void sp_own_recording_drain(void)
{
	uint64_t mask = sp_signals_hold();

	/* Stacks that were put off are walked here, also on a hook's behalf: the modules
	 * must not go meanwhile. */
	atomic_fetch_add(&sp_capture.handlers_running, 1);
	if (sp_hooks_is_own_process() &&
	    sp_absorber_try_lock(&sp_agent.absorber, (uint32_t)sp_syscall0(SYS_gettid))) {
		sp_absorber_drain(&sp_agent.absorber);
		take_storage_in_need(sp_capture.recording.header);
		sp_absorber_unlock(&sp_agent.absorber);
	}
	atomic_fetch_sub(&sp_capture.handlers_running, 1);
	sp_signals_release(mask);
}

static bool is_note_due(void)
{
	const struct sp_recording_header *header = sp_capture.recording.header;
	uint64_t last_ns = atomic_load_explicit(&header->last_update_monotonic_ns,
						memory_order_relaxed);

	return sp_clock_monotonic_ns() - last_ns >= NOTE_PERIOD_NS;
}

/* The handler has all signals blocked, as sp_own_recording_drain() must have. */
void sp_own_recording_note(struct sp_slot *slot)
{
	if (!is_note_due() || !sp_hooks_is_own_process() ||
	    !sp_absorber_try_lock(&sp_agent.absorber, (uint32_t)sp_syscall0(SYS_gettid)))
		return;
	sp_collector_note_clocks(&sp_capture.recording, slot);
	sp_absorber_unlock(&sp_agent.absorber);
}
