/*
 * See span_stack.h. What happens between two of a thread's events is charged to the span
 * it had entered last. Context: hook.
 */
#include "span_stack.h"

#include "sp_clock.h"
#include "span_stays.h"
#include "span_table.h"

#include <time.h>

SP_TLS struct sp_span_mark sp_span_mark_self;

/* With room for one frame more; NULL: there is none. */
static SP_NOINLINE struct sp_span_thread *thread_with_room(void)
{
	struct sp_span_thread *self = sp_span_self;

	return sp_likely(self && self->depth < SP_SPAN_FRAMES_FIRST)
		       ? self
		       : sp_span_make_room();
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

/* What reading the thread's clock takes is between two readings as well: half of it on
 * either side. It is none of the program's. 0: not known yet. */
static _Atomic uint64_t reading_ns;
#define READINGS 32U

void sp_span_measure_reading(void)
{
	uint64_t before_ns, now_ns, least_ns = UINT64_MAX;

	if (atomic_load_explicit(&reading_ns, memory_order_relaxed))
		return;
	before_ns = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
	for (unsigned int i = 0; i < READINGS; i++, before_ns = now_ns) {
		now_ns = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
		if (now_ns - before_ns < least_ns)
			least_ns = now_ns - before_ns;
	}
	/* Others that do so at the same time find about the same. */
	atomic_store_explicit(&reading_ns, least_ns, memory_order_relaxed);
}

static uint64_t thread_cpu_ns(void)
{
	return sp_span_settings.has_exact_cpu ? sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID)
					      : 0;
}

static struct sp_span_frame *top_of(struct sp_span_thread *self)
{
	return self->depth ? sp_span_frame_at(self, self->depth - 1) : NULL;
}

/* A sign of life, in case it is the last one. */
static void note_seen(const struct sp_span_thread *self, uint64_t now_ticks)
{
	if (self->slot)
		atomic_store_explicit(&self->slot->span_seen_ticks, now_ticks,
				      memory_order_relaxed);
}

void sp_span_add_allocations(struct sp_span *span, struct sp_pair before,
			     struct sp_pair after)
{
	atomic_fetch_add_explicit(&span->allocations, after.first - before.first,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&span->alloc_bytes, after.second - before.second,
				  memory_order_relaxed);
}

/* What was allocated since the last event is the innermost span's. */
static void charge(struct sp_span_thread *self)
{
	const struct sp_heap_thread *heap = sp_heap_self;
	const struct sp_span_frame *top;
	struct sp_pair before, now;

	if (sp_unlikely(!heap))
		return;
	before.first = atomic_load_explicit(&self->allocations, memory_order_relaxed);
	if (heap->allocations == before.first)
		return;
	if (sp_unlikely(atomic_load_explicit(&self->heap, memory_order_relaxed) != heap))
		sp_span_note_heap(self, heap);
	before.second = atomic_load_explicit(&self->alloc_bytes, memory_order_relaxed);
	do
		now = (struct sp_pair){heap->allocations, heap->bytes};
	while (!sp_pair_change(&self->allocations, &before, now));
	top = top_of(self);
	if (top && top->span)
		sp_span_add_allocations(top->span, before, now);
}

/* Frames that are not in use are zero: one that a handler meets half filled is none. */
static struct sp_span_frame *push(struct sp_span_thread *self)
{
	struct sp_span_frame *frame = sp_span_frame_at(self, self->depth);

	self->depth++;
	atomic_signal_fence(memory_order_seq_cst);
	return frame;
}

/* frame: the innermost. */
static void pop(struct sp_span_thread *self, struct sp_span_frame *frame)
{
	self->depth--;
	atomic_signal_fence(memory_order_seq_cst);
	*frame = (struct sp_span_frame){.handle = SP_SPAN_NONE};
}

/* --- entering and leaving --- */

/* The thread's clock takes long to read: that is before the stay. */
static struct sp_span_frame *push_with(struct sp_span_thread *self, uint64_t handle,
				       uint64_t stack_pointer)
{
	struct sp_span_frame *frame;

	charge(self);
	frame = push(self);
	frame->label_set = sp_span_mark_self.label_set;
	frame->stack_pointer = stack_pointer;
	/* Last: a handler that jumps away meets what is known of it, or nothing. */
	atomic_signal_fence(memory_order_seq_cst);
	frame->handle = handle;
	atomic_store_explicit(&frame->enter_cpu_ns, thread_cpu_ns(),
			      memory_order_release);
	return frame;
}

static SP_COLD bool is_among_frames(struct sp_span_thread *self, uint64_t handle)
{
	for (uint32_t at = self->depth; at-- > 0;)
		if (sp_span_frame_at(self, at)->handle == handle)
			return true;
	return false;
}

/* Is the thread in it already? Then its time goes on, and is none of a second stay. */
static bool is_inside(struct sp_span_thread *self, const struct sp_span *span,
		      uint64_t handle)
{
	uint64_t use = atomic_load_explicit(&span->use, memory_order_relaxed);

	return sp_unlikely(use & SP_SPAN_USE_COUNT) && !(use & SP_SPAN_USE_CLOSING) &&
	       is_among_frames(self, handle);
}

static SP_COLD void enter_again(struct sp_span_thread *self, struct sp_span *span,
				uint64_t handle)
{
	struct sp_span_frame *frame;

	charge(self);
	frame = push(self);
	frame->label_set = sp_span_mark_self.label_set;
	frame->is_again = true;
	frame->handle = handle;
	frame->span = span;
	publish(self, sp_span_labels_now(span), sp_span_mark_of(handle));
	note_seen(self, sp_clock_ticks());
}

static void enter(uint64_t handle, uint64_t stack_pointer)
{
	struct sp_span *span = NULL;
	struct sp_span_thread *self;
	struct sp_span_frame *frame;
	uint64_t now_ticks;

	if (handle != SP_SPAN_UNSAMPLED) {
		span = sp_span_find(handle);
		if (sp_unlikely(!span)) {
			sp_span_count_misuse(handle);
			return;
		}
	}
	self = thread_with_room();
	if (sp_unlikely(!self))
		return;
	if (span && is_inside(self, span, handle)) {
		enter_again(self, span, handle);
		return;
	}
	frame = push_with(self, handle, stack_pointer);
	now_ticks = sp_clock_ticks();
	if (span) {
		if (sp_unlikely(!sp_span_join(span, handle, &now_ticks, &frame->span))) {
			pop(self, frame);
			sp_span_count_misuse(handle);
			return;
		}
		sp_span_stay_begin(span, now_ticks);
		frame->is_begun = true;
		publish(self, sp_span_labels_now(span), sp_span_mark_of(handle));
	}
	note_seen(self, now_ticks);
}

void sp_span_enter_unsampled(uint64_t stack_pointer)
{
	enter(SP_SPAN_UNSAMPLED, stack_pointer);
}

/* What is entered when it is created needs nobody to wait for: it has idled for no time,
 * and its first stay begins with it. */
void sp_span_open_inside(struct sp_span *span, uint64_t handle, uint64_t stack_pointer)
{
	struct sp_span_thread *self = thread_with_room();
	struct sp_span_frame *frame;
	uint64_t now_ticks;

	if (sp_unlikely(!self)) {
		sp_span_open(span, handle);
		return;
	}
	frame = push_with(self, handle, stack_pointer);
	now_ticks = sp_clock_ticks();
	span->created_ticks = now_ticks;
	atomic_store_explicit(&span->idle_ticks, 0, memory_order_relaxed);
	atomic_store_explicit(&span->stay_ticks, -(now_ticks + SP_SPAN_STAY_BIAS),
			      memory_order_relaxed);
	atomic_store_explicit(&span->entered, 1, memory_order_relaxed);
	/* Release, here and below: as in sp_span_open(). */
	atomic_store_explicit(&span->use,
			      (handle & ~(uint64_t)UINT32_MAX) | SP_SPAN_USE_ENTERED | 1,
			      memory_order_release);
	/* Right behind: a handler that jumps away meets both or neither. */
	frame->span = span;
	atomic_signal_fence(memory_order_seq_cst);
	frame->is_begun = true;
	atomic_store_explicit(&span->state, SP_SPAN_OPEN, memory_order_release);
	publish(self, sp_span_labels_now(span), sp_span_mark_of(handle));
	note_seen(self, now_ticks);
}

void sp_span_enter(uint64_t handle, uint64_t stack_pointer)
{
	uint64_t before = sp_span_begin_change();

	if (handle != SP_SPAN_NONE && sp_span_is_on())
		enter(handle, stack_pointer);
	sp_span_end_change(before);
}

/* What a moment shows. */
struct moment {
	uint64_t ticks, cpu_ns;
};

static struct moment read_moment(void)
{
	struct moment now;

	now.ticks = sp_clock_ticks();
	now.cpu_ns = thread_cpu_ns();
	return now;
}

/* What the thread's clock has gone on since the last look; the next one is from now. */
static void add_cpu(struct sp_span_frame *frame, struct moment now)
{
	uint64_t before_ns, spent_ns, read_ns;

	if (!sp_span_settings.has_exact_cpu)
		return;
	before_ns = atomic_exchange_explicit(&frame->enter_cpu_ns, now.cpu_ns,
					     memory_order_acq_rel);
	atomic_signal_fence(memory_order_seq_cst);
	/* A jump has lost it. */
	if (sp_unlikely(!before_ns))
		return;
	spent_ns = now.cpu_ns - before_ns;
	read_ns = atomic_load_explicit(&reading_ns, memory_order_relaxed);
	if (sp_likely(spent_ns > read_ns))
		atomic_fetch_add_explicit(&frame->span->cpu_ns, spent_ns - read_ns,
					  memory_order_relaxed);
}

/* It may end a little later than now, if it was counted until then. */
static void add_stay(struct sp_span_frame *frame, struct moment *now)
{
	uint64_t counted_ticks;

	frame->is_begun = false;
	atomic_signal_fence(memory_order_seq_cst);
	sp_span_stay_end(frame->span, now->ticks);
	counted_ticks = sp_span_counted_ticks();
	if (sp_unlikely(counted_ticks > now->ticks)) {
		sp_span_stay_lengthen(frame->span, counted_ticks - now->ticks);
		now->ticks = counted_ticks;
	}
	add_cpu(frame, *now);
}

/* The time of stays that go on is known without; their CPU time is not. */
static void settle(struct sp_span_thread *self)
{
	struct moment now = read_moment();

	charge(self);
	/* Inner ones first, as when they are left: whoever reads meanwhile finds in no
	 * span what is not yet in those inside. */
	for (uint32_t at = self->depth; at-- > 0;) {
		struct sp_span_frame *frame = sp_span_frame_at(self, at);

		if (frame->is_begun)
			add_cpu(frame, now);
	}
	note_seen(self, now.ticks);
}

void sp_span_settle(void)
{
	struct sp_span_thread *self = sp_span_self;
	uint64_t before = sp_span_begin_change();

	if (self && self->depth && sp_span_is_on())
		settle(self);
	if (sp_span_is_on())
		sp_span_others_settle(true);
	sp_span_end_change(before);
}

void sp_span_settle_others(bool with_cpu)
{
	if (sp_span_is_on())
		sp_span_others_settle(with_cpu);
}

void sp_span_publish_top(struct sp_span_thread *self)
{
	const struct sp_span_frame *top = top_of(self);

	if (!top)
		publish(self, SP_LABEL_SET_NONE, 0);
	else if (top->span)
		publish(self, sp_span_labels_now(top->span),
			sp_span_mark_of(top->handle));
	else
		publish(self, top->label_set, 0);
}

/* closing: 0, or SP_SPAN_USE_CLOSING: it is closed, too. */
static void part(struct sp_span_frame *frame, uint64_t left_ticks, uint64_t closing)
{
	struct sp_span *span = frame->span;
	uint64_t handle = frame->handle;
	uint64_t use = sp_span_part(span, &left_ticks, closing, &frame->span);
	bool is_last = (use & SP_SPAN_USE_COUNT) == 1;

	if (is_last && (use | closing) & SP_SPAN_USE_CLOSING)
		sp_span_finish_close(span, left_ticks);
	/* It was closed before, or while others are in it. */
	if (sp_unlikely(closing && (use & SP_SPAN_USE_CLOSING || !is_last)))
		sp_span_count_misuse(handle);
}

/* Stays that were within that one, and not left before it, are in no span. */
static SP_COLD void forget_again(struct sp_span_thread *self, uint32_t at)
{
	uint64_t handle = sp_span_frame_at(self, at)->handle;

	for (uint32_t i = at + 1; i < self->depth; i++) {
		struct sp_span_frame *frame = sp_span_frame_at(self, i);

		if (frame->is_again && frame->handle == handle)
			frame->span = NULL;
	}
}

/* A handler of the program jumped away between the span's creation and its stay, when
 * nobody else knew of it, or when its end had begun, which then is as far as it came. */
static SP_COLD void end_without_stay(uint64_t handle)
{
	struct sp_span *span = sp_span_find(handle);

	if (!span)
		return;
	if (atomic_load_explicit(&span->state, memory_order_relaxed) == SP_SPAN_CLAIMED)
		sp_span_open(span, handle);
	if (!(atomic_load_explicit(&span->use, memory_order_relaxed) &
	      SP_SPAN_USE_CLOSING))
		sp_span_close_at(handle, sp_clock_ticks());
}

/* The span is left out, or the thread is in it again, or a handler of the program that
 * ends the stay has interrupted its beginning or its end: the stay's time is that until
 * the span is closed. */
static SP_COLD void end_unbegun(struct sp_span_frame *frame, struct moment now,
				uint64_t closing)
{
	if (frame->span && !frame->is_again)
		part(frame, now.ticks, closing);
	else if (closing && sp_span_is_real(frame->handle))
		end_without_stay(frame->handle);
}

/* What is above takes the place of that one; gives the innermost, which is no more. */
static SP_COLD struct sp_span_frame *move_down(struct sp_span_thread *self, uint32_t at)
{
	for (; at + 1 < self->depth; at++) {
		struct sp_span_frame *to = sp_span_frame_at(self, at);
		struct sp_span_frame *from = sp_span_frame_at(self, at + 1);
		/* Whoever looks on finds it in one of the two, or in none. */
		uint64_t enter_cpu_ns = atomic_exchange_explicit(&from->enter_cpu_ns, 0,
								 memory_order_acq_rel);

		atomic_store_explicit(&to->enter_cpu_ns, 0, memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
		*to = *from;
		atomic_store_explicit(&to->enter_cpu_ns, enter_cpu_ns,
				      memory_order_release);
	}
	return sp_span_frame_at(self, at);
}

/* Whatever a handler of the program that jumps away leaves undone here is left undone:
 * nothing is done twice. closing: as above. */
static void end_stay(struct sp_span_thread *self, uint32_t at,
		     struct sp_span_frame *frame, struct moment now, uint64_t closing)
{
	if (sp_likely(frame->is_begun)) {
		add_stay(frame, &now);
		part(frame, now.ticks, closing);
	} else {
		end_unbegun(frame, now, closing);
	}
	if (sp_unlikely(at + 1 != self->depth))
		frame = move_down(self, at);
	pop(self, frame);
}

/*
 * Its number + 1 among the frames, 0: none. Counted where it is not the last: but of
 * scoped spans those that were entered later on the same stack have ended by now, and who
 * is left is on another, a coroutine's.
 */
static SP_COLD uint32_t find_misused(struct sp_span_thread *self, uint64_t handle)
{
	uint32_t at = self->depth;

	while (at > 0 && sp_span_frame_at(self, at - 1)->handle != handle)
		at--;
	if (!at || !sp_span_frame_at(self, at - 1)->stack_pointer)
		sp_span_count_misuse(handle);
	return at;
}

/* closing: as above. False: the thread is not in it. */
static bool leave(uint64_t handle, struct moment now, uint64_t closing)
{
	struct sp_span_thread *self = sp_span_self;
	struct sp_span_frame *frame;
	uint32_t at;

	if (sp_unlikely(!self)) {
		sp_span_count_misuse(handle);
		return false;
	}
	charge(self);
	at = self->depth;
	frame = top_of(self);
	if (sp_unlikely(!frame || frame->handle != handle)) {
		at = find_misused(self, handle);
		if (!at)
			return false;
		frame = sp_span_frame_at(self, at - 1);
	}
	end_stay(self, at - 1, frame, now, closing);
	sp_span_publish_top(self);
	note_seen(self, now.ticks);
	return true;
}

void sp_span_exit(uint64_t handle)
{
	uint64_t before = sp_span_begin_change();

	if (handle != SP_SPAN_NONE && sp_span_is_on())
		leave(handle, read_moment(), 0);
	sp_span_end_change(before);
}

void sp_span_end_within(uint64_t handle)
{
	if (handle != SP_SPAN_NONE && sp_span_is_on()) {
		struct moment now = read_moment();

		if (!leave(handle, now, SP_SPAN_USE_CLOSING) && sp_span_is_real(handle))
			sp_span_close_at(handle, now.ticks);
	}
}

/* --- scoped spans --- */

static void end_scoped(struct sp_span_thread *self, uint32_t at)
{
	struct moment now = read_moment();

	charge(self);
	forget_again(self, at);
	end_stay(self, at, sp_span_frame_at(self, at), now, SP_SPAN_USE_CLOSING);
	sp_span_publish_top(self);
}

void sp_span_end_scoped(struct sp_span_thread *self, uint32_t at)
{
	uint64_t before = sp_span_begin_change();

	/* In a fork child it may have been the parent's. */
	if (sp_likely(self == sp_span_self) && sp_span_is_on())
		end_scoped(self, at);
	sp_span_end_change(before);
}

/* --- the end --- */

void sp_span_leave_all(struct sp_span_thread *self)
{
	struct moment now = read_moment();

	charge(self);
	while (self->depth) {
		struct sp_span_frame *frame = top_of(self);
		bool is_scoped = frame->stack_pointer != 0;

		end_stay(self, self->depth - 1, frame, now,
			 is_scoped ? SP_SPAN_USE_CLOSING : 0);
	}
	sp_span_publish_top(self);
}

void sp_span_stack_forked(void)
{
	sp_span_self = NULL;
	sp_span_others_forked();
	sp_span_mark_self = (struct sp_span_mark){0, 0};
}
