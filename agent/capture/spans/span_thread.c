/*
 * The memory of a thread's stack of spans: made at its first event, larger by a part when
 * it is full, and gone with the thread. Context: hook.
 */
#include "sp_clock.h"
#include "sp_pages.h"
#include "sp_poisson.h"
#include "sp_thread.h"
#include "span_stack.h"
#include "span_table.h"

#include <assert.h>

#define PART_BYTES (SP_SPAN_PART_FRAMES * sizeof(struct sp_span_frame))

static_assert(sizeof(struct sp_span_thread) <= SP_PAGE_BYTES,
	      "a thread that is in few spans has one page");

SP_TLS struct sp_span_thread *sp_span_self;
static SP_TLS bool has_ended;

/* --- making it --- */

static void seed_numbers(struct sp_span_thread *self)
{
	static _Atomic uint64_t born;
	uint64_t birth = atomic_fetch_add_explicit(&born, 1, memory_order_relaxed) + 1;
	uint64_t other = sp_clock_monotonic_ns() ^ (uint64_t)(uintptr_t)self;

	self->random_state = sp_random_begin(other, birth);
	self->sampler_state = sp_random_begin(
		sp_span_settings.seed ? sp_span_settings.seed : ~other, birth);
}

static struct sp_span_thread *begin_thread(struct sp_slot *slot)
{
	struct sp_span_thread *self = sp_pages_map(sizeof(*self));

	if (!self)
		return NULL;
	self->slot = slot;
	seed_numbers(self);
	if (sp_span_settings.has_exact_cpu)
		sp_span_measure_reading();
	if (sp_span_settings.has_allocations)
		sp_heap_count_for_spans();
	/* Threads have their counters before they run. */
	if (sp_heap_self)
		sp_span_note_heap(self, sp_heap_self);
	sp_span_self = self;
	sp_span_others_add(self);
	return self;
}

struct sp_span_thread *sp_span_thread_of_caller(void)
{
	if (sp_likely(sp_span_self != NULL))
		return sp_span_self;
	return has_ended ? NULL : begin_thread(sp_thread_own_slot());
}

void sp_span_thread_begin(struct sp_slot *slot)
{
	if (!sp_span_self)
		return;
	sp_span_self->slot = slot;
	sp_span_others_add(sp_span_self);
}

/* --- more frames --- */

struct sp_span_frame *sp_span_further_frame(struct sp_span_thread *self, uint32_t at)
{
	uint32_t further = at - SP_SPAN_FRAMES_FIRST;
	/* Acquire: pairs with make_part(). */
	struct sp_span_frame *part = atomic_load_explicit(
		&self->parts[further / SP_SPAN_PART_FRAMES], memory_order_acquire);

	return &part[further % SP_SPAN_PART_FRAMES];
}

/* A handler of the program's may come at any moment, and do the same. */
static SP_COLD bool make_part(_Atomic(struct sp_span_frame *) *place)
{
	struct sp_span_frame *part = sp_pages_map(PART_BYTES), *none = NULL;

	/* Release: whoever finds it finds it empty. */
	if (part && !atomic_compare_exchange_strong_explicit(place, &none, part,
							     memory_order_release,
							     memory_order_relaxed)) {
		sp_pages_unmap(part, PART_BYTES);
		return true;
	}
	return part;
}

static bool has_room(struct sp_span_thread *self)
{
	uint32_t further = self->depth - SP_SPAN_FRAMES_FIRST;
	_Atomic(struct sp_span_frame *) *place;

	if (self->depth < SP_SPAN_FRAMES_FIRST)
		return true;
	if (further >= SP_SPAN_PARTS * SP_SPAN_PART_FRAMES)
		return false;
	place = &self->parts[further / SP_SPAN_PART_FRAMES];
	return sp_likely(atomic_load_explicit(place, memory_order_relaxed) != NULL) ||
	       make_part(place);
}

struct sp_span_thread *sp_span_make_room(void)
{
	struct sp_span_thread *self = sp_span_thread_of_caller();

	if (self && has_room(self))
		return self;
	sp_recording_count(&sp_span_recording, SP_LOSS_SPAN_NO_ROOM, 1);
	return NULL;
}

/* --- its end --- */

void sp_span_thread_unmap(struct sp_span_thread *self)
{
	for (uint32_t i = 0; i < SP_SPAN_PARTS; i++) {
		/* Acquire: pairs with make_part(). */
		struct sp_span_frame *part =
			atomic_load_explicit(&self->parts[i], memory_order_acquire);

		if (part)
			sp_pages_unmap(part, PART_BYTES);
	}
	sp_pages_unmap(self, sizeof(*self));
}

void sp_span_thread_end(void)
{
	uint64_t before = sp_span_begin_change();
	struct sp_span_thread *self = sp_span_self;

	has_ended = true;
	if (self && sp_span_is_on())
		sp_span_leave_all(self);
	sp_span_self = NULL;
	/* Else who looks at it unmaps it. */
	if (self && (sp_span_others_take_back(self) || sp_span_others_leave(self)))
		sp_span_thread_unmap(self);
	sp_span_end_change(before);
}
