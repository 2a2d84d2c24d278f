/*
 * Who ends the program adds up what the other threads have used and allocated in the
 * spans that they are in: their CPU clocks and counters can be read by all, and their
 * stacks of spans are found here by their slots. A stack is borrowed while it is looked
 * at: a thread that ends, or needs a larger one, meanwhile leaves it where it is. What
 * came since some reading is whose who replaces that, so that it is added once. Context:
 * hook; no lock, no wait.
 */
#include "sp_clock.h"
#include "sp_heap_capture.h"
#include "sp_thread.h"
#include "span_stack.h"
#include "span_table.h"

/* Of slots beyond these it is not known; the address space is the program's, too. */
#define KNOWN_MAX 4096U

static _Atomic(struct sp_span_thread *) known[KNOWN_MAX];
/* None is known from there on: what was never used stays untouched. */
static _Atomic uint32_t known_end;

static void raise_end(uint32_t end)
{
	uint32_t now = atomic_load_explicit(&known_end, memory_order_relaxed);

	while (now < end && !atomic_compare_exchange_weak_explicit(&known_end, &now, end,
								   memory_order_relaxed,
								   memory_order_relaxed))
		;
}

static _Atomic(struct sp_span_thread *) *place_of(const struct sp_span_thread *self)
{
	uint32_t index = self->slot ? sp_thread_slot_index(self->slot) : KNOWN_MAX;

	return index < KNOWN_MAX ? &known[index] : NULL;
}

void sp_span_others_add(struct sp_span_thread *self)
{
	_Atomic(struct sp_span_thread *) *place = place_of(self);

	if (!place)
		return;
	self->tid = atomic_load_explicit(&self->slot->tid, memory_order_relaxed);
	raise_end((uint32_t)(place - known) + 1);
	/* Release: whoever finds it finds it filled. */
	atomic_store_explicit(place, self, memory_order_release);
}

bool sp_span_others_remove(struct sp_span_thread *self)
{
	_Atomic(struct sp_span_thread *) *place = place_of(self);
	struct sp_span_thread *expected = self;

	/* Acquire: pairs with the release of who has looked at it. */
	return !place || atomic_compare_exchange_strong_explicit(place, &expected, NULL,
								 memory_order_acq_rel,
								 memory_order_acquire);
}

/* --- the end --- */

static void settle_frame(struct sp_span_frame *frame, uint64_t cpu_ns)
{
	/* Acquire, first: while the beginning is the same the stay is. */
	uint64_t enter_ns =
		atomic_load_explicit(&frame->enter_cpu_ns, memory_order_acquire);
	uint64_t handle = frame->handle;
	struct sp_span *span =
		enter_ns && sp_span_is_real(handle) ? sp_span_find(handle) : NULL;

	if (!span || cpu_ns <= enter_ns ||
	    !atomic_compare_exchange_strong_explicit(&frame->enter_cpu_ns, &enter_ns,
						     cpu_ns, memory_order_acq_rel,
						     memory_order_relaxed))
		return;
	atomic_fetch_add_explicit(&span->cpu_ns, cpu_ns - enter_ns, memory_order_relaxed);
}

static void settle_cpu(struct sp_span_thread *thread)
{
	uint64_t cpu_ns = sp_clock_read_ns(sp_clock_of_thread((int)thread->tid));

	/* Inner ones first, as when they are left. */
	for (uint32_t at = thread->capacity; at-- > 0;)
		settle_frame(&thread->frames[at], cpu_ns);
}

/* The innermost, SP_SPAN_NONE: it is in none. */
static uint64_t handle_of(const struct sp_span_thread *thread)
{
	uint32_t depth = __atomic_load_n(&thread->depth, __ATOMIC_ACQUIRE);

	return depth ? __atomic_load_n(&thread->frames[depth - 1].handle,
				       __ATOMIC_ACQUIRE)
		     : SP_SPAN_NONE;
}

/* The thread may go on. */
#define TRIES 8U

static void settle_allocations(struct sp_span_thread *thread)
{
	/* Acquire, each time: in this order. */
	const struct sp_heap_thread *heap =
		atomic_load_explicit(&thread->heap, memory_order_acquire);

	for (unsigned int i = 0; i < TRIES && heap; i++) {
		struct sp_pair before = {
			atomic_load_explicit(&thread->allocations, memory_order_acquire),
			atomic_load_explicit(&thread->alloc_bytes, memory_order_acquire)};
		uint64_t handle = handle_of(thread);
		struct sp_span *span =
			sp_span_is_real(handle) ? sp_span_find(handle) : NULL;
		struct sp_pair now = {
			__atomic_load_n(&heap->allocations, __ATOMIC_ACQUIRE),
			__atomic_load_n(&heap->bytes, __ATOMIC_ACQUIRE)};

		if (!span || now.first == before.first ||
		    atomic_load_explicit(&heap->life, memory_order_acquire) !=
			    thread->heap_life)
			return;
		/* If it has left that span and come back, then it has allocated in no
		 * other, or the former reading is no more. */
		if (handle_of(thread) == handle &&
		    sp_pair_change(&thread->allocations, &before, now)) {
			sp_span_add_allocations(span, before, now);
			return;
		}
	}
}

static void settle_thread(const struct sp_slot *slot, struct sp_span_thread *thread)
{
	/* The slot may be another thread's by now, where one ended unseen. */
	if (atomic_load_explicit(&slot->tid, memory_order_relaxed) != thread->tid ||
	    atomic_load_explicit(&slot->state, memory_order_acquire) != SP_SLOT_LIVE)
		return;
	settle_allocations(thread);
	if (sp_span_settings.has_exact_cpu)
		settle_cpu(thread);
}

void sp_span_others_settle(void)
{
	uint64_t slots = sp_recording_used(&sp_capture.recording, SP_SECTION_SLOTS);
	uint32_t end = atomic_load_explicit(&known_end, memory_order_relaxed);

	for (uint32_t i = 0; i < slots && i < end; i++) {
		struct sp_span_thread *thread =
			atomic_exchange_explicit(&known[i], NULL, memory_order_acquire);
		struct sp_span_thread *nobody = NULL;

		if (!thread)
			continue;
		if (thread != sp_span_self)
			settle_thread(sp_thread_slot_at(i), thread);
		atomic_compare_exchange_strong_explicit(&known[i], &nobody, thread,
							memory_order_release,
							memory_order_relaxed);
	}
}

void sp_span_others_forked(void)
{
	uint32_t end = atomic_load_explicit(&known_end, memory_order_relaxed);

	for (uint32_t i = 0; i < end; i++)
		atomic_store_explicit(&known[i], NULL, memory_order_relaxed);
}
