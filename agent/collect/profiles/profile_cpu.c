/*
 * From cells to the values of a CPU profile.
 *
 * Every thread's CPU time is known exactly; what is sampled is only how it spreads
 * over stacks. So the samples of a group (threads with one entry function) are
 * scaled to the exact time of the group; a group without samples shows as
 * entry;[unsampled], threads that the kernel made for its own work, which have no stacks
 * that anybody could look at, as [kernel worker]; what the process used beyond all
 * groups, the ends of their threads and the agent's own thread (threads that came and
 * went unseen) as [unknown thread];[unsampled]. The sum is the process's CPU time,
 * nothing is counted twice. Context: collector.
 */
#include "profile_cpu.h"

#include "profile_comments_cpu.h"
#include "profile_common.h"
#include "profile_labels.h"
#include "sp_compiler.h"
#include "sp_frame.h"
#include "sp_heap.h"

#include <string.h>

#define EXTRA_SAMPLES (SP_GROUPS + 2) /* [unsampled] of groups, the rest, the agent */

struct sp_cpu_profile {
	const struct sp_recording *recording;
	struct sp_profile_view view;
	struct sp_cpu_totals totals;
	struct sp_view_module *modules;
	struct sp_group_sum groups[SP_GROUPS];
	uint64_t rest_ns;
	uint64_t next_cell, next_extra;
	struct sp_profile_ids ids; /* of the last sample */
	uint64_t frames[1 + 1024 + 2];
	struct sp_profile_comments comments;
};

static const struct sp_cell *cell_at(const struct sp_cpu_profile *profile, uint64_t index)
{
	return sp_recording_item(profile->recording, SP_SECTION_CELLS, index);
}

static const struct sp_group *group_at(const struct sp_cpu_profile *profile,
				       uint64_t index)
{
	return sp_recording_item(profile->recording, SP_SECTION_GROUPS, index);
}

/* --- sums --- */

/* The clocks of a killed process were last read a while before its end: its samples
 * may tell of more time than they do. */
static bool are_clocks_final(const struct sp_recording_header *header)
{
	return atomic_load_explicit(&header->are_clocks_final, memory_order_relaxed);
}

/* A thread that was killed ran on since its clock was read; its samples tell for how
 * long, but for the last period. */
static uint64_t slot_ns(const struct sp_recording_header *header,
			const struct sp_slot *slot)
{
	uint64_t cpu_ns = sp_atomic_value(&slot->cpu_ns);
	uint64_t sampled_ns =
		(sp_atomic_value(&slot->samples) + sp_atomic_value(&slot->lost_periods)) *
		header->cpu_period_ns;

	if (are_clocks_final(header) || cpu_ns >= sampled_ns ||
	    atomic_load_explicit(&slot->state, memory_order_relaxed) != SP_SLOT_LIVE)
		return cpu_ns;
	return sampled_ns;
}

static void sum_groups(struct sp_cpu_profile *profile)
{
	const struct sp_recording *recording = profile->recording;
	uint64_t slots = sp_recording_used(recording, SP_SECTION_SLOTS);
	uint64_t cells = sp_recording_used(recording, SP_SECTION_CELLS);
	uint64_t handler_cycles =
		sp_atomic_value(&recording->header->ended_handler_cycles);
	uint64_t cycles_per_second =
		sp_atomic_value(&recording->header->cycles_per_second);

	for (uint64_t i = 0; i < SP_GROUPS; i++)
		profile->groups[i].exact_ns =
			sp_atomic_value(&group_at(profile, i)->ended_cpu_ns);
	for (uint64_t i = 0; i < slots; i++) {
		const struct sp_slot *slot =
			sp_recording_item(recording, SP_SECTION_SLOTS, i);
		uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
		uint32_t group = atomic_load_explicit(&slot->group, memory_order_relaxed);

		if (state != SP_SLOT_LIVE && state != SP_SLOT_ENDED)
			continue;
		profile->groups[group % SP_GROUPS].exact_ns +=
			slot_ns(recording->header, slot);
		handler_cycles += sp_atomic_value(&slot->handler_cycles);
	}
	for (uint64_t i = 0; i < cells; i++) {
		const struct sp_cell *cell = cell_at(profile, i);

		if (cell->kind != SP_CELL_CPU || cell->group >= SP_GROUPS)
			continue;
		profile->groups[cell->group].samples += sp_atomic_value(&cell->values[0]);
		profile->groups[cell->group].periods += sp_atomic_value(&cell->values[1]);
		profile->totals.samples += sp_atomic_value(&cell->values[0]);
		if (cell->node == 1) { /* [dropped] */
			profile->totals.lost_samples += sp_atomic_value(&cell->values[0]);
			profile->totals.lost_periods += sp_atomic_value(&cell->values[1]);
		}
	}
	profile->totals.samples -= profile->totals.lost_samples;
	if (!are_clocks_final(recording->header))
		for (uint64_t i = 0; i < SP_GROUPS; i++) {
			struct sp_group_sum *group = &profile->groups[i];
			uint64_t sampled_ns =
				group->periods * recording->header->cpu_period_ns;

			if (group->exact_ns < sampled_ns)
				group->exact_ns = sampled_ns;
		}
	if (cycles_per_second)
		profile->totals.handler_ns = sp_profile_integer(
			(double)handler_cycles * 1e9 / (double)cycles_per_second);
}

/* What a thread's end takes in the kernel at most; half of it is usual. */
#define END_NS_MAX UINT64_C(100000)

/*
 * A thread that ends reads its clock last; what its end in the kernel takes after that is
 * in the rest of the process's time. But so are threads that nobody saw, so it is no more
 * than an end takes.
 */
static void give_rest_to_ended_threads(struct sp_cpu_profile *profile)
{
	uint64_t threads = 0, end_ns;

	for (uint64_t i = 0; i < SP_GROUPS; i++)
		threads += sp_atomic_value(&group_at(profile, i)->ended_threads);
	end_ns = threads ? profile->rest_ns / threads : 0;
	if (end_ns > END_NS_MAX)
		end_ns = END_NS_MAX;
	for (uint64_t i = 0; i < SP_GROUPS; i++) {
		uint64_t taken_ns =
			end_ns * sp_atomic_value(&group_at(profile, i)->ended_threads);

		profile->groups[i].exact_ns += taken_ns;
		profile->rest_ns -= taken_ns;
	}
}

static bool is_of_kernel_workers(const struct sp_cpu_profile *profile, uint64_t group)
{
	return sp_atomic_value(&group_at(profile, group)->entry_address) ==
	       SP_ENTRY_KERNEL_WORKER;
}

/*
 * A group of threads that end without a word takes what is left: their clocks were last
 * read a moment ago, and what ended since is in the rest. But it takes no more than it
 * has, as others came and went and were never in it.
 */
static void give_rest_to(struct sp_cpu_profile *profile, struct sp_group_sum *group)
{
	uint64_t taken_ns =
		profile->rest_ns < group->exact_ns ? profile->rest_ns : group->exact_ns;

	group->exact_ns += taken_ns;
	profile->rest_ns -= taken_ns;
}

static void give_rest_to_silent_threads(struct sp_cpu_profile *profile)
{
	if (profile->groups[SP_GROUP_UNKNOWN].periods)
		give_rest_to(profile, &profile->groups[SP_GROUP_UNKNOWN]);
	for (uint64_t i = 0; i < SP_GROUPS; i++)
		if (is_of_kernel_workers(profile, i))
			give_rest_to(profile, &profile->groups[i]);
}

static void sum_totals(struct sp_cpu_profile *profile)
{
	const struct sp_recording_header *header = profile->recording->header;
	struct sp_cpu_totals *totals = &profile->totals;
	uint64_t process_ns = sp_atomic_value(&header->process_cpu_ns);
	uint64_t known_ns = sp_atomic_value(&header->agent_cpu_ns);

	totals->agent_ns = known_ns;
	for (uint64_t i = 0; i < SP_GROUPS; i++)
		known_ns += profile->groups[i].exact_ns;
	profile->rest_ns = process_ns > known_ns ? process_ns - known_ns : 0;
	totals->cpu_ns = known_ns + profile->rest_ns;
	give_rest_to_ended_threads(profile);
	give_rest_to_silent_threads(profile);
	totals->unsampled_ns = profile->rest_ns;
	for (uint64_t i = 0; i < SP_GROUPS; i++)
		if (is_of_kernel_workers(profile, i))
			totals->kernel_workers_ns += profile->groups[i].exact_ns;
		else if (!profile->groups[i].periods)
			totals->unsampled_ns += profile->groups[i].exact_ns;
}

/* --- samples --- */

static void put_frame(struct sp_cpu_profile *profile, struct sp_view_sample *sample,
		      uint64_t frame)
{
	profile->frames[sample->frame_count++] = frame;
}

static void put_stack(struct sp_cpu_profile *profile, struct sp_view_sample *sample,
		      uint32_t node)
{
	while (node && sample->frame_count < SP_ARRAY_COUNT(profile->frames)) {
		const struct sp_node *item =
			sp_recording_item(profile->recording, SP_SECTION_NODES, node);

		put_frame(profile, sample, item->frame);
		node = item->parent;
	}
}

/* The group's exact time up to given + periods, less that up to given. */
static int64_t share_ns(struct sp_group_sum *group, uint64_t periods)
{
	double scale = (double)group->exact_ns / (double)group->periods;
	uint64_t from_ns = sp_profile_integer((double)group->given_periods * scale + 0.5);
	uint64_t to_ns;

	group->given_periods += periods;
	to_ns = group->given_periods == group->periods
			? group->exact_ns
			: sp_profile_integer((double)group->given_periods * scale + 0.5);
	return to_ns > from_ns ? (int64_t)(to_ns - from_ns) : 0;
}

static bool fill_from_cell(struct sp_cpu_profile *profile, const struct sp_cell *cell,
			   struct sp_view_sample *sample)
{
	struct sp_group_sum *group;

	if (cell->kind != SP_CELL_CPU || cell->group >= SP_GROUPS ||
	    !sp_atomic_value(&cell->values[1]))
		return false;
	group = &profile->groups[cell->group];
	put_stack(profile, sample, cell->node);
	sample->values[0] = (int64_t)sp_atomic_value(&cell->values[0]);
	sample->values[1] = share_ns(group, sp_atomic_value(&cell->values[1]));
	sample->labels[0] = (struct sp_view_label){
		.key = "mode", .str = cell->mode == SP_MODE_KERNEL ? "kernel" : "user"};
	sample->label_count = cell->node == 1 ? 0 : 1;
	sp_profile_add_labels(profile->recording, cell->labels, &profile->ids, sample);
	return true;
}

static bool fill_extra(struct sp_cpu_profile *profile, uint64_t index,
		       struct sp_view_sample *sample)
{
	uint64_t entry_frame = 0;
	uint64_t ns;

	if (index < SP_GROUPS) {
		ns = profile->groups[index].periods ? 0 : profile->groups[index].exact_ns;
		entry_frame = sp_atomic_value(&group_at(profile, index)->entry_frame);
	} else if (index == SP_GROUPS) {
		ns = profile->rest_ns;
	} else {
		put_frame(profile, sample, sp_frame_pseudo(SP_PSEUDO_AGENT));
		sample->values[1] = (int64_t)profile->totals.agent_ns;
		return sample->values[1] != 0;
	}
	if (!ns)
		return false;
	sample->values[1] = (int64_t)ns;
	if (index < SP_GROUPS && is_of_kernel_workers(profile, index)) {
		put_frame(profile, sample, sp_frame_pseudo(SP_PSEUDO_KERNEL_WORKER));
		sample->labels[sample->label_count++] =
			(struct sp_view_label){.key = "mode", .str = "kernel"};
		return true;
	}
	put_frame(profile, sample, sp_frame_pseudo(SP_PSEUDO_UNSAMPLED));
	put_frame(profile, sample,
		  entry_frame ? entry_frame : sp_frame_pseudo(SP_PSEUDO_UNKNOWN_THREAD));
	return true;
}

static int next_sample(void *cursor, struct sp_view_sample *sample)
{
	struct sp_cpu_profile *profile = cursor;
	uint64_t cells = sp_recording_used(profile->recording, SP_SECTION_CELLS);

	memset(sample, 0, sizeof(*sample));
	sample->frames = profile->frames;
	while (profile->next_cell < cells)
		if (fill_from_cell(profile, cell_at(profile, profile->next_cell++),
				   sample))
			return 1;
	while (profile->next_extra < EXTRA_SAMPLES)
		if (fill_extra(profile, profile->next_extra++, sample))
			return 1;
	return 0;
}

static void rewind_samples(void *cursor)
{
	struct sp_cpu_profile *profile = cursor;

	profile->next_cell = 0;
	profile->next_extra = 0;
	for (uint64_t i = 0; i < SP_GROUPS; i++)
		profile->groups[i].given_periods = 0;
}

/* --- life --- */

static void fill_view(struct sp_cpu_profile *profile, uint32_t module_count)
{
	struct sp_profile_view *view = &profile->view;

	sp_profile_view_begin(view, profile->recording, profile->modules, module_count);
	view->kind = "cpu";
	view->value_types[0] = (struct sp_value_type){"samples", "count"};
	view->value_types[1] = (struct sp_value_type){"cpu", "nanoseconds"};
	view->value_type_count = 2;
	view->default_value_type = 1;
	view->period_type = (struct sp_value_type){"cpu", "nanoseconds"};
	view->period = (int64_t)profile->recording->header->cpu_period_ns;
	view->drop_frames = "spanprof_.*";
	view->comments = profile->comments.lines;
	view->comment_count = profile->comments.count;
	view->next_sample = next_sample;
	view->rewind = rewind_samples;
	view->cursor = profile;
}

struct sp_cpu_profile *sp_cpu_profile_create(const struct sp_recording *recording)
{
	struct sp_cpu_profile *profile = sp_heap_alloc(sizeof(*profile));
	uint32_t module_count;

	if (!profile)
		return NULL;
	/* What is large is written before it is read, and mostly not touched. */
	memset(profile, 0, offsetof(struct sp_cpu_profile, frames));
	profile->comments.count = 0;
	profile->recording = recording;
	profile->modules = sp_profile_modules(recording, &module_count);
	if (!profile->modules) {
		sp_heap_free(profile);
		return NULL;
	}
	sum_groups(profile);
	sum_totals(profile);
	sp_cpu_comments_fill(&profile->comments, recording, &profile->totals,
			     profile->groups);
	fill_view(profile, module_count);
	return profile;
}

void sp_cpu_profile_destroy(struct sp_cpu_profile *profile)
{
	sp_heap_free(profile->modules);
	sp_heap_free(profile);
}

const struct sp_profile_view *sp_cpu_profile_view(const struct sp_cpu_profile *profile)
{
	return &profile->view;
}

const struct sp_cpu_totals *sp_cpu_profile_totals(const struct sp_cpu_profile *profile)
{
	return &profile->totals;
}
