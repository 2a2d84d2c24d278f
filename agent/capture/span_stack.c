/*
 * See span_stack.h. What happens between two of a thread's events is charged to the span
 * it had entered last. Context: hook.
 */
#include "span_stack.h"

#include "sp_clock.h"
#include "sp_heap_capture.h"
#include "sp_pages.h"
#include "sp_thread.h"
#include "span_table.h"

#include <string.h>
#include <time.h>

#define FRAMES_FIRST_BYTES SP_PAGE_BYTES
/* Deeper ones are created and closed, but not entered. */
#define DEPTH_MAX 65536U

SP_TLS struct sp_span_thread *sp_span_self;
SP_TLS struct sp_span_mark sp_span_mark_self;
static SP_TLS bool has_ended;

/* --- threads --- */

static struct sp_span_thread *begin_thread(struct sp_slot *slot)
{
	struct sp_span_thread *self = sp_pages_map(FRAMES_FIRST_BYTES);

	if (!self)
		return NULL;
	self->mapped_bytes = FRAMES_FIRST_BYTES;
	self->frames = (struct sp_span_frame *)(self + 1);
	self->capacity = (uint32_t)((FRAMES_FIRST_BYTES - sizeof(*self)) /
				    sizeof(struct sp_span_frame));
	self->slot = slot;
	self->random_state = sp_clock_monotonic_ns() ^ (uint64_t)(uintptr_t)self;
	sp_span_self = self;
	return self;
}

struct sp_span_thread *sp_span_thread_of_caller(void)
{
	if (sp_likely(sp_span_self != NULL))
		return sp_span_self;
	return has_ended ? NULL : begin_thread(sp_thread_own_slot());
}

static bool make_room(struct sp_span_thread *self)
{
	uint64_t bytes = self->mapped_bytes * 2;
	struct sp_span_thread *larger;

	if (sp_likely(self->depth < self->capacity))
		return true;
	if (self->depth >= DEPTH_MAX)
		return false;
	larger = sp_pages_map(bytes);
	if (!larger)
		return false;
	memcpy(larger, self, self->mapped_bytes);
	larger->mapped_bytes = bytes;
	larger->frames = (struct sp_span_frame *)(larger + 1);
	larger->capacity =
		(uint32_t)((bytes - sizeof(*self)) / sizeof(struct sp_span_frame));
	sp_span_self = larger;
	sp_pages_unmap(self, self->mapped_bytes);
	return true;
}

/* One store for the handler, which may come anywhere: the old state or the new. */
static void publish(const struct sp_span_thread *self, uint32_t label_set, uint32_t span)
{
	sp_span_mark_self.span = span;
	sp_span_mark_self.label_set = label_set;
	if (self->slot)
		atomic_store_explicit(&self->slot->label_set, label_set,
				      memory_order_relaxed);
}

uint64_t sp_span_thread_cpu_ns(void)
{
	return sp_span_settings.has_exact_cpu ? sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID)
					      : 0;
}

static struct sp_span_frame *top_of(struct sp_span_thread *self)
{
	return self->depth ? &self->frames[self->depth - 1] : NULL;
}

void sp_span_charge(struct sp_span_thread *self)
{
	const struct sp_heap_thread *heap = sp_heap_self;
	const struct sp_span_frame *top = top_of(self);
	struct sp_span *span;
	uint64_t allocations, bytes;

	if (!heap)
		return;
	allocations = heap->allocations - self->allocations;
	bytes = heap->bytes - self->alloc_bytes;
	self->allocations = heap->allocations;
	self->alloc_bytes = heap->bytes;
	if (!allocations || !top || !sp_span_is_real(top->handle))
		return;
	span = sp_span_find(top->handle);
	if (!span)
		return;
	atomic_fetch_add_explicit(&span->allocations, allocations, memory_order_relaxed);
	atomic_fetch_add_explicit(&span->alloc_bytes, bytes, memory_order_relaxed);
}

/* --- entering and leaving --- */

void sp_span_enter(uint64_t handle, uint64_t stack_pointer)
{
	struct sp_span_thread *self;
	struct sp_span *span = NULL;
	struct sp_span_frame *frame;

	if (handle == SP_SPAN_NONE || !sp_span_is_on())
		return;
	self = sp_span_thread_of_caller();
	if (handle != SP_SPAN_UNSAMPLED) {
		span = sp_span_find_open(handle);
		if (!span)
			return;
	}
	if (!self || !make_room(self)) {
		sp_recording_count(&sp_capture.recording, SP_LOSS_SPAN_NO_ROOM, 1);
		return;
	}
	self = sp_span_self;
	sp_span_charge(self);
	if (span) {
		atomic_fetch_add(&span->entered_now, 1);
		atomic_fetch_add_explicit(&span->enters, 1, memory_order_relaxed);
	}
	frame = &self->frames[self->depth];
	frame->handle = handle;
	frame->label_set = sp_span_mark_self.label_set;
	frame->stack_pointer = stack_pointer;
	frame->enter_cpu_ns = sp_span_thread_cpu_ns();
	frame->enter_ticks = 0; /* until the clock is read */
	atomic_signal_fence(memory_order_seq_cst);
	self->depth++;
	publish(self, span ? span->label_set : frame->label_set,
		span ? sp_span_mark_of(handle) : sp_span_mark_self.span);
	frame->enter_ticks = sp_clock_ticks();
}

/* Sums of one stay in a span; NULL if there is no such span. */
static struct sp_span *add_stay(const struct sp_span_frame *frame, uint64_t now_ticks,
				uint64_t now_cpu_ns)
{
	struct sp_span *span =
		sp_span_is_real(frame->handle) ? sp_span_find(frame->handle) : NULL;

	if (!span)
		return NULL;
	atomic_fetch_add_explicit(&span->busy_ticks, now_ticks - frame->enter_ticks,
				  memory_order_relaxed);
	if (sp_span_settings.has_exact_cpu)
		atomic_fetch_add_explicit(&span->cpu_ns, now_cpu_ns - frame->enter_cpu_ns,
					  memory_order_relaxed);
	return span;
}

static void settle(const struct sp_span_frame *frame, uint64_t now_ticks,
		   uint64_t now_cpu_ns)
{
	struct sp_span *span = add_stay(frame, now_ticks, now_cpu_ns);

	if (span && atomic_fetch_sub(&span->entered_now, 1) == 1 &&
	    atomic_load(&span->is_close_wanted))
		sp_span_finish_close(span);
}

void sp_span_settle(void)
{
	struct sp_span_thread *self = sp_span_self;
	uint64_t now_ticks, now_cpu_ns;

	if (!self || !self->depth || !sp_span_is_on())
		return;
	now_ticks = sp_clock_ticks();
	now_cpu_ns = sp_span_thread_cpu_ns();
	sp_span_charge(self);
	for (uint32_t at = 0; at < self->depth; at++) {
		struct sp_span_frame *frame = &self->frames[at];

		/* A signal handler of the program ends it while it enters this one. */
		if (!frame->enter_ticks)
			continue;
		add_stay(frame, now_ticks, now_cpu_ns);
		frame->enter_ticks = now_ticks;
		frame->enter_cpu_ns = now_cpu_ns;
	}
}

void sp_span_publish_top(struct sp_span_thread *self)
{
	const struct sp_span_frame *top = top_of(self);
	const struct sp_span *span =
		top && sp_span_is_real(top->handle) ? sp_span_find(top->handle) : NULL;

	if (span)
		publish(self, span->label_set, sp_span_mark_of(top->handle));
	else if (top)
		publish(self, top->label_set, 0);
	else
		publish(self, SP_LABEL_SET_NONE, 0);
}

void sp_span_remove_frame(struct sp_span_thread *self, uint32_t at, uint64_t now_ticks,
			  uint64_t now_cpu_ns)
{
	struct sp_span_frame frame = self->frames[at];

	memmove(&self->frames[at], &self->frames[at + 1],
		(self->depth - at - 1) * sizeof(frame));
	self->depth--;
	settle(&frame, now_ticks, now_cpu_ns);
}

void sp_span_exit(uint64_t handle)
{
	struct sp_span_thread *self = sp_span_self;
	uint64_t now_ticks, now_cpu_ns;
	uint32_t at;

	if (handle == SP_SPAN_NONE || !sp_span_is_on())
		return;
	now_ticks = sp_clock_ticks();
	if (!self) {
		sp_span_count_misuse();
		return;
	}
	now_cpu_ns = sp_span_thread_cpu_ns();
	sp_span_charge(self);
	for (at = self->depth; at > 0; at--)
		if (self->frames[at - 1].handle == handle)
			break;
	if (!at) {
		sp_span_count_misuse();
		return;
	}
	if (sp_unlikely(at != self->depth))
		sp_span_count_misuse();
	sp_span_remove_frame(self, at - 1, now_ticks, now_cpu_ns);
	sp_span_publish_top(self);
}

/* --- life --- */

void sp_span_thread_begin(struct sp_slot *slot)
{
	if (sp_span_self)
		sp_span_self->slot = slot;
}

void sp_span_thread_end(void)
{
	struct sp_span_thread *self = sp_span_self;
	uint64_t now_ticks, now_cpu_ns;

	has_ended = true;
	if (!self)
		return;
	if (sp_span_is_on()) {
		now_ticks = sp_clock_ticks();
		now_cpu_ns = sp_span_thread_cpu_ns();
		sp_span_charge(self);
		while (self->depth) {
			uint64_t handle = self->frames[self->depth - 1].handle;
			bool is_scoped = self->frames[self->depth - 1].stack_pointer != 0;

			sp_span_remove_frame(self, self->depth - 1, now_ticks,
					     now_cpu_ns);
			if (is_scoped)
				sp_span_close(handle);
		}
		sp_span_publish_top(self);
	}
	sp_span_self = NULL;
	sp_pages_unmap(self, self->mapped_bytes);
}

void sp_span_stack_forked(void)
{
	sp_span_self = NULL;
	sp_span_mark_self = (struct sp_span_mark){0, 0};
}
