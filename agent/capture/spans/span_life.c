/*
 * Spans that begin and end: creating and closing them. The last one out of close and
 * exit makes a span final. Context: hook.
 */
#include "sp_span_capture.h"

#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_held_signals.h"
#include "sp_poisson.h"
#include "span_labels.h"
#include "span_names.h"
#include "span_stack.h"
#include "span_table.h"

#include <string.h>

SP_SAMPLING_DATA struct sp_span_settings sp_span_settings;
bool sp_span_is_initialised;
SP_SAMPLING_DATA _Atomic bool sp_span_is_followed;
static _Atomic uint64_t next_span_id;
static _Atomic uint32_t epoch;

void sp_span_capture_init(const struct sp_span_settings *wanted)
{
	sp_span_settings = *wanted;
	sp_span_is_initialised = true;
}

uint32_t sp_span_epoch(void)
{
	return atomic_load_explicit(&epoch, memory_order_relaxed);
}

void sp_span_capture_begin(struct sp_recording *recording)
{
	/* Else when the work of the parent's is over. */
	if (!sp_span_is_initialised || sp_capture_is_cut_off())
		return;
	recording->header->span_probability_millionths =
		sp_span_settings.probability_millionths;
	recording->header->has_exact_span_cpu = sp_span_settings.has_exact_cpu;
	atomic_store_explicit(&recording->header->span_last_ticks, sp_clock_ticks(),
			      memory_order_relaxed);
	atomic_store_explicit(&epoch, sp_span_epoch() % 4095 + 1, memory_order_relaxed);
	sp_span_tell_missed(recording);
	memcpy(&sp_span_recording, recording, sizeof(sp_span_recording));
	/* Release: the rest is there for whoever sees this. */
	atomic_store_explicit(&sp_span_is_followed, true, memory_order_release);
}

/* --- closing --- */

void sp_span_finish_close(struct sp_span *span, uint64_t now_ticks)
{
	uint64_t counted_ticks = sp_span_counted_ticks();

	/* It may have been counted as idle. */
	atomic_store_explicit(&span->closed_ticks,
			      now_ticks > counted_ticks ? now_ticks : counted_ticks,
			      memory_order_relaxed);
	/* Release: the consumer sees all that was added before. */
	atomic_store_explicit(&span->state, SP_SPAN_CLOSED, memory_order_release);
}

void sp_span_close_at(uint64_t handle, uint64_t now_ticks)
{
	struct sp_span *span = sp_span_find(handle);
	uint64_t use = span ? atomic_load_explicit(&span->use, memory_order_relaxed) : 0;

	do {
		if (!span || use >> 32 != handle >> 32 || use & SP_SPAN_USE_CLOSING) {
			sp_span_count_misuse(handle);
			return;
		}
		/* Both: as in sp_span_part(). */
	} while (!atomic_compare_exchange_weak_explicit(
		&span->use, &use, use | SP_SPAN_USE_CLOSING, memory_order_acq_rel,
		memory_order_relaxed));
	if (use & SP_SPAN_USE_COUNT)
		sp_span_count_misuse(handle);
	else
		sp_span_finish_close(span, now_ticks);
}

void sp_span_close(uint64_t handle)
{
	uint64_t before = sp_span_begin_change();

	if (sp_span_is_real(handle) && sp_span_is_on())
		sp_span_close_at(handle, sp_clock_ticks());
	sp_span_end_change(before);
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

static bool is_process_span(uint32_t callsite)
{
	const struct sp_callsite *site =
		sp_recording_item(&sp_span_recording, SP_SECTION_CALLSITES, callsite);

	return site->source == SP_SPAN_SOURCE_ENVIRONMENT;
}

static uint32_t callsite_of(const struct sp_span *span)
{
	const struct sp_span_path *path =
		sp_recording_item(&sp_span_recording, SP_SECTION_SPAN_PATHS, span->path);

	return path->callsite;
}

/* The head sampler: for a root and all its children. That of the process stands for no
 * other, and what is in it is decided as if it was not there. */
static bool is_left_out(struct sp_span_thread *self, uint32_t callsite,
			const struct sp_span *parent)
{
	if (sp_likely(sp_span_settings.probability_millionths >= 1000000))
		return false;
	if (parent ? !is_process_span(callsite_of(parent)) : is_process_span(callsite))
		return false;
	return self && sp_random_next(&self->sampler_state) >> 32 >=
			       ((uint64_t)sp_span_settings.probability_millionths << 32) /
				       1000000;
}

/* What was found for a callsite within a path: path + 1 << 32, and the set. One word, as
 * a handler of the program may interrupt this. */
struct sp_span_place {
	uint32_t path, label_set;
};

static bool is_place(uint64_t word, uint32_t callsite, uint32_t parent)
{
	const struct sp_span_path *path;

	if (!word)
		return false;
	path = sp_recording_item(&sp_span_recording, SP_SECTION_SPAN_PATHS,
				 (word >> 32) - 1);
	return path->callsite == callsite && path->parent == parent;
}

/* The path, and the label set of its spans that have no labels and no ids. parent: path
 * + 1. path UINT32_MAX: there is no room. */
static struct sp_span_place find_place(struct sp_span_thread *self, uint32_t callsite,
				       uint32_t parent)
{
	_Atomic uint64_t *place_in =
		self ? &self->places[callsite % SP_SPAN_PLACES] : NULL;
	uint64_t known =
		place_in ? atomic_load_explicit(place_in, memory_order_relaxed) : 0;
	struct sp_span_labels labels = {.path = 0};
	struct sp_span_place place;

	if (sp_likely(is_place(known, callsite, parent)))
		return (struct sp_span_place){(uint32_t)(known >> 32) - 1,
					      (uint32_t)known};
	place.path = sp_span_path(callsite, parent);
	if (place.path == UINT32_MAX)
		return place;
	labels.path = place.path + 1;
	place.label_set = sp_span_label_set(&labels);
	/* Where there was no room each span is to be counted. */
	if (place_in && place.label_set != SP_LABEL_SET_OTHER)
		atomic_store_explicit(place_in,
				      (uint64_t)(place.path + 1) << 32 | place.label_set,
				      memory_order_relaxed);
	return place;
}

static uint64_t fill(struct sp_span *span, uint32_t index, uint32_t path, uint64_t parent)
{
	uint32_t before = atomic_load_explicit(&span->generation, memory_order_relaxed);
	uint32_t generation = sp_span_epoch() << SP_SPAN_GENERATION_BITS |
			      ((before + 1) & SP_SPAN_GENERATION_MASK);

	span->path = path;
	span->parent = parent;
	span->follows = SP_SPAN_NONE;
	/* Relaxed: the store of the state publishes them. */
	atomic_store_explicit(&span->stay_ticks, 0, memory_order_relaxed);
	atomic_store_explicit(&span->cpu_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&span->allocations, 0, memory_order_relaxed);
	atomic_store_explicit(&span->alloc_bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&span->entered, 0, memory_order_relaxed);
	atomic_store_explicit(&span->closed_ticks, 0, memory_order_relaxed);
	atomic_store_explicit(&span->live_blocks, 0, memory_order_relaxed);
	atomic_store_explicit(&span->live_bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&span->absorbed_busy_ticks, 0, memory_order_relaxed);
	atomic_store_explicit(&span->absorbed_idle_ticks, 0, memory_order_relaxed);
	atomic_store_explicit(&span->absorbed_cpu_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&span->absorbed_allocations, 0, memory_order_relaxed);
	atomic_store_explicit(&span->absorbed_alloc_bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&span->absorbed_entered, 0, memory_order_relaxed);
	atomic_store_explicit(&span->generation, generation, memory_order_relaxed);
	return (uint64_t)generation << 32 | (index + 1);
}

/* All but what sp_span_open() does; NULL: there is no span, handle says why. */
static struct sp_span *prepare(uint32_t callsite, uint64_t parent_handle,
			       const struct sp_span_context *remote, uint64_t *handle)
{
	struct sp_span_thread *self = sp_span_thread_of_caller();
	const struct sp_span *parent = NULL;
	struct sp_span_place place;
	struct sp_span *span;
	uint32_t index;

	*handle = SP_SPAN_UNSAMPLED;
	if (parent_handle == SP_SPAN_CURRENT)
		parent_handle = sp_span_current();
	if (parent_handle == SP_SPAN_UNSAMPLED)
		return NULL;
	if (parent_handle) {
		parent = sp_span_find(parent_handle);
		if (!parent) {
			sp_span_count_misuse(parent_handle);
			parent_handle = SP_SPAN_NONE;
		}
	}
	if (is_left_out(self, callsite, parent))
		return NULL;
	*handle = SP_SPAN_NONE;
	place = find_place(self, callsite, parent ? parent->path + 1 : 0);
	if (place.path == UINT32_MAX)
		return NULL;
	span = sp_span_take(&index);
	if (!span)
		return NULL;
	atomic_store_explicit(&span->state, SP_SPAN_CLAIMED, memory_order_relaxed);
	*handle = fill(span, index, place.path, parent_handle);
	give_ids(span, self, parent, remote);
	if (sp_span_settings.has_ids)
		place.label_set = sp_span_label_set_with(span, NULL);
	atomic_store_explicit(&span->label_set, place.label_set, memory_order_relaxed);
	return span;
}

void sp_span_open(struct sp_span *span, uint64_t handle)
{
	/* Last, as the span may be entered in this moment. */
	uint64_t now_ticks = sp_clock_ticks();

	span->created_ticks = now_ticks;
	atomic_store_explicit(&span->idle_ticks, -now_ticks, memory_order_relaxed);
	/* Release, both: pairs with who enters it, and with the consumer. */
	atomic_store_explicit(&span->use, handle & ~(uint64_t)UINT32_MAX,
			      memory_order_release);
	atomic_store_explicit(&span->state, SP_SPAN_OPEN, memory_order_release);
}

uint64_t sp_span_create_within(uint32_t callsite, uint64_t parent_handle,
			       const struct sp_span_context *remote)
{
	uint64_t handle = SP_SPAN_NONE;
	struct sp_span *span = NULL;

	if (callsite != UINT32_MAX && sp_span_is_on())
		span = prepare(callsite, parent_handle, remote, &handle);
	if (span)
		sp_span_open(span, handle);
	return handle;
}

uint64_t sp_span_create(uint32_t callsite, uint64_t parent_handle,
			const struct sp_span_context *remote)
{
	uint64_t before = sp_span_begin_change();
	uint64_t handle = sp_span_create_within(callsite, parent_handle, remote);

	sp_span_end_change(before);
	return handle;
}

uint64_t sp_span_begin_within(uint32_t callsite, uint64_t stack_pointer)
{
	uint64_t handle = SP_SPAN_NONE;
	struct sp_span *span = NULL;

	if (callsite != UINT32_MAX && sp_span_is_on())
		span = prepare(callsite, SP_SPAN_CURRENT, NULL, &handle);
	if (span)
		sp_span_open_inside(span, handle, stack_pointer);
	else if (handle == SP_SPAN_UNSAMPLED)
		sp_span_enter_unsampled(stack_pointer);
	return handle;
}

void sp_span_follows(uint64_t handle, uint64_t cause)
{
	uint64_t before = sp_span_begin_change();
	struct sp_span *span = NULL;

	if (sp_span_is_real(handle) && sp_span_is_on())
		span = sp_span_find_open(handle);
	if (span)
		span->follows = cause;
	sp_span_end_change(before);
}

static void forget(void)
{
	sp_span_stack_forked();
	sp_span_table_forked();
	sp_span_labels_forked();
	sp_span_names_forked();
}

void sp_span_capture_forked(void)
{
	atomic_store_explicit(&sp_span_is_followed, false, memory_order_relaxed);
	sp_span_change_forked();
	forget();
}

void sp_span_capture_begin_late(void)
{
	uint64_t mask = sp_signals_hold();

	/* What the work has left is the parent's. */
	forget();
	if (sp_capture_is_running()) {
		sp_span_capture_begin(&sp_capture.recording);
		if (sp_capture.begin_spans)
			sp_capture.begin_spans();
	}
	sp_signals_release(mask);
}
