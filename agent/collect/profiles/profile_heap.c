/*
 * The values of the heap's cells (profile_heap_values.h) as samples of several profiles,
 * which are columns of one table. Estimates are rounded so that each sum is that of the
 * estimates (sp_profile_round()). Context: collector.
 */
#include "profile_heap.h"

#include "profile_comments_heap.h"
#include "profile_common.h"
#include "profile_labels.h"
#include "sp_compiler.h"
#include "sp_heap.h"

#include <string.h>

struct cursor {
	const struct sp_heap_profile *profile;
	enum sp_heap_view which;
	uint64_t next_cell;
	struct sp_rounding roundings[SP_VIEW_VALUES_MAX];
	struct sp_profile_ids ids; /* of the last sample */
};

struct sp_heap_profile {
	struct sp_heap_values values;
	struct sp_view_module *modules;
	double age_scale; /* from cycles to the unit of the view */
	struct sp_profile_view views[SP_HEAP_VIEWS];
	struct cursor cursors[SP_HEAP_VIEWS];
	struct sp_profile_comments comments[SP_HEAP_VIEWS];
};

struct column {
	const char *type, *unit; /* NULL: the unit of ages */
	enum sp_heap_value value;
};

static const struct {
	const char *kind;
	struct column columns[SP_VIEW_VALUES_MAX];
	uint32_t column_count, default_column;
} kinds[SP_HEAP_VIEWS] = {
	/* In Go's order, which readers know. */
	[SP_HEAP_VIEW_HEAP] = {"heap",
			       {{"alloc_objects", "count", SP_HEAP_ALLOC_OBJECTS},
				{"alloc_space", "bytes", SP_HEAP_ALLOC_BYTES},
				{"inuse_objects", "count", SP_HEAP_INUSE_OBJECTS},
				{"inuse_space", "bytes", SP_HEAP_INUSE_BYTES}},
			       4,
			       3},
	[SP_HEAP_VIEW_PEAK] = {"peak",
			       {{"inuse_objects", "count", SP_HEAP_PEAK_OBJECTS},
				{"inuse_space", "bytes", SP_HEAP_PEAK_BYTES}},
			       2,
			       1},
	[SP_HEAP_VIEW_LIFETIMES] =
		{"lifetimes",
		 {{"freed_objects", "count", SP_HEAP_FREED_OBJECTS},
		  {"freed_space", "bytes", SP_HEAP_FREED_BYTES},
		  {"short_lived_objects", "count", SP_HEAP_SHORT_OBJECTS},
		  {"short_lived_space", "bytes", SP_HEAP_SHORT_BYTES},
		  {"cross_thread_objects", "count", SP_HEAP_CROSS_OBJECTS},
		  {"total_age", NULL, SP_HEAP_AGE_CYCLES}},
		 6,
		 1},
	[SP_HEAP_VIEW_LEAKS] = {"leaks",
				{{"inuse_objects", "count", SP_HEAP_INUSE_OBJECTS},
				 {"inuse_space", "bytes", SP_HEAP_INUSE_BYTES}},
				2,
				1},
};

/* That allocators allocate is no news: readers hide these frames. Stacks begin at the
 * caller of malloc() already. */
#define ALLOCATOR_FRAMES "spanprof_.*|operator new.*"

/* --- samples --- */

/* False if there is nothing to tell of this cell. */
static bool fill_values(struct cursor *cursor, uint64_t cell_index,
			struct sp_view_sample *sample)
{
	const struct sp_heap_profile *profile = cursor->profile;
	const double *value = profile->values.cells[cell_index].of;
	bool has_value = false;

	for (uint32_t i = 0; i < kinds[cursor->which].column_count; i++) {
		enum sp_heap_value which = kinds[cursor->which].columns[i].value;
		double scale = which == SP_HEAP_AGE_CYCLES ? profile->age_scale : 1;

		sample->values[i] = (int64_t)sp_profile_round(value[which] * scale,
							      &cursor->roundings[i]);
		has_value |= sample->values[i] != 0;
	}
	return has_value;
}

static int next_sample(void *opaque, struct sp_view_sample *sample)
{
	struct cursor *cursor = opaque;
	const struct sp_heap_values *values = &cursor->profile->values;

	while (cursor->next_cell < values->cell_count) {
		uint64_t index = cursor->next_cell++;
		uint64_t size_class_bytes = sp_heap_values_size_class(values, index);

		memset(sample, 0, sizeof(*sample));
		if (!sp_heap_values_stack(values, index, &sample->frames,
					  &sample->frame_count) ||
		    !fill_values(cursor, index, sample))
			continue;
		sample->labels[0] =
			(struct sp_view_label){.key = "bytes",
					       .number = (int64_t)size_class_bytes,
					       .unit = "bytes"};
		sample->label_count = size_class_bytes != 0;
		sp_profile_add_labels(values->recording,
				      sp_heap_values_label_set(values, index),
				      &cursor->ids, sample);
		return 1;
	}
	return 0;
}

static void rewind_samples(void *opaque)
{
	struct cursor *cursor = opaque;

	cursor->next_cell = 0;
	memset(cursor->roundings, 0, sizeof(cursor->roundings));
}

/* --- life --- */

/* Nanoseconds, unless their sum does not fit: a million blocks of three hours. */
static const char *choose_age_unit(struct sp_heap_profile *profile)
{
	static const struct {
		const char *name;
		double per_second;
	} units[] = {{"nanoseconds", 1e9}, {"microseconds", 1e6}, {"seconds", 1}};
	double cycles_per_second = (double)profile->values.cycles_per_second;
	double age_cycles = profile->values.totals.of[SP_HEAP_AGE_CYCLES];
	size_t unit = 0;

	if (cycles_per_second == 0)
		return units[0].name;
	while (unit + 1 < SP_ARRAY_COUNT(units) &&
	       age_cycles / cycles_per_second * units[unit].per_second > 4e18)
		unit++;
	profile->age_scale = units[unit].per_second / cycles_per_second;
	return units[unit].name;
}

static void fill_view(struct sp_heap_profile *profile, enum sp_heap_view which,
		      uint32_t module_count, const char *age_unit)
{
	struct sp_profile_view *view = &profile->views[which];
	struct cursor *cursor = &profile->cursors[which];

	sp_profile_view_begin(view, profile->values.recording, profile->modules,
			      module_count);
	view->kind = kinds[which].kind;
	view->value_type_count = kinds[which].column_count;
	view->default_value_type = kinds[which].default_column;
	for (uint32_t i = 0; i < view->value_type_count; i++) {
		const struct column *column = &kinds[which].columns[i];

		view->value_types[i] = (struct sp_value_type){
			column->type, column->unit ? column->unit : age_unit};
	}
	view->period_type = (struct sp_value_type){"space", "bytes"};
	view->period = (int64_t)profile->values.rate_bytes;
	view->drop_frames = ALLOCATOR_FRAMES;
	sp_heap_comments_fill(&profile->comments[which], which, view->kind,
			      &profile->values);
	view->comments = profile->comments[which].lines;
	view->comment_count = profile->comments[which].count;
	cursor->profile = profile;
	cursor->which = which;
	view->next_sample = next_sample;
	view->rewind = rewind_samples;
	view->cursor = cursor;
}

struct sp_heap_profile *sp_heap_profile_create(const struct sp_recording *recording)
{
	struct sp_heap_profile *profile = sp_heap_alloc(sizeof(*profile));
	const char *age_unit;
	uint32_t module_count;

	if (!profile)
		return NULL;
	/* What is large is written before it is read, and mostly not touched. */
	memset(profile, 0, offsetof(struct sp_heap_profile, comments));
	for (unsigned int which = 0; which < SP_HEAP_VIEWS; which++)
		profile->comments[which].count = 0;
	profile->modules = sp_profile_modules(recording, &module_count);
	if (!profile->modules || sp_heap_values_init(&profile->values, recording) != 0) {
		sp_heap_profile_destroy(profile);
		return NULL;
	}
	age_unit = choose_age_unit(profile);
	for (unsigned int which = 0; which < SP_HEAP_VIEWS; which++)
		fill_view(profile, which, module_count, age_unit);
	return profile;
}

void sp_heap_profile_destroy(struct sp_heap_profile *profile)
{
	sp_heap_values_fini(&profile->values);
	sp_heap_free(profile->modules);
	sp_heap_free(profile);
}

const struct sp_profile_view *sp_heap_profile_view(const struct sp_heap_profile *profile,
						   enum sp_heap_view which)
{
	return &profile->views[which];
}

const struct sp_heap_values *sp_heap_profile_values(const struct sp_heap_profile *profile)
{
	return &profile->values;
}
