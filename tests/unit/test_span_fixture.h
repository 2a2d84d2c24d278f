/*
 * Span parts of recordings made by hand: callsites, paths, label sets and spans as
 * hooks leave them. Asserts nothing itself, so that the fuzzer and children of tests
 * can use it.
 */
#ifndef TEST_SPAN_FIXTURE_H
#define TEST_SPAN_FIXTURE_H

#include "test_recording_fixture.h"

#include "profile_labels.h"
#include "profile_spans.h"
#include "sp_recording_spans.h"
#include "span_stays.h"
#include "span_use.h"

#define TEST_TICKS_PER_SECOND UINT64_C(2000000000)

/* As the agent does it, before the recording's first use. */
static inline void test_spans_begin(struct sp_recording *recording)
{
	recording->header->span_probability_millionths = 1000000;
	recording->header->has_exact_span_cpu = 1;
	atomic_store(&recording->header->span_ticks_per_second, TEST_TICKS_PER_SECOND);
}

/* Zeroed items at the end of a section; NULL without room. */
static inline void *test_append(struct sp_recording *recording, enum sp_section_kind kind,
				uint64_t items, uint32_t *index)
{
	struct sp_section *section = &recording->header->sections[kind];
	uint64_t used = atomic_load(&section->used_items);

	if (sp_recording_reserve(recording, kind, used + items) != 0)
		return NULL;
	atomic_store(&section->used_items, used + items);
	*index = (uint32_t)used;
	return sp_recording_item(recording, kind, used);
}

static inline uint32_t test_text(struct sp_recording *recording, const char *text)
{
	uint32_t offset = 0;
	char *copy = *text ? test_append(recording, SP_SECTION_SPAN_TEXT,
					 strlen(text) + 1, &offset)
			   : NULL;

	if (copy)
		strcpy(copy, text);
	return offset;
}

static inline uint32_t test_callsite(struct sp_recording *recording, const char *name,
				     const char *target, const char *file, uint32_t line)
{
	uint32_t index = UINT32_MAX;
	struct sp_callsite *callsite =
		test_append(recording, SP_SECTION_CALLSITES, 1, &index);

	if (!callsite)
		return UINT32_MAX;
	callsite->name = test_text(recording, name);
	callsite->target = test_text(recording, target);
	callsite->file = test_text(recording, file);
	callsite->line = line;
	atomic_store(&callsite->is_filled, 1);
	return index;
}

static inline struct sp_span_path *test_path_at(const struct sp_recording *recording,
						uint32_t index)
{
	return sp_recording_item(recording, SP_SECTION_SPAN_PATHS, index);
}

/* parent: path + 1, 0 = outermost. */
static inline uint32_t test_path(struct sp_recording *recording, uint32_t callsite,
				 uint32_t parent)
{
	uint32_t index = UINT32_MAX;
	struct sp_span_path *path =
		test_append(recording, SP_SECTION_SPAN_PATHS, 1, &index);

	if (!path)
		return UINT32_MAX;
	path->callsite = callsite;
	path->parent = parent;
	path->depth = parent ? test_path_at(recording, parent - 1)->depth + 1 : 1;
	atomic_store(&path->is_filled, 1);
	return index;
}

/* A path of a callsite of its own. */
static inline uint32_t test_named_path(struct sp_recording *recording, const char *name,
				       uint32_t parent)
{
	return test_path(recording, test_callsite(recording, name, "", "", 0), parent);
}

static inline struct sp_label_set *test_label_set_at(const struct sp_recording *recording,
						     uint32_t index)
{
	return sp_recording_item(recording, SP_SECTION_LABEL_SETS, index);
}

/* Of a path, without ids and recorded labels. */
static inline uint32_t test_label_set(struct sp_recording *recording, uint32_t path)
{
	uint32_t index = SP_LABEL_SET_OTHER;
	struct sp_label_set *set =
		test_append(recording, SP_SECTION_LABEL_SETS, 1, &index);

	if (!set)
		return SP_LABEL_SET_OTHER;
	set->path = path + 1;
	atomic_store(&set->is_filled, 1);
	return index;
}

static inline void test_label(struct sp_recording *recording, uint32_t label_set,
			      unsigned int number, const char *key, const char *value)
{
	struct sp_label_set *set = test_label_set_at(recording, label_set);

	set->labels[2 * number] = test_text(recording, key);
	set->labels[2 * number + 1] = test_text(recording, value);
}

static inline struct sp_span *test_span_at(const struct sp_recording *recording,
					   uint64_t index)
{
	return sp_recording_item(recording, SP_SECTION_SPANS, index);
}

/* Open, of a path, in a new entry; UINT32_MAX without room. */
static inline uint32_t test_span(struct sp_recording *recording, uint32_t path,
				 uint64_t created_ticks)
{
	uint32_t index = UINT32_MAX;
	struct sp_span *span = test_append(recording, SP_SECTION_SPANS, 1, &index);

	if (!span)
		return UINT32_MAX;
	span->path = path;
	span->created_ticks = created_ticks;
	atomic_store(&span->idle_ticks, -created_ticks);
	atomic_store(&span->generation, 1);
	atomic_store(&span->state, SP_SPAN_OPEN);
	return index;
}

/* As a thread enters and leaves it. */
static inline void test_span_enter(struct sp_span *span, uint64_t now_ticks)
{
	struct sp_span_use use = sp_span_use_guess(span);

	while (!sp_span_use_change(span, &use, sp_span_use_with(use, now_ticks)))
		;
	sp_span_stay_begin(span, now_ticks);
}

static inline void test_span_exit(struct sp_span *span, uint64_t now_ticks)
{
	struct sp_span_use use = sp_span_use_guess(span);

	sp_span_stay_end(span, now_ticks);
	while (!sp_span_use_change(span, &use, sp_span_use_without(use, now_ticks)))
		;
}

/* A stay of one thread that is over, whenever it was. */
static inline void test_span_stay(struct sp_span *span, uint64_t stay_ticks)
{
	atomic_fetch_add(&span->stay_ticks, stay_ticks);
	atomic_fetch_sub(&span->idle_ticks, stay_ticks);
}

static inline void test_span_close(struct sp_span *span, uint64_t closed_ticks)
{
	atomic_store(&span->closed_ticks, closed_ticks);
	atomic_store(&span->state, SP_SPAN_CLOSED);
}

/* Something in every table: nested paths, label sets, spans of every state. */
static inline int test_spans_fill(struct sp_recording *recording)
{
	uint32_t path = 0, set = 0;

	for (uint32_t i = 0; i < 24; i++) {
		struct sp_span *span;
		uint32_t index;

		if (i % 4 == 0)
			path = test_path(recording,
					 test_callsite(recording, i ? "inner" : "outer",
						       "target", "file.c", i),
					 path ? path + 1 : 0);
		set = test_label_set(recording, path);
		test_label(recording, set, 0, "user", "me");
		index = test_span(recording, path, 1000);
		if (path == UINT32_MAX || index == UINT32_MAX)
			return -ENOMEM;
		span = test_span_at(recording, index);
		span->label_set = set;
		span->parent = i ? UINT64_C(1) << 32 | index : 0;
		test_span_stay(span, 100 * i);
		atomic_store(&span->cpu_ns, 10 * i);
		atomic_store(&span->allocations, i);
		atomic_store(&span->alloc_bytes, 64 * i);
		atomic_store(&span->entered, 2);
		if (i % 3 == 1)
			test_span_close(span, 5000);
		if (i % 5 == 1)
			atomic_store(&span->live_blocks, 3);
		if (i % 8 == 7)
			atomic_store(&span->state, SP_SPAN_CLAIMED);
		if (i == 12 && test_drain(recording) != 0)
			return -EINVAL;
	}
	return 0;
}

/* One pass over the labels that samples may have. */
static inline uint64_t test_labels_walk(const struct sp_recording *recording)
{
	uint64_t sets = sp_recording_used(recording, SP_SECTION_LABEL_SETS), sum = 0;

	for (uint32_t i = 0; i < sets; i++) {
		struct sp_view_sample sample = {.label_count = 0};
		struct sp_profile_ids ids;

		sp_profile_add_labels(recording, i, &ids, &sample);
		for (uint32_t label = 0; label < sample.label_count; label++)
			sum += test_touch(sample.labels[label].key) +
			       test_touch(sample.labels[label].str);
	}
	return sum;
}

static inline uint64_t test_read_spans(const struct sp_recording *recording,
				       const struct sp_profile_view *view)
{
	uint64_t sum = test_labels_walk(recording);

	view->rewind(view->cursor);
	sum += test_read_view(view, &sum);
	for (uint32_t i = 0; i < view->named_frame_count; i++)
		sum += test_touch(view->named_frames[i].name);
	return sum;
}

/* All that the command does with the spans of a recording whose sums were checked: as
 * test_examine(). */
static inline int test_spans_examine(const struct sp_recording *recording)
{
	struct sp_span_profile *profile = sp_span_profile_create(recording, NULL);
	const struct sp_profile_view *view;
	int err = 0;

	if (!profile)
		return -ENOMEM;
	view = sp_span_profile_view(profile);
	if (test_read_spans(recording, view) != test_read_spans(recording, view))
		err = -1;
	sp_span_profile_destroy(profile);
	return err;
}

#endif
