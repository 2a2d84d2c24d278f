/* See span_labels.h. */
#include "span_labels.h"

#include "sp_capture.h"
#include "sp_list.h"
#include "span_names.h"
#include "span_stack.h"
#include "span_table.h"

#include <string.h>

SP_SAMPLING_DATA static _Atomic uint64_t root_handle;
SP_SAMPLING_DATA static _Atomic uint32_t root_label_set;
SP_SAMPLING_DATA static bool (*_Atomic read_outside)(struct sp_span_context *context);
/* In this recording; UINT32_MAX: it is not made yet. */
static _Atomic uint32_t outside_callsite;
static const struct sp_span_site *outside_site;

uint64_t sp_span_current(void)
{
	struct sp_span_thread *self = sp_span_self;

	if (self && self->depth)
		return sp_span_frame_at(self, self->depth - 1)->handle;
	return atomic_load_explicit(&root_handle, memory_order_relaxed);
}

/* --- labels --- */

static const struct sp_label_set *set_at(uint32_t label_set)
{
	return sp_recording_item(&sp_span_recording, SP_SECTION_LABEL_SETS, label_set);
}

uint32_t sp_span_label_set_with(const struct sp_span *span, const uint32_t *texts)
{
	struct sp_span_labels labels = {.path = span->path + 1};

	if (sp_span_settings.has_ids) {
		memcpy(labels.trace_id, span->trace_id, sizeof(labels.trace_id));
		memcpy(labels.span_id, &span->span_id, sizeof(labels.span_id));
	}
	if (texts)
		memcpy(labels.texts, texts, sizeof(labels.texts));
	return sp_span_label_set(&labels);
}

/* Is key one of those recorded? */
static bool is_recorded(const char *key)
{
	const char *rest = sp_span_settings.labels;
	size_t key_bytes = strlen(key);
	struct sp_list_item item;

	while (rest && sp_list_next(&rest, &item))
		if (sp_list_item_is(&item, key, key_bytes))
			return true;
	return false;
}

bool sp_span_is_label_recorded(const char *key)
{
	return is_recorded(key);
}

/* False: all places are others'. */
static bool put_text(uint32_t texts[2 * SP_SPAN_LABELS_MAX], uint32_t key_text,
		     uint32_t value_text)
{
	for (unsigned int i = 0; i < 2 * SP_SPAN_LABELS_MAX; i += 2) {
		if (texts[i] && texts[i] != key_text)
			continue;
		texts[i] = key_text;
		texts[i + 1] = value_text;
		return true;
	}
	return false;
}

/* Several threads may label one span: nobody's label is lost. */
static void change_label(struct sp_span *span, uint32_t key_text, uint32_t value_text)
{
	uint32_t now = sp_span_labels_now(span), changed;

	do {
		const struct sp_label_set *before = set_at(now);
		uint32_t texts[2 * SP_SPAN_LABELS_MAX];

		memcpy(texts, before->labels, sizeof(texts));
		if (!put_text(texts, key_text, value_text)) {
			sp_recording_count(&sp_span_recording, SP_LOSS_SPAN_LABELS, 1);
			return;
		}
		changed = sp_span_label_set_with(span, texts);
		/* Release: pairs with who finds the set by its number. */
	} while (!atomic_compare_exchange_weak_explicit(&span->label_set, &now, changed,
							memory_order_release,
							memory_order_acquire));
}

static void label(uint64_t handle, const char *key, const char *value)
{
	struct sp_span_thread *self = sp_span_self;
	uint32_t key_text, value_text;
	struct sp_span *span;

	if (handle == SP_SPAN_NONE)
		handle = sp_span_current();
	if (!sp_span_is_real(handle) || !is_recorded(key))
		return;
	span = sp_span_find_open(handle);
	if (!span)
		return;
	/* A text that there was no room for is counted where it is copied. */
	key_text = sp_span_text(key);
	value_text = key_text ? sp_span_text(value) : 0;
	if (!key_text || (!value_text && *value))
		return;
	change_label(span, key_text, value_text);
	if (self && self->depth &&
	    sp_span_frame_at(self, self->depth - 1)->handle == handle)
		sp_span_publish_top(self);
}

void sp_span_label(uint64_t handle, const char *key, const char *value)
{
	uint64_t before = sp_span_begin_change();

	if (key && value && sp_span_is_on())
		label(handle, key, value);
	sp_span_end_change(before);
}

/* --- what samples read --- */

void sp_span_set_outside(bool (*read)(struct sp_span_context *context),
			 const struct sp_span_site *site)
{
	outside_site = site;
	atomic_store_explicit(&outside_callsite, UINT32_MAX, memory_order_relaxed);
	/* Release: the site is there for whoever sees the function. */
	atomic_store_explicit(&read_outside, read, memory_order_release);
}

/*
 * What was found for the thread's last look, in one word, as a handler may interrupt a
 * hook here: label set without << 32 | with the span outside. 0: nothing.
 */
static SP_TLS _Atomic uint64_t outside_memo;

/* The label set without it decides all but the ids; those are compared. */
static uint32_t known_outside(uint32_t label_set, const struct sp_span_context *context)
{
	uint64_t known = atomic_load_explicit(&outside_memo, memory_order_relaxed);
	uint32_t found = (uint32_t)known;
	const struct sp_label_set *set;

	if (sp_unlikely(!found || known >> 32 != label_set))
		return 0;
	if (!sp_span_settings.has_ids)
		return found;
	set = set_at(found);
	return memcmp(set->trace_id, context->trace_id, sizeof(set->trace_id)) == 0 &&
			       memcmp(set->span_id, context->span_id,
				      sizeof(set->span_id)) == 0
		       ? found
		       : 0;
}

/* Where there was no room for some of it, each look is to be counted. */
static bool is_whole(uint32_t found, const struct sp_span_labels *labels)
{
	const struct sp_label_set *set = set_at(found);
	const struct sp_span_path *path;

	if (found == SP_LABEL_SET_OTHER || !set->path || set->path != labels->path ||
	    memcmp(set->labels, labels->texts, sizeof(set->labels)) != 0)
		return false;
	path = sp_recording_item(&sp_span_recording, SP_SECTION_SPAN_PATHS,
				 set->path - 1);
	return path->callsite ==
	       atomic_load_explicit(&outside_callsite, memory_order_relaxed);
}

/* Most programs have none. Whoever makes it at the same time makes the same. UINT32_MAX
 * when there is no room. */
static uint32_t find_outside_callsite(void)
{
	uint32_t callsite = atomic_load_explicit(&outside_callsite, memory_order_relaxed);

	if (sp_likely(callsite != UINT32_MAX))
		return callsite;
	callsite = sp_span_callsite(outside_site);
	atomic_store_explicit(&outside_callsite, callsite, memory_order_relaxed);
	return callsite;
}

static SP_NOINLINE uint32_t find_outside(uint32_t label_set,
					 const struct sp_span_context *context)
{
	const struct sp_label_set *set = set_at(label_set);
	uint32_t callsite = find_outside_callsite(), path, found;
	struct sp_span_labels labels = {.path = set->path};

	if (callsite == UINT32_MAX)
		return label_set;
	path = sp_span_path(callsite, set->path);
	if (path != UINT32_MAX)
		labels.path = path + 1;

	memcpy(labels.texts, set->labels, sizeof(labels.texts));
	if (sp_span_settings.has_ids) {
		memcpy(labels.trace_id, context->trace_id, sizeof(labels.trace_id));
		memcpy(labels.span_id, context->span_id, sizeof(labels.span_id));
	}
	found = sp_span_label_set(&labels);
	if (is_whole(found, &labels))
		atomic_store_explicit(&outside_memo, (uint64_t)label_set << 32 | found,
				      memory_order_relaxed);
	return found;
}

/* Within the span that another library says the calling thread is in. */
static uint32_t add_outside(uint32_t label_set)
{
	bool (*read)(struct sp_span_context *) =
		atomic_load_explicit(&read_outside, memory_order_acquire);
	struct sp_span_context context;
	uint32_t found;

	if (!read || !sp_span_is_on() || !read(&context))
		return label_set;
	found = known_outside(label_set, &context);
	return sp_likely(found) ? found : find_outside(label_set, &context);
}

SP_SAMPLING uint32_t sp_span_label_set_of(const struct sp_slot *slot)
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
	struct sp_span_mark mark = sp_span_mark_self;

	if (!mark.label_set) {
		mark.label_set =
			atomic_load_explicit(&root_label_set, memory_order_relaxed);
		mark.span = sp_span_mark_of(
			atomic_load_explicit(&root_handle, memory_order_relaxed));
	}
	mark.label_set = add_outside(mark.label_set);
	return mark;
}

void sp_span_set_root(uint64_t handle)
{
	const struct sp_span *span =
		sp_span_is_real(handle) ? sp_span_find(handle) : NULL;

	atomic_store_explicit(&root_label_set, span ? sp_span_labels_now(span) : 0,
			      memory_order_relaxed);
	atomic_store_explicit(&root_handle, span ? handle : 0, memory_order_relaxed);
}

void sp_span_labels_forked(void)
{
	atomic_store_explicit(&root_handle, 0, memory_order_relaxed);
	atomic_store_explicit(&root_label_set, 0, memory_order_relaxed);
	atomic_store_explicit(&outside_memo, 0, memory_order_relaxed);
	/* Other threads may look before the sources of spans begin again. */
	atomic_store_explicit(&outside_callsite, UINT32_MAX, memory_order_relaxed);
}
