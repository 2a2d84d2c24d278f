/*
 * Work on a block that a signal handler of the program's interrupted and does not simply
 * return to. Context: hook; signal in fork children.
 *
 * Jumps: the work is left for ever, or for as long as another coroutine runs.
 *
 * Forks: the child returns from the handler into work that goes on with addresses in
 * the parent's recording. So the child gets memory of its own in that place, of which
 * nothing is kept, and makes its recording when the work is over; but if its handler
 * stays for long, then meanwhile.
 */
#include "heap_threads.h"

#include "sp_capture.h"
#include "sp_recording_writer.h"
#include "sp_syscall.h"

#include <signal.h>

/* Memos and batches that jumps may cost a process. */
#define LEFT_MAX 256U

SP_TLS uint64_t sp_heap_work_at;
SP_TLS bool sp_heap_is_cut_off;

/* Allocations of the handler, while there is no recording for them. */
static _Atomic uint32_t missed;

/* --- jumps --- */

/* Both on the thread's own stack? */
static bool are_on_own_stack(const struct sp_heap_thread *self, uint64_t low,
			     uint64_t high)
{
	return self->slot &&
	       low >= atomic_load_explicit(&self->slot->stack_low,
					   memory_order_relaxed) &&
	       high < atomic_load_explicit(&self->slot->stack_high, memory_order_relaxed);
}

bool sp_heap_was_left(const struct sp_heap_thread *self, uint64_t mark,
		      uint64_t stack_pointer)
{
	stack_t stack;

	/* A handler's own stack may lie anywhere, also within the thread's. */
	return stack_pointer >= mark && are_on_own_stack(self, mark, stack_pointer) &&
	       sp_syscall2(SYS_sigaltstack, NULL, &stack) == 0 &&
	       !(stack.ss_flags & SS_ONSTACK);
}

static bool is_left_by(const struct sp_heap_thread *self, uint64_t mark,
		       uint64_t stack_pointer)
{
	/* A jump within the handler comes back to us. */
	return mark && stack_pointer > mark &&
	       are_on_own_stack(self, mark, stack_pointer);
}

/* Of a coroutine's stack no bounds are known: the jump leaves the work for ever, or for
 * a while if it goes to another coroutine. */
static bool may_be_left_by(const struct sp_heap_thread *self, uint64_t mark,
			   uint64_t stack_pointer)
{
	stack_t stack;

	return mark && stack_pointer > mark && !are_on_own_stack(self, mark, mark) &&
	       sp_syscall2(SYS_sigaltstack, NULL, &stack) == 0 &&
	       stack_pointer - (uint64_t)(uintptr_t)stack.ss_sp >= stack.ss_size;
}

/*
 * Both are well if the work keeps what it has to itself, and the thread gets a new memo
 * and new batches, as often as that does not add up to much.
 */
static bool can_leave_behind(void)
{
	static _Atomic uint32_t count;

	return atomic_load_explicit(&count, memory_order_relaxed) < LEFT_MAX &&
	       atomic_fetch_add_explicit(&count, 1, memory_order_relaxed) < LEFT_MAX;
}

void sp_heap_leave(struct sp_heap_thread *self, uint64_t stack_pointer)
{
	if (!sp_capture_is_running())
		return;
	if (is_left_by(self, sp_heap_work_at, stack_pointer) ||
	    may_be_left_by(self, sp_heap_work_at, stack_pointer))
		sp_heap_work_at = 0;
	if (is_left_by(self, self->sampling_at, stack_pointer)) {
		self->sampling_at = 0;
		sp_recording_count(&sp_capture.recording, SP_LOSS_HEAP_LEFT, 1);
	} else if (may_be_left_by(self, self->sampling_at, stack_pointer) &&
		   can_leave_behind()) {
		self->memo = NULL;
		self->shortcuts = NULL;
		self->sampling_at = 0;
		sp_recording_count(&sp_capture.recording, SP_LOSS_HEAP_LEFT, 1);
	}
	if (is_left_by(self, self->freeing_at, stack_pointer)) {
		sp_heap_batch_finish(self);
	} else if (may_be_left_by(self, self->freeing_at, stack_pointer) &&
		   can_leave_behind()) {
		sp_heap_batch_finish(self);
		self->batch = 0;
	}
}

/* --- forks --- */

void sp_heap_work_forked(void)
{
	sp_heap_global.forks++;
	atomic_store_explicit(&missed, 0, memory_order_relaxed);
	sp_heap_is_cut_off = sp_heap_work_at != 0;
	if (sp_heap_is_cut_off)
		sp_recording_cut_off(&sp_capture.recording);
}

void sp_heap_work_ended(void)
{
	sp_heap_is_cut_off = false;
	sp_capture_work_ended();
}

bool sp_heap_capture_is_cut_off(void)
{
	return sp_heap_is_cut_off;
}

void sp_heap_count_missed(void)
{
	atomic_fetch_add_explicit(&missed, 1, memory_order_relaxed);
}

void sp_heap_tell_missed(const struct sp_recording *recording)
{
	uint32_t count = atomic_exchange_explicit(&missed, 0, memory_order_relaxed);

	if (count)
		sp_recording_count(recording, SP_LOSS_HEAP_NO_THREAD, count);
}
