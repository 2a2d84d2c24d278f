/*
 * The largest stacks of what is in use, with names. Cells of one stack, which differ
 * in the size of their blocks, are one line here. Names are looked up for the few
 * frames that are shown, in one pass over each module's symbols. Context: collector.
 */
#include "leaks.h"

#include "profile_comments.h"
#include "profile_common.h"
#include "sp_compiler.h"
#include "sp_frame_table.h"
#include "sp_heap.h"
#include "sp_log.h"
#include "sp_symbols.h"

#include <errno.h>

#define STACKS_SHOWN 10U
#define FRAMES_SHOWN 16U
#define LINE_BYTES 900U

struct leak {
	const uint64_t *frames;
	uint32_t frame_count;
	double objects, bytes;
};

struct leaks {
	const struct sp_heap_values *values;
	const struct sp_profile_view *view;
	struct sp_known_names *known;
	struct sp_frame_table stacks; /* keys: where the stacks lie */
	struct leak *all;	      /* by index in stacks */
	struct leak *largest[STACKS_SHOWN];
	uint32_t largest_count;
	struct sp_frame_table frames;  /* that are shown */
	struct sp_symbol_query *names; /* by index in frames */
};

/* --- which --- */

/* Stacks are interned: one that is the same lies in the same place. */
static uint64_t key_of(const struct leak *leak)
{
	return (uint64_t)(uintptr_t)leak->frames;
}

static bool read_cell(const struct leaks *leaks, uint64_t cell, struct leak *leak)
{
	leak->objects = leaks->values->cells[cell].of[SP_HEAP_INUSE_OBJECTS];
	leak->bytes = leaks->values->cells[cell].of[SP_HEAP_INUSE_BYTES];
	return leak->objects > 0 &&
	       sp_heap_values_stack(leaks->values, cell, &leak->frames,
				    &leak->frame_count);
}

static int sum_stacks(struct leaks *leaks)
{
	uint64_t cells = leaks->values->cell_count;
	struct leak leak;
	uint32_t index;

	for (uint64_t cell = 0; cell < cells; cell++) {
		if (read_cell(leaks, cell, &leak) &&
		    sp_frame_table_add(&leaks->stacks, key_of(&leak)) != 0)
			return -ENOMEM;
	}
	leaks->all =
		sp_heap_zalloc((leaks->stacks.count + (size_t)1) * sizeof(*leaks->all));
	if (!leaks->all)
		return -ENOMEM;
	for (uint64_t cell = 0; cell < cells; cell++) {
		if (!read_cell(leaks, cell, &leak) ||
		    !sp_frame_table_find(&leaks->stacks, key_of(&leak), &index))
			continue;
		leak.objects += leaks->all[index].objects;
		leak.bytes += leaks->all[index].bytes;
		leaks->all[index] = leak;
	}
	return 0;
}

static void find_largest(struct leaks *leaks)
{
	for (uint32_t i = 0; i < leaks->stacks.count; i++) {
		struct leak *leak = &leaks->all[i];
		uint32_t at = leaks->largest_count;

		if (at < STACKS_SHOWN)
			leaks->largest_count++;
		else if (leaks->largest[--at]->bytes >= leak->bytes)
			continue;
		for (; at && leaks->largest[at - 1]->bytes < leak->bytes; at--)
			leaks->largest[at] = leaks->largest[at - 1];
		leaks->largest[at] = leak;
	}
}

/* --- names --- */

static uint32_t shown_frames(const struct leak *leak)
{
	return leak->frame_count < FRAMES_SHOWN ? leak->frame_count : FRAMES_SHOWN;
}

static const struct sp_view_module *find_module(const struct sp_profile_view *view,
						uint16_t id)
{
	for (uint32_t i = 0; i < view->module_count; i++) {
		if (view->modules[i].id == id)
			return &view->modules[i];
	}
	return NULL;
}

static const char *name_outside(const struct leaks *leaks, uint64_t frame)
{
	const char *name;

	if (sp_frame_module(frame) == SP_MODULE_PSEUDO)
		return sp_pseudo_frame_name(sp_frame_offset(frame));
	if (sp_frame_module(frame) != SP_MODULE_NONE)
		return "[unknown module]";
	name = sp_symbols_resolve_jit(leaks->known->symbols, leaks->view->pid,
				      sp_frame_offset(frame));
	return name ? name : "[jit]";
}

/* Frames are sorted by module, then by offset. */
static void find_names(struct leaks *leaks)
{
	const struct sp_frame_table *frames = &leaks->frames;
	uint32_t end;

	for (uint32_t first = 0; first < frames->count; first = end) {
		uint16_t id = sp_frame_module(frames->frames[first]);
		const struct sp_view_module *module = find_module(leaks->view, id);

		for (end = first;
		     end < frames->count && sp_frame_module(frames->frames[end]) == id;
		     end++) {
			leaks->names[end].offset = sp_frame_offset(frames->frames[end]);
			if (!module)
				leaks->names[end].name =
					name_outside(leaks, frames->frames[end]);
		}
		/* Short of memory it still gives names, if poor ones. */
		if (module)
			(void)sp_known_names_resolve(leaks->known, module,
						     &leaks->names[first], end - first);
	}
}

static int name_frames(struct leaks *leaks)
{
	for (uint32_t i = 0; i < leaks->largest_count; i++) {
		const struct leak *leak = leaks->largest[i];

		for (uint32_t frame = 0; frame < shown_frames(leak); frame++) {
			int err = sp_frame_table_add(&leaks->frames, leak->frames[frame]);

			if (err)
				return err;
		}
	}
	sp_frame_table_sort(&leaks->frames);
	leaks->names =
		sp_heap_zalloc((leaks->frames.count + (size_t)1) * sizeof(*leaks->names));
	if (!leaks->names)
		return -ENOMEM;
	find_names(leaks);
	return 0;
}

/* --- words --- */

static void say_amount(struct sp_text *line, double bytes, double objects)
{
	uint64_t blocks = sp_profile_integer(objects + 0.5);

	sp_comment_bytes(line, sp_profile_integer(bytes + 0.5));
	sp_text_string(line, " in ");
	sp_text_decimal(line, blocks);
	sp_text_string(line, blocks == 1 ? " block" : " blocks");
}

static void tell_sum(const struct leaks *leaks)
{
	const struct sp_heap_totals *totals = &leaks->values->totals;
	char bytes[128];
	struct sp_text line;

	if (!leaks->stacks.count) {
		sp_log_note("leaks: %s", leaks->values->rate_bytes <= 1
						 ? "nothing is in use"
						 : "no sampled block is in use");
		return;
	}
	sp_text_init(&line, bytes, sizeof(bytes));
	say_amount(&line, totals->of[SP_HEAP_INUSE_BYTES],
		   totals->of[SP_HEAP_INUSE_OBJECTS]);
	sp_log_note("leaks: %s still in use (%s), from %u %s%s", bytes,
		    leaks->values->rate_bytes <= 1 ? "exact" : "estimate",
		    (unsigned int)leaks->stacks.count,
		    leaks->stacks.count == 1 ? "stack" : "stacks",
		    leaks->stacks.count > STACKS_SHOWN ? "; the largest:" : ":");
}

static void tell_leak(const struct leaks *leaks, const struct leak *leak)
{
	char bytes[LINE_BYTES];
	struct sp_text line;
	uint32_t index;

	sp_text_init(&line, bytes, sizeof(bytes));
	say_amount(&line, leak->bytes, leak->objects);
	for (uint32_t i = 0; i < shown_frames(leak); i++) {
		sp_text_string(&line, i ? " < " : ": ");
		if (sp_frame_table_find(&leaks->frames, leak->frames[i], &index))
			sp_text_string(&line, leaks->names[index].name);
	}
	sp_log_note("leaks: %s%s", bytes,
		    line.is_cut || leak->frame_count > shown_frames(leak) ? " < ..."
									  : "");
}

static int tell(struct leaks *leaks)
{
	int err = sum_stacks(leaks);

	if (err)
		return err;
	find_largest(leaks);
	err = name_frames(leaks);
	if (err)
		return err;
	tell_sum(leaks);
	for (uint32_t i = 0; i < leaks->largest_count; i++)
		tell_leak(leaks, leaks->largest[i]);
	return 0;
}

void sp_leaks_tell(const struct sp_heap_profile *profile, struct sp_known_names *names)
{
	struct leaks leaks = {
		.values = sp_heap_profile_values(profile),
		.view = sp_heap_profile_view(profile, SP_HEAP_VIEW_LEAKS),
		.known = names,
	};

	sp_frame_table_init(&leaks.stacks);
	sp_frame_table_init(&leaks.frames);
	if (tell(&leaks) != 0)
		sp_log_error("no memory to list leaks");
	sp_frame_table_fini(&leaks.frames);
	sp_frame_table_fini(&leaks.stacks);
	sp_heap_free(leaks.names);
	sp_heap_free(leaks.all);
}
