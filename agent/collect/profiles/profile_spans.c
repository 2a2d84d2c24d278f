/*
 * Paths as samples: the stack of a sample is a path, innermost span first, and its
 * functions are callsites. Context: collector.
 */
#include "profile_spans.h"

#include "profile_comments_spans.h"
#include "profile_common.h"
#include "sp_compiler.h"
#include "sp_frame.h"
#include "sp_heap.h"
#include "sp_recording_spans.h"

#include <string.h>

/* Recursion makes paths as deep as itself: of those, readers get the inner end. */
#define STACK_FRAMES_MAX 512U

struct cursor {
	const struct sp_span_profile *profile;
	uint64_t next_path;
	uint64_t frames[STACK_FRAMES_MAX + 1];
};

struct sp_span_profile {
	struct sp_span_values values;
	struct sp_view_module *modules;
	struct sp_view_named_frame *names; /* by callsite */
	struct sp_profile_view view;
	struct cursor cursor;
	struct sp_profile_comments comments;
};

static const struct sp_value_type types[SP_SPAN_VALUES] = {
	[SP_SPAN_WALL] = {"wall", "nanoseconds"},
	[SP_SPAN_WALL_BUSY] = {"wall_busy", "nanoseconds"},
	[SP_SPAN_WALL_IDLE] = {"wall_idle", "nanoseconds"},
	[SP_SPAN_CPU] = {"cpu", "nanoseconds"},
	[SP_SPAN_CPU_USER] = {"cpu_user", "nanoseconds"},
	[SP_SPAN_CPU_SYSTEM] = {"cpu_sys", "nanoseconds"},
	[SP_SPAN_ALLOC_OBJECTS] = {"alloc_objects", "count"},
	[SP_SPAN_ALLOC_BYTES] = {"alloc_space", "bytes"},
	[SP_SPAN_INUSE_OBJECTS] = {"inuse_objects", "count"},
	[SP_SPAN_INUSE_BYTES] = {"inuse_space", "bytes"},
	[SP_SPAN_SPANS] = {"spans", "count"},
};
_Static_assert(SP_SPAN_VALUES <= SP_VIEW_VALUES_MAX, "room for all values");

/* --- samples --- */

static void fill_stack(struct cursor *cursor, uint32_t path_index,
		       struct sp_view_sample *sample)
{
	const struct sp_recording *recording = cursor->profile->values.recording;
	uint32_t number = path_index + 1;

	sample->frames = cursor->frames;
	while (number && sample->frame_count < STACK_FRAMES_MAX) {
		const struct sp_span_path *path =
			sp_recording_span_path(recording, number - 1);

		if (!path)
			return;
		cursor->frames[sample->frame_count++] =
			sp_frame_make(SP_MODULE_NAMED, path->callsite);
		/* Outer paths are older. */
		number = path->parent < number ? path->parent : 0;
	}
	if (number)
		cursor->frames[sample->frame_count++] =
			sp_frame_pseudo(SP_PSEUDO_TRUNCATED);
}

/* False if there is nothing to tell of this path. */
static bool fill_values(const struct cursor *cursor, uint64_t path_index,
			struct sp_view_sample *sample)
{
	const uint64_t *of = cursor->profile->values.paths[path_index].of;
	bool has_value = false;

	for (unsigned int i = 0; i < SP_SPAN_VALUES; i++) {
		sample->values[i] = (int64_t)of[i];
		has_value |= of[i] != 0;
	}
	return has_value;
}

static int next_sample(void *opaque, struct sp_view_sample *sample)
{
	struct cursor *cursor = opaque;

	while (cursor->next_path < cursor->profile->values.path_count) {
		uint64_t index = cursor->next_path++;

		memset(sample, 0, sizeof(*sample));
		if (!fill_values(cursor, index, sample))
			continue;
		fill_stack(cursor, (uint32_t)index, sample);
		return 1;
	}
	return 0;
}

static void rewind_samples(void *opaque)
{
	struct cursor *cursor = opaque;

	cursor->next_path = 0;
}

/* --- life --- */

static int name_callsites(struct sp_span_profile *profile, uint32_t *count)
{
	const struct sp_recording *recording = profile->values.recording;

	*count = (uint32_t)sp_recording_used(recording, SP_SECTION_CALLSITES);
	profile->names = sp_heap_zalloc((*count + (size_t)1) * sizeof(*profile->names));
	if (!profile->names)
		return -1;
	for (uint32_t i = 0; i < *count; i++) {
		const struct sp_callsite *callsite = sp_recording_callsite(recording, i);
		struct sp_view_named_frame *name = &profile->names[i];

		name->name = "[unnamed]";
		if (!callsite)
			continue;
		if (callsite->name)
			name->name = sp_recording_span_text(recording, callsite->name);
		name->target = sp_recording_span_text(recording, callsite->target);
		name->file = sp_recording_span_text(recording, callsite->file);
		name->line = callsite->line;
	}
	return 0;
}

static void fill_view(struct sp_span_profile *profile, uint32_t module_count,
		      uint32_t name_count)
{
	struct sp_profile_view *view = &profile->view;

	sp_profile_view_begin(view, profile->values.recording, profile->modules,
			      module_count);
	view->kind = "spans";
	view->value_type_count = SP_SPAN_VALUES;
	view->default_value_type = SP_SPAN_WALL;
	memcpy(view->value_types, types, sizeof(types));
	view->period_type = types[SP_SPAN_WALL];
	view->period = 1;
	view->named_frames = profile->names;
	view->named_frame_count = name_count;
	view->comments = profile->comments.lines;
	view->comment_count = profile->comments.count;
	profile->cursor.profile = profile;
	view->next_sample = next_sample;
	view->rewind = rewind_samples;
	view->cursor = &profile->cursor;
}

struct sp_span_profile *sp_span_profile_create(const struct sp_recording *recording,
					       const struct sp_heap_values *heap)
{
	struct sp_span_profile *profile = sp_heap_zalloc(sizeof(*profile));
	uint32_t module_count, name_count;

	if (!profile)
		return NULL;
	profile->modules = sp_profile_modules(recording, &module_count);
	if (!profile->modules ||
	    sp_span_values_init(&profile->values, recording, heap) != 0 ||
	    name_callsites(profile, &name_count) != 0) {
		sp_span_profile_destroy(profile);
		return NULL;
	}
	sp_span_comments_fill(&profile->comments, &profile->values, heap);
	fill_view(profile, module_count, name_count);
	return profile;
}

void sp_span_profile_destroy(struct sp_span_profile *profile)
{
	sp_span_values_fini(&profile->values);
	sp_heap_free(profile->names);
	sp_heap_free(profile->modules);
	sp_heap_free(profile);
}

const struct sp_profile_view *sp_span_profile_view(const struct sp_span_profile *profile)
{
	return &profile->view;
}

const struct sp_span_totals *sp_span_profile_totals(const struct sp_span_profile *profile)
{
	return &profile->values.totals;
}
