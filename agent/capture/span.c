/*
 * Spans: their table, and the stack of those that each thread has entered. A thread's
 * stack is private memory of its own; the spans' sums are atomic, as any number of
 * threads may work for one span at once. What a handler of ours may meet in between is
 * one word, the thread's label set. Context: hook.
 */
#include "sp_span_capture.h"

#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_heap_capture.h"
#include "sp_pages.h"
#include "sp_poisson.h"
#include "sp_recording_writer.h"
#include "sp_thread.h"
#include "span_names.h"

#include <string.h>
#include <time.h>

#define FRAMES_FIRST_BYTES SP_PAGE_BYTES
/* Storage is taken for so many spans at once. */
#define SPANS_AHEAD 64U
#define STORAGE_TRIES 4U
/* Deeper ones are created and closed, but not entered. */
#define DEPTH_MAX 65536U

struct frame {
	uint64_t handle;
	uint64_t enter_ticks;
	uint64_t enter_cpu_ns;
	uint64_t stack_pointer; /* 0: not scoped */
	uint32_t label_set;	/* of the thread, before this frame */
};

/* One thread. */
struct sp_span_thread {
	struct frame *frames;
	uint32_t depth, capacity;
	/* The heap's counters when the thread was last charged. */
	uint64_t allocations, alloc_bytes;
	struct sp_slot *slot;
	uint64_t random_state;
	uint64_t mapped_bytes;
};

static SP_TLS struct sp_span_thread *span_self;
static SP_TLS bool has_ended;
/* Read by heap hooks of this thread; the handler reads the slot's copy. */
static SP_TLS struct sp_span_mark mark_self;

static struct sp_span_settings settings;
static bool is_initialised;
static _Atomic uint64_t free_spans; /* tag << 32 | index + 1 */
static _Atomic uint64_t root_handle;
static _Atomic uint32_t root_label_set;
static _Atomic uint64_t next_span_id;
static bool (*_Atomic read_outside)(struct sp_span_context *context);
static uint32_t outside_callsite;

void sp_span_capture_init(const struct sp_span_settings *wanted)
{
	settings = *wanted;
	is_initialised = true;
}

static _Atomic uint32_t epoch;

uint32_t sp_span_epoch(void)
{
	return atomic_load_explicit(&epoch, memory_order_relaxed);
}

void sp_span_capture_begin(struct sp_recording *recording)
{
	if (!is_initialised)
		return;
	recording->header->span_probability_millionths = settings.probability_millionths;
	recording->header->has_exact_span_cpu = settings.has_exact_cpu;
	atomic_store_explicit(&epoch, sp_span_epoch() % 4095 + 1, memory_order_relaxed);
}

bool sp_span_is_on(void)
{
	return is_initialised && sp_capture_is_running();
}

static void count_misuse(void)
{
	sp_recording_count(&sp_capture.recording, SP_LOSS_SPAN_MISUSE, 1);
}

/* --- the table --- */

static struct sp_span *span_at(uint32_t index)
{
	return sp_recording_item(&sp_capture.recording, SP_SECTION_SPANS, index);
}

/* NULL: no such span any more. */
static struct sp_span *find(uint64_t handle)
{
	uint32_t number = (uint32_t)handle;
	struct sp_span *span;

	if (!number ||
	    number > sp_recording_used(&sp_capture.recording, SP_SECTION_SPANS))
		return NULL;
	span = span_at(number - 1);
	return atomic_load_explicit(&span->generation, memory_order_acquire) ==
			       (uint32_t)(handle >> 32)
		       ? span
		       : NULL;
}

/* NULL, and counted: none that something can be done with. */
static struct sp_span *find_open(uint64_t handle)
{
	struct sp_span *span = find(handle);

	if (span &&
	    atomic_load_explicit(&span->state, memory_order_relaxed) == SP_SPAN_OPEN)
		return span;
	count_misuse();
	return NULL;
}

/* What a live block keeps of a handle: generation, cut, and index + 1. */
#define MARK_INDEX_BITS 18U
#define MARK_INDEX_MASK ((1U << MARK_INDEX_BITS) - 1)

static uint32_t mark_of(uint64_t handle)
{
	return (uint32_t)(handle >> 32) << MARK_INDEX_BITS |
	       ((uint32_t)handle & MARK_INDEX_MASK);
}

static bool is_real(uint64_t handle)
{
	return handle != SP_SPAN_NONE && handle != SP_SPAN_UNSAMPLED;
}

static struct sp_span *take_free(uint32_t *index)
{
	uint64_t head = atomic_load_explicit(&free_spans, memory_order_acquire);

	while ((uint32_t)head) {
		struct sp_span *span = span_at((uint32_t)head - 1);
		uint64_t next =
			((head >> 32) + 1) << 32 |
			atomic_load_explicit(&span->next_free, memory_order_relaxed);

		if (atomic_compare_exchange_weak_explicit(&free_spans, &head, next,
							  memory_order_acquire,
							  memory_order_acquire)) {
			*index = (uint32_t)head - 1;
			return span;
		}
	}
	return NULL;
}

static struct sp_span *take_new(uint32_t *index)
{
	const struct sp_recording *recording = &sp_capture.recording;
	_Atomic uint64_t *used_items =
		&recording->header->sections[SP_SECTION_SPANS].used_items;
	uint64_t used = atomic_load_explicit(used_items, memory_order_relaxed);

	while (used < sp_recording_reserved(recording, SP_SECTION_SPANS))
		if (atomic_compare_exchange_weak_explicit(used_items, &used, used + 1,
							  memory_order_release,
							  memory_order_relaxed)) {
			*index = (uint32_t)used;
			return span_at(*index);
		}
	return NULL;
}

static struct sp_span *take_any(uint32_t *index)
{
	struct sp_span *span = take_free(index);

	return span ? span : take_new(index);
}

/* Other threads may be faster. */
static struct sp_span *take_storage(uint32_t *index)
{
	struct sp_recording *recording = &sp_capture.recording;
	uint64_t capacity = recording->header->sections[SP_SECTION_SPANS].capacity_items;
	struct sp_span *span = NULL;

	for (unsigned int tries = 0; tries < STORAGE_TRIES && !span; tries++) {
		uint64_t used = sp_recording_used(recording, SP_SECTION_SPANS);
		uint64_t wanted =
			used + SPANS_AHEAD < capacity ? used + SPANS_AHEAD : capacity;

		if (wanted == used ||
		    sp_recording_reserve(recording, SP_SECTION_SPANS, wanted) != 0)
			break;
		span = take_any(index);
	}
	return span;
}

static struct sp_span *take(uint32_t *index)
{
	struct sp_span *span = take_any(index);

	if (sp_likely(span != NULL))
		return span;
	/* Closed ones wait for the consumer, who is behind. */
	sp_capture_take_storage();
	span = take_any(index);
	/* Here and now: whoever drains may be a thread that does not run. */
	if (!span)
		span = take_storage(index);
	if (!span) {
		sp_recording_count(&sp_capture.recording, SP_LOSS_SPAN_NO_ROOM, 1);
		sp_capture_wake_reporter();
	}
	return span;
}

void sp_span_give_back(uint32_t index)
{
	struct sp_span *span = span_at(index);
	uint64_t head = atomic_load_explicit(&free_spans, memory_order_relaxed);
	uint64_t next;

	do {
		atomic_store_explicit(&span->next_free, (uint32_t)head,
				      memory_order_relaxed);
		next = ((head >> 32) + 1) << 32 | (index + 1);
	} while (!atomic_compare_exchange_weak_explicit(
		&free_spans, &head, next, memory_order_release, memory_order_relaxed));
}

/* --- threads --- */

static struct sp_span_thread *begin_thread(struct sp_slot *slot)
{
	struct sp_span_thread *self = sp_pages_map(FRAMES_FIRST_BYTES);

	if (!self)
		return NULL;
	self->mapped_bytes = FRAMES_FIRST_BYTES;
	self->frames = (struct frame *)(self + 1);
	self->capacity =
		(uint32_t)((FRAMES_FIRST_BYTES - sizeof(*self)) / sizeof(struct frame));
	self->slot = slot;
	self->random_state = sp_clock_monotonic_ns() ^ (uint64_t)(uintptr_t)self;
	span_self = self;
	return self;
}

static struct sp_span_thread *thread_of_caller(void)
{
	if (sp_likely(span_self != NULL))
		return span_self;
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
	larger->frames = (struct frame *)(larger + 1);
	larger->capacity = (uint32_t)((bytes - sizeof(*self)) / sizeof(struct frame));
	span_self = larger;
	sp_pages_unmap(self, self->mapped_bytes);
	return true;
}

/* One store for the handler, which may come anywhere: the old state or the new. */
static void publish(const struct sp_span_thread *self, uint32_t label_set, uint32_t span)
{
	mark_self.span = span;
	mark_self.label_set = label_set;
	if (self->slot)
		atomic_store_explicit(&self->slot->label_set, label_set,
				      memory_order_relaxed);
}

static uint64_t thread_cpu_ns(void)
{
	return settings.has_exact_cpu ? sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID) : 0;
}

static struct frame *top_of(struct sp_span_thread *self)
{
	return self->depth ? &self->frames[self->depth - 1] : NULL;
}

/* What was allocated since the last event is the innermost span's. */
static void charge(struct sp_span_thread *self)
{
	const struct sp_heap_thread *heap = sp_heap_self;
	const struct frame *top = top_of(self);
	struct sp_span *span;
	uint64_t allocations, bytes;

	if (!heap)
		return;
	allocations = heap->allocations - self->allocations;
	bytes = heap->bytes - self->alloc_bytes;
	self->allocations = heap->allocations;
	self->alloc_bytes = heap->bytes;
	if (!allocations || !top || !is_real(top->handle))
		return;
	span = find(top->handle);
	if (!span)
		return;
	atomic_fetch_add_explicit(&span->allocations, allocations, memory_order_relaxed);
	atomic_fetch_add_explicit(&span->alloc_bytes, bytes, memory_order_relaxed);
}

/* --- closing --- */

/* The last one out of close and exit makes it final. */
static void finish_close(struct sp_span *span)
{
	uint32_t open = SP_SPAN_OPEN;

	atomic_store_explicit(&span->closed_ticks, sp_clock_ticks(),
			      memory_order_relaxed);
	/* Release: the consumer sees all that was added before. */
	atomic_compare_exchange_strong_explicit(&span->state, &open, SP_SPAN_CLOSED,
						memory_order_release,
						memory_order_relaxed);
}

void sp_span_close(uint64_t handle)
{
	struct sp_span *span;

	if (!is_real(handle) || !sp_span_is_on())
		return;
	span = find(handle);
	if (!span ||
	    atomic_load_explicit(&span->state, memory_order_relaxed) != SP_SPAN_OPEN ||
	    atomic_exchange(&span->is_close_wanted, 1)) {
		count_misuse();
		return;
	}
	if (atomic_load(&span->entered_now))
		count_misuse();
	else
		finish_close(span);
}

/* --- creating --- */

static uint64_t make_id(struct sp_span_thread *self)
{
	uint64_t id = self ? sp_random_next(&self->random_state) : 0;

	return id ? id
		  : atomic_fetch_add_explicit(&next_span_id, 1, memory_order_relaxed) + 1;
}

static void give_ids(struct sp_span *span, struct sp_span_thread *self,
		     const struct sp_span *parent, const struct sp_span_context *remote)
{
	span->span_id = make_id(self);
	if (parent) {
		memcpy(span->trace_id, parent->trace_id, sizeof(span->trace_id));
	} else if (remote) {
		memcpy(span->trace_id, remote->trace_id, sizeof(span->trace_id));
	} else {
		uint64_t halves[2] = {make_id(self), make_id(self)};

		memcpy(span->trace_id, halves, sizeof(span->trace_id));
	}
}

static uint32_t label_set_of(const struct sp_span *span, const uint32_t *texts)
{
	struct sp_span_labels labels = {.path = span->path + 1};

	if (settings.has_ids) {
		memcpy(labels.trace_id, span->trace_id, sizeof(labels.trace_id));
		memcpy(labels.span_id, &span->span_id, sizeof(labels.span_id));
	}
	if (texts)
		memcpy(labels.texts, texts, sizeof(labels.texts));
	return sp_span_label_set(&labels);
}

/* The head sampler: for a root and all its children. */
static bool is_left_out(struct sp_span_thread *self)
{
	return settings.probability_millionths < 1000000 && self &&
	       sp_random_next(&self->random_state) >> 32 >=
		       ((uint64_t)settings.probability_millionths << 32) / 1000000;
}

static uint64_t fill(struct sp_span *span, uint32_t index, uint32_t path, uint64_t parent)
{
	uint32_t generation =
		atomic_load_explicit(&span->generation, memory_order_relaxed) + 1;

	span->path = path;
	span->parent = parent;
	span->follows = SP_SPAN_NONE;
	span->created_ticks = sp_clock_ticks();
	/* Relaxed: the store of the state publishes them. */
	atomic_store_explicit(&span->busy_ticks, 0, memory_order_relaxed);
	atomic_store_explicit(&span->cpu_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&span->allocations, 0, memory_order_relaxed);
	atomic_store_explicit(&span->alloc_bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&span->enters, 0, memory_order_relaxed);
	atomic_store_explicit(&span->closed_ticks, 0, memory_order_relaxed);
	atomic_store_explicit(&span->live_blocks, 0, memory_order_relaxed);
	atomic_store_explicit(&span->live_bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&span->absorbed_busy_ticks, 0, memory_order_relaxed);
	atomic_store_explicit(&span->absorbed_idle_ticks, 0, memory_order_relaxed);
	atomic_store_explicit(&span->absorbed_cpu_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&span->absorbed_allocations, 0, memory_order_relaxed);
	atomic_store_explicit(&span->absorbed_alloc_bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&span->absorbed_enters, 0, memory_order_relaxed);
	atomic_store_explicit(&span->entered_now, 0, memory_order_relaxed);
	atomic_store_explicit(&span->is_announced, 0, memory_order_relaxed);
	atomic_store_explicit(&span->is_close_wanted, 0, memory_order_relaxed);
	atomic_store_explicit(&span->generation, generation, memory_order_relaxed);
	return (uint64_t)generation << 32 | (index + 1);
}

uint64_t sp_span_create(uint32_t callsite, uint64_t parent_handle,
			const struct sp_span_context *remote)
{
	struct sp_span_thread *self;
	const struct sp_span *parent = NULL;
	struct sp_span *span;
	uint32_t path, index;
	uint64_t handle;

	if (!sp_span_is_on() || callsite == UINT32_MAX)
		return SP_SPAN_NONE;
	self = thread_of_caller();
	if (parent_handle == SP_SPAN_CURRENT)
		parent_handle = sp_span_current();
	if (parent_handle == SP_SPAN_UNSAMPLED)
		return SP_SPAN_UNSAMPLED;
	if (parent_handle) {
		parent = find(parent_handle);
		if (!parent) {
			count_misuse();
			parent_handle = SP_SPAN_NONE;
		}
	}
	if (!parent && is_left_out(self))
		return SP_SPAN_UNSAMPLED;
	path = sp_span_path(callsite, parent ? parent->path + 1 : 0);
	if (path == UINT32_MAX)
		return SP_SPAN_NONE;
	span = take(&index);
	if (!span)
		return SP_SPAN_NONE;
	atomic_store_explicit(&span->state, SP_SPAN_CLAIMED, memory_order_relaxed);
	handle = fill(span, index, path, parent_handle);
	give_ids(span, self, parent, remote);
	span->label_set = label_set_of(span, NULL);
	/* Release: pairs with the consumer. */
	atomic_store_explicit(&span->state, SP_SPAN_OPEN, memory_order_release);
	return handle;
}

void sp_span_follows(uint64_t handle, uint64_t cause)
{
	struct sp_span *span;

	if (!is_real(handle) || !sp_span_is_on())
		return;
	span = find_open(handle);
	if (span)
		span->follows = cause;
}

/* --- entering and leaving --- */

void sp_span_enter(uint64_t handle, uint64_t stack_pointer)
{
	struct sp_span_thread *self;
	struct sp_span *span = NULL;
	struct frame *frame;

	if (handle == SP_SPAN_NONE || !sp_span_is_on())
		return;
	self = thread_of_caller();
	if (handle != SP_SPAN_UNSAMPLED) {
		span = find_open(handle);
		if (!span)
			return;
	}
	if (!self || !make_room(self)) {
		sp_recording_count(&sp_capture.recording, SP_LOSS_SPAN_NO_ROOM, 1);
		return;
	}
	self = span_self;
	charge(self);
	if (span) {
		atomic_fetch_add(&span->entered_now, 1);
		atomic_fetch_add_explicit(&span->enters, 1, memory_order_relaxed);
	}
	frame = &self->frames[self->depth];
	frame->handle = handle;
	frame->label_set = mark_self.label_set;
	frame->stack_pointer = stack_pointer;
	frame->enter_cpu_ns = thread_cpu_ns();
	frame->enter_ticks = 0; /* until the clock is read */
	atomic_signal_fence(memory_order_seq_cst);
	self->depth++;
	publish(self, span ? span->label_set : frame->label_set,
		span ? mark_of(handle) : mark_self.span);
	frame->enter_ticks = sp_clock_ticks();
}

/* Sums of one stay in a span; NULL if there is no such span. */
static struct sp_span *add_stay(const struct frame *frame, uint64_t now_ticks,
				uint64_t now_cpu_ns)
{
	struct sp_span *span = is_real(frame->handle) ? find(frame->handle) : NULL;

	if (!span)
		return NULL;
	atomic_fetch_add_explicit(&span->busy_ticks, now_ticks - frame->enter_ticks,
				  memory_order_relaxed);
	if (settings.has_exact_cpu)
		atomic_fetch_add_explicit(&span->cpu_ns, now_cpu_ns - frame->enter_cpu_ns,
					  memory_order_relaxed);
	return span;
}

static void settle(const struct frame *frame, uint64_t now_ticks, uint64_t now_cpu_ns)
{
	struct sp_span *span = add_stay(frame, now_ticks, now_cpu_ns);

	if (span && atomic_fetch_sub(&span->entered_now, 1) == 1 &&
	    atomic_load(&span->is_close_wanted))
		finish_close(span);
}

void sp_span_settle(void)
{
	struct sp_span_thread *self = span_self;
	uint64_t now_ticks, now_cpu_ns;

	if (!self || !self->depth || !sp_span_is_on())
		return;
	now_ticks = sp_clock_ticks();
	now_cpu_ns = thread_cpu_ns();
	charge(self);
	for (uint32_t at = 0; at < self->depth; at++) {
		struct frame *frame = &self->frames[at];

		/* A signal handler of the program ends it while it enters this one. */
		if (!frame->enter_ticks)
			continue;
		add_stay(frame, now_ticks, now_cpu_ns);
		frame->enter_ticks = now_ticks;
		frame->enter_cpu_ns = now_cpu_ns;
	}
}

static void publish_top(struct sp_span_thread *self)
{
	const struct frame *top = top_of(self);
	const struct sp_span *span =
		top && is_real(top->handle) ? find(top->handle) : NULL;

	if (span)
		publish(self, span->label_set, mark_of(top->handle));
	else if (top)
		publish(self, top->label_set, 0);
	else
		publish(self, SP_LABEL_SET_NONE, 0);
}

static void remove_frame(struct sp_span_thread *self, uint32_t at, uint64_t now_ticks,
			 uint64_t now_cpu_ns)
{
	struct frame frame = self->frames[at];

	memmove(&self->frames[at], &self->frames[at + 1],
		(self->depth - at - 1) * sizeof(frame));
	self->depth--;
	settle(&frame, now_ticks, now_cpu_ns);
}

void sp_span_exit(uint64_t handle)
{
	struct sp_span_thread *self = span_self;
	uint64_t now_ticks, now_cpu_ns;
	uint32_t at;

	if (handle == SP_SPAN_NONE || !sp_span_is_on())
		return;
	now_ticks = sp_clock_ticks();
	if (!self) {
		count_misuse();
		return;
	}
	now_cpu_ns = thread_cpu_ns();
	charge(self);
	for (at = self->depth; at > 0; at--)
		if (self->frames[at - 1].handle == handle)
			break;
	if (!at) {
		count_misuse();
		return;
	}
	if (sp_unlikely(at != self->depth))
		count_misuse();
	remove_frame(self, at - 1, now_ticks, now_cpu_ns);
	publish_top(self);
}

static void end_scoped(struct sp_span_thread *self, uint32_t at)
{
	uint64_t handle = self->frames[at].handle;

	charge(self);
	remove_frame(self, at, sp_clock_ticks(), thread_cpu_ns());
	sp_span_close(handle);
	publish_top(self);
}

static bool is_on_own_stack(const struct sp_slot *slot, uint64_t stack_pointer)
{
	return stack_pointer >=
		       atomic_load_explicit(&slot->stack_low, memory_order_relaxed) &&
	       stack_pointer <
		       atomic_load_explicit(&slot->stack_high, memory_order_relaxed);
}

/* The frames of one stack lie in order: those that go are the last of them. */
void sp_span_unwind_to(uint64_t stack_pointer)
{
	struct sp_span_thread *self = span_self;

	if (!self || !self->depth || !self->slot ||
	    !is_on_own_stack(self->slot, stack_pointer) || !sp_span_is_on())
		return;
	for (uint32_t at = self->depth; at-- > 0;) {
		uint64_t frame = self->frames[at].stack_pointer;

		if (!frame || !is_on_own_stack(self->slot, frame))
			continue;
		if (frame >= stack_pointer)
			break;
		end_scoped(self, at);
	}
}

void sp_span_end_frame(uint64_t stack_pointer)
{
	struct sp_span_thread *self = span_self;

	if (!self || !sp_span_is_on())
		return;
	for (uint32_t at = self->depth; at-- > 0;) {
		if (self->frames[at].stack_pointer == stack_pointer) {
			end_scoped(self, at);
			return;
		}
	}
}

uint64_t sp_span_current(void)
{
	struct sp_span_thread *self = span_self;

	if (self && self->depth)
		return self->frames[self->depth - 1].handle;
	return atomic_load_explicit(&root_handle, memory_order_relaxed);
}

/* --- labels --- */

/* Is key one of those recorded? */
static bool is_recorded(const char *key)
{
	const char *at = settings.labels;
	size_t key_bytes = strlen(key);

	while (at && *at) {
		size_t bytes = strcspn(at, ",");

		if (bytes == key_bytes && memcmp(at, key, bytes) == 0)
			return true;
		at += bytes + (at[bytes] == ',');
	}
	return false;
}

bool sp_span_is_label_recorded(const char *key)
{
	return is_recorded(key);
}

void sp_span_label(uint64_t handle, const char *key, const char *value)
{
	struct sp_span_thread *self = span_self;
	uint32_t texts[2 * SP_SPAN_LABELS_MAX];
	const struct sp_label_set *before;
	struct sp_span *span;
	uint32_t key_text;

	if (!sp_span_is_on() || !key || !value)
		return;
	if (handle == SP_SPAN_NONE)
		handle = sp_span_current();
	if (!is_real(handle) || !is_recorded(key))
		return;
	span = find_open(handle);
	if (!span)
		return;
	before = sp_recording_item(&sp_capture.recording, SP_SECTION_LABEL_SETS,
				   span->label_set);
	memcpy(texts, before->labels, sizeof(texts));
	key_text = sp_span_text(key);
	for (unsigned int i = 0; i < 2 * SP_SPAN_LABELS_MAX && key_text; i += 2) {
		if (texts[i] && texts[i] != key_text)
			continue;
		texts[i] = key_text;
		texts[i + 1] = sp_span_text(value);
		break;
	}
	span->label_set = label_set_of(span, texts);
	if (self && self->depth && self->frames[self->depth - 1].handle == handle)
		publish_top(self);
}

/* --- what samples read --- */

void sp_span_set_outside(bool (*read)(struct sp_span_context *context), uint32_t callsite)
{
	outside_callsite = callsite;
	/* Release: the callsite is there for whoever sees the function. */
	atomic_store_explicit(&read_outside, read, memory_order_release);
}

/* Within the span that another library says the calling thread is in. */
static uint32_t add_outside(uint32_t label_set)
{
	bool (*read)(struct sp_span_context *) =
		atomic_load_explicit(&read_outside, memory_order_acquire);
	const struct sp_label_set *set;
	struct sp_span_context context;
	struct sp_span_labels labels;
	uint32_t path;

	if (!read || outside_callsite == UINT32_MAX || !sp_span_is_on() ||
	    !read(&context))
		return label_set;
	set = sp_recording_item(&sp_capture.recording, SP_SECTION_LABEL_SETS, label_set);
	path = sp_span_path(outside_callsite, set->path);
	memset(&labels, 0, sizeof(labels));
	labels.path = path == UINT32_MAX ? set->path : path + 1;
	memcpy(labels.texts, set->labels, sizeof(labels.texts));
	if (settings.has_ids) {
		memcpy(labels.trace_id, context.trace_id, sizeof(labels.trace_id));
		memcpy(labels.span_id, context.span_id, sizeof(labels.span_id));
	}
	return sp_span_label_set(&labels);
}

uint32_t sp_span_label_set_of(const struct sp_slot *slot)
{
	uint32_t label_set = atomic_load_explicit(&slot->label_set, memory_order_relaxed);

	if (!label_set)
		label_set = atomic_load_explicit(&root_label_set, memory_order_relaxed);
	/* A raw clone() thread, whose stack nobody knows, may have a thread pointer of
	 * its own and none of the variables that others publish their spans in. */
	return atomic_load_explicit(&slot->stack_high, memory_order_relaxed)
		       ? add_outside(label_set)
		       : label_set;
}

struct sp_span_mark sp_span_mark(void)
{
	struct sp_span_mark mark = mark_self;

	if (!mark.label_set) {
		mark.label_set =
			atomic_load_explicit(&root_label_set, memory_order_relaxed);
		mark.span =
			mark_of(atomic_load_explicit(&root_handle, memory_order_relaxed));
	}
	mark.label_set = add_outside(mark.label_set);
	return mark;
}

void sp_span_add_live(uint32_t mark, int64_t blocks, int64_t bytes)
{
	uint32_t number = mark & MARK_INDEX_MASK;
	struct sp_span *span;

	if (!number ||
	    number > sp_recording_used(&sp_capture.recording, SP_SECTION_SPANS))
		return;
	span = span_at(number - 1);
	/* Evicted: the entry may be another span's. */
	if ((atomic_load_explicit(&span->generation, memory_order_relaxed) ^
	     mark >> MARK_INDEX_BITS) &
	    (UINT32_MAX >> MARK_INDEX_BITS))
		return;
	atomic_fetch_add_explicit(&span->live_bytes, bytes, memory_order_relaxed);
	/* Release: whoever sees no block sees no bytes either. */
	atomic_fetch_add_explicit(&span->live_blocks, blocks, memory_order_release);
}

void sp_span_set_root(uint64_t handle)
{
	const struct sp_span *span = is_real(handle) ? find(handle) : NULL;

	atomic_store_explicit(&root_label_set, span ? span->label_set : 0,
			      memory_order_relaxed);
	atomic_store_explicit(&root_handle, span ? handle : 0, memory_order_relaxed);
}

/* --- life --- */

void sp_span_thread_begin(struct sp_slot *slot)
{
	if (span_self)
		span_self->slot = slot;
}

void sp_span_thread_end(void)
{
	struct sp_span_thread *self = span_self;
	uint64_t now_ticks, now_cpu_ns;

	has_ended = true;
	if (!self)
		return;
	if (sp_span_is_on()) {
		now_ticks = sp_clock_ticks();
		now_cpu_ns = thread_cpu_ns();
		charge(self);
		while (self->depth) {
			uint64_t handle = self->frames[self->depth - 1].handle;
			bool is_scoped = self->frames[self->depth - 1].stack_pointer != 0;

			remove_frame(self, self->depth - 1, now_ticks, now_cpu_ns);
			if (is_scoped)
				sp_span_close(handle);
		}
		publish_top(self);
	}
	span_self = NULL;
	sp_pages_unmap(self, self->mapped_bytes);
}

void sp_span_capture_forked(void)
{
	span_self = NULL;
	mark_self = (struct sp_span_mark){0, 0};
	atomic_store_explicit(&free_spans, 0, memory_order_relaxed);
	atomic_store_explicit(&root_handle, 0, memory_order_relaxed);
	atomic_store_explicit(&root_label_set, 0, memory_order_relaxed);
	sp_span_names_forked();
}
