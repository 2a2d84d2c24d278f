/*
 * Changes of spans that a signal handler of the program's interrupted and does not simply
 * return to. Context: hook; signal in fork children.
 *
 * Jumps: the change is left for ever.
 *
 * Forks: the child returns from the handler into a change that goes on with its parent's
 * spans, in the copy of its parent's recording (heap_interrupted.c). It has spans
 * of its own from the end of that change on.
 */
#include "sp_span_change.h"

#include "sp_compiler.h"
#include "sp_heap_capture.h"
#include "sp_recording_writer.h"
#include "sp_thread.h"
#include "span_stack.h"
#include "span_table.h"

SP_TLS struct sp_span_change sp_span_change;

/* Spans of a child that had no recording for them. */
static _Atomic uint32_t missed;

/* --- jumps --- */

/* In a fork child, of the change that it is cut off with: its parent knew it. */
static struct sp_span_stack interrupted_stack;

static struct sp_span_stack stack_of_thread(uint64_t address)
{
	const struct sp_span_thread *self = sp_span_self;
	const struct sp_span_thread unknown = {.slot = sp_thread_own_slot()};

	return sp_span_stack_of(self ? self : &unknown, address);
}

/* Has the thread left the frame of a change when it is at stack_pointer? */
static bool is_left_at(uint64_t frame, uint64_t stack_pointer)
{
	struct sp_span_stack stack = sp_span_change.is_cut_off
					     ? interrupted_stack
					     : stack_of_thread(stack_pointer);

	return sp_span_is_on_stack(&stack, stack_pointer) &&
	       sp_span_is_on_stack(&stack, frame) && frame < stack_pointer;
}

void sp_span_before_jump(uint64_t stack_pointer)
{
	uint64_t before = sp_span_begin_change();

	sp_span_unwind_to(stack_pointer);
	/* A handler of the program that had interrupted a change: it does not come back.
	 */
	if (sp_unlikely(before) && is_left_at(before, stack_pointer)) {
		before = 0;
		if (sp_span_self && sp_span_is_on())
			sp_span_publish_top(sp_span_self);
	}
	sp_span_end_change(before);
}

/* --- forks --- */

void sp_span_change_forked(void)
{
	uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);

	atomic_store_explicit(&missed, 0, memory_order_relaxed);
	/* Perhaps it was left long ago, by a jump that nobody has seen. */
	if (sp_span_change.frame && !sp_span_change.is_cut_off &&
	    is_left_at(sp_span_change.frame, here))
		sp_span_change.frame = 0;
	interrupted_stack = stack_of_thread(sp_span_change.frame);
	if (!interrupted_stack.high)
		interrupted_stack = (struct sp_span_stack){0, UINT64_MAX};
	sp_span_change.is_cut_off = sp_span_change.frame != 0;
	if (sp_span_change.is_cut_off && !sp_heap_capture_is_cut_off())
		sp_recording_cut_off(&sp_capture.recording);
	sp_span_recording.is_file = sp_capture.recording.is_file;
}

void sp_span_change_ended(void)
{
	sp_span_change.is_cut_off = false;
	sp_capture_work_ended();
}

bool sp_span_capture_is_cut_off(void)
{
	return sp_span_change.is_cut_off;
}

bool sp_span_begin_in_child(void)
{
	if (!sp_span_is_initialised || !sp_capture_is_own_process())
		return false;
	if (atomic_load_explicit(&sp_capture.state, memory_order_acquire) ==
		    SP_CAPTURE_FORKED &&
	    sp_capture.begin_in_child && !sp_capture_is_cut_off())
		sp_capture.begin_in_child();
	if (sp_span_is_on())
		return true;
	if (sp_capture_is_cut_off())
		atomic_fetch_add_explicit(&missed, 1, memory_order_relaxed);
	return false;
}

void sp_span_tell_missed(const struct sp_recording *recording)
{
	uint32_t count = atomic_exchange_explicit(&missed, 0, memory_order_relaxed);

	if (count)
		sp_recording_count(recording, SP_LOSS_SPAN_NO_ROOM, count);
}
