/*
 * The reporter thread from time to time, and who ends the program, add up what threads
 * have used and allocated in the spans that they are in: their CPU clocks and counters
 * can be read by all, and their stacks of spans are found here by their slots. A stack is
 * borrowed while it is looked at: a thread that ends meanwhile leaves it to the borrower.
 * What came since some reading is whose who replaces that, so that it is added once.
 * Context: hook; no lock, no wait.
 */
#include "sp_clock.h"
#include "sp_heap_capture.h"
#include "sp_pages.h"
#include "sp_thread.h"
#include "span_stack.h"
#include "span_table.h"

/* By slot, in parts that are made when they are needed: there may be 65536, but hardly
 * ever are. */
#define PART_SLOTS 4096U
#define PARTS 16U

/* A stack of spans, 0: none, or it is borrowed; IS_LEFT: its thread is gone, and whoever
 * has borrowed it is to unmap it. */
typedef _Atomic uint64_t known_place;
#define IS_LEFT UINT64_C(1)
static known_place first_part[PART_SLOTS];
static _Atomic(known_place *) later_parts[PARTS - 1];
/* None is known from there on: what was never used stays untouched. */
static _Atomic uint32_t known_end;

/* NULL: it was not made. */
static known_place *place_at(uint32_t slot)
{
	uint32_t part = slot / PART_SLOTS;
	known_place *places = first_part;

	/* Acquire: pairs with the release of who made it. */
	if (part)
		places = atomic_load_explicit(&later_parts[part - 1],
					      memory_order_acquire);
	return places ? &places[slot % PART_SLOTS] : NULL;
}

static SP_COLD void make_part(_Atomic(known_place *) *part)
{
	known_place *nothing = NULL, *places = sp_pages_map(PART_SLOTS * sizeof(*places));

	if (places && !atomic_compare_exchange_strong_explicit(part, &nothing, places,
							       memory_order_release,
							       memory_order_relaxed))
		sp_pages_unmap(places, PART_SLOTS * sizeof(*places));
}

static void raise_end(uint32_t end)
{
	uint32_t now = atomic_load_explicit(&known_end, memory_order_relaxed);

	while (now < end && !atomic_compare_exchange_weak_explicit(&known_end, &now, end,
								   memory_order_relaxed,
								   memory_order_relaxed))
		;
}

/* NULL: it has none. */
static known_place *place_of(const struct sp_span_thread *self)
{
	uint32_t slot =
		self->slot ? sp_thread_slot_index(self->slot) : PARTS * PART_SLOTS;

	return slot < PARTS * PART_SLOTS ? place_at(slot) : NULL;
}

void sp_span_others_add(struct sp_span_thread *self)
{
	uint32_t slot =
		self->slot ? sp_thread_slot_index(self->slot) : PARTS * PART_SLOTS;
	known_place *place;

	if (slot >= PARTS * PART_SLOTS)
		return;
	place = place_at(slot);
	if (sp_unlikely(!place)) {
		make_part(&later_parts[slot / PART_SLOTS - 1]);
		place = place_at(slot);
	}
	if (!place)
		return;
	self->tid = atomic_load_explicit(&self->slot->tid, memory_order_relaxed);
	raise_end(slot + 1);
	/* Release: whoever finds it finds it filled. */
	atomic_store_explicit(place, (uint64_t)(uintptr_t)self, memory_order_release);
}

/* Acquire and release: pairs with who has looked at it, and the other way round. */
static bool replace(known_place *place, uint64_t known, uint64_t with)
{
	return atomic_compare_exchange_strong_explicit(
		place, &known, with, memory_order_acq_rel, memory_order_relaxed);
}

bool sp_span_others_take_back(struct sp_span_thread *self)
{
	known_place *place = place_of(self);

	return !place || replace(place, (uint64_t)(uintptr_t)self, 0);
}

bool sp_span_others_leave(struct sp_span_thread *self)
{
	known_place *place = place_of(self);
	uint64_t known = (uint64_t)(uintptr_t)self;

	/* Else it was given back in this moment. */
	return !replace(place, 0, known | IS_LEFT) && replace(place, known, 0);
}

/* --- what they have come to --- */

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

/* Acquire: there is room for so many. */
static uint32_t depth_of(const struct sp_span_thread *thread)
{
	return __atomic_load_n(&thread->depth, __ATOMIC_ACQUIRE);
}

static void settle_cpu(struct sp_span_thread *thread)
{
	uint64_t cpu_ns = sp_clock_read_ns(sp_clock_of_thread((int)thread->tid));

	/* Inner ones first, as when they are left. */
	for (uint32_t at = depth_of(thread); at-- > 0;)
		settle_frame(sp_span_frame_at(thread, at), cpu_ns);
}

/* The innermost, SP_SPAN_NONE: it is in none. */
static uint64_t handle_of(struct sp_span_thread *thread)
{
	uint32_t depth = depth_of(thread);

	return depth ? __atomic_load_n(&sp_span_frame_at(thread, depth - 1)->handle,
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

/* with_cpu: also by its clock, which is a call of the kernel. */
static void settle_thread(const struct sp_slot *slot, struct sp_span_thread *thread,
			  bool with_cpu)
{
	/* The slot may be another thread's by now, where one ended unseen. */
	if (atomic_load_explicit(&slot->tid, memory_order_relaxed) != thread->tid ||
	    atomic_load_explicit(&slot->state, memory_order_acquire) != SP_SLOT_LIVE)
		return;
	settle_allocations(thread);
	if (with_cpu && sp_span_settings.has_exact_cpu &&
	    handle_of(thread) != SP_SPAN_NONE)
		settle_cpu(thread);
}

static void give_back(known_place *place, struct sp_span_thread *thread)
{
	uint64_t known = (uint64_t)(uintptr_t)thread;

	if (!replace(place, 0, known) && replace(place, known | IS_LEFT, 0))
		sp_span_thread_unmap(thread);
}

static void settle_known(uint32_t slot, bool with_cpu)
{
	known_place *place = place_at(slot);
	struct sp_span_thread *thread;
	uint64_t known;

	if (!place || !atomic_load_explicit(place, memory_order_relaxed))
		return;
	known = atomic_exchange_explicit(place, 0, memory_order_acquire);
	/* Somebody else has borrowed it. */
	if (known & IS_LEFT)
		replace(place, 0, known);
	thread = known & IS_LEFT ? NULL : (struct sp_span_thread *)(uintptr_t)known;
	if (!thread)
		return;
	if (thread != sp_span_self)
		settle_thread(sp_thread_slot_at(slot), thread, with_cpu);
	give_back(place, thread);
}

void sp_span_others_settle(bool with_cpu)
{
	uint64_t slots = sp_recording_used(&sp_capture.recording, SP_SECTION_SLOTS);
	uint32_t end = atomic_load_explicit(&known_end, memory_order_relaxed);

	for (uint32_t i = 0; i < slots && i < end; i++)
		settle_known(i, with_cpu);
}

void sp_span_others_forked(void)
{
	uint32_t end = atomic_load_explicit(&known_end, memory_order_relaxed);

	for (uint32_t i = 0; i < end; i++) {
		known_place *place = place_at(i);

		if (place)
			atomic_store_explicit(place, 0, memory_order_relaxed);
	}
}
