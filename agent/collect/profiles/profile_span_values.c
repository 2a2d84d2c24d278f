/*
 * From the sums of paths, which contain the time of the spans inside, to what each
 * path took itself: its time less that of its direct children. Readers that add up a
 * stack then find the sums again. Children that ran beside their parent may have taken
 * more than it has: then nothing is left for it, and its sum comes out too high by
 * what is told as excess. Idle time is each span's own, as allocations are.
 *
 * Wall clock, allocations and, if it was read, CPU time are measured. What is in use is
 * the heap profile's, by the label sets of its cells; user and system time are the
 * CPU time in proportion to the path's samples. Context: collector.
 */
#include "profile_span_values.h"

#include "profile_common.h"
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_heap.h"
#include "sp_recording_spans.h"

#include <errno.h>
#include <string.h>

/* CPU samples with a path as their innermost. */
struct periods {
	uint64_t user, kernel;
};

/* Everything known of a path but what comes out. */
struct inclusive {
	uint64_t busy_ticks, child_busy_ticks;
	uint64_t cpu_ns, child_cpu_ns;
	struct periods periods;
	double inuse_objects, inuse_bytes;
};

bool sp_span_values_has_any(const struct sp_recording *recording)
{
	return sp_recording_used(recording, SP_SECTION_SPAN_PATHS) != 0;
}

/* --- what belongs to which path --- */

/* The number of a label set's path, or the number of paths if it has none. */
static uint64_t path_of_set(const struct sp_span_values *values, uint32_t label_set)
{
	const struct sp_label_set *set =
		sp_recording_label_set(values->recording, label_set);

	return set && set->path && set->path <= values->path_count ? set->path - 1
								   : values->path_count;
}

static void take_samples(const struct sp_span_values *values, struct inclusive *all)
{
	const struct sp_recording *recording = values->recording;
	uint64_t cells = sp_recording_used(recording, SP_SECTION_CELLS);

	for (uint64_t i = 0; i < cells; i++) {
		const struct sp_cell *cell =
			sp_recording_item(recording, SP_SECTION_CELLS, i);
		uint64_t path = path_of_set(values, cell->labels);
		uint64_t periods = sp_atomic_value(&cell->values[1]);

		if (cell->kind != SP_CELL_CPU || path == values->path_count)
			continue;
		if (cell->mode == SP_MODE_KERNEL)
			all[path].periods.kernel += periods;
		else
			all[path].periods.user += periods;
	}
}

static void take_heap(const struct sp_span_values *values,
		      const struct sp_heap_values *heap, struct inclusive *all)
{
	for (uint64_t i = 0; i < heap->cell_count; i++) {
		uint64_t path = path_of_set(values, sp_heap_values_label_set(heap, i));

		if (path == values->path_count)
			continue;
		all[path].inuse_objects += heap->cells[i].of[SP_HEAP_INUSE_OBJECTS];
		all[path].inuse_bytes += heap->cells[i].of[SP_HEAP_INUSE_BYTES];
	}
}

/* Of spans that only samples tell of nobody has read a clock. */
static bool has_exact_cpu(const struct sp_recording *recording,
			  const struct sp_span_path *path)
{
	const struct sp_callsite *callsite =
		sp_recording_callsite(recording, path->callsite);

	return recording->header->has_exact_span_cpu && callsite &&
	       callsite->source != SP_SPAN_SOURCE_OTEL_THREAD &&
	       callsite->source != SP_SPAN_SOURCE_CUSTOM_LABELS;
}

static void take_paths(const struct sp_span_values *values, struct inclusive *all)
{
	const struct sp_recording *recording = values->recording;
	uint64_t period_ns = recording->header->cpu_period_ns;

	for (uint32_t i = 0; i < values->path_count; i++) {
		const struct sp_span_path *path = sp_recording_span_path(recording, i);

		if (!path)
			continue;
		all[i].busy_ticks = sp_atomic_value(&path->busy_ticks);
		all[i].cpu_ns = has_exact_cpu(recording, path)
					? sp_atomic_value(&path->cpu_ns)
					: (all[i].periods.user + all[i].periods.kernel) *
						  period_ns;
		if (!path->parent || path->parent > i)
			continue;
		all[path->parent - 1].child_busy_ticks += all[i].busy_ticks;
		if (recording->header->has_exact_span_cpu)
			all[path->parent - 1].child_cpu_ns += all[i].cpu_ns;
	}
}

/* --- values --- */

static uint64_t ticks_ns(const struct sp_span_values *values, uint64_t ticks)
{
	uint64_t per_second =
		sp_atomic_value(&values->recording->header->span_ticks_per_second);

	return per_second ? sp_profile_integer((double)ticks / (double)per_second *
						       (double)SP_NS_PER_SECOND +
					       0.5)
			  : 0;
}

/* Of a path that nobody has entered, its children's time is all there is. */
static uint64_t less(uint64_t whole, uint64_t part, bool was_entered,
		     struct sp_span_excess *excess)
{
	if (part <= whole)
		return whole - part;
	if (was_entered) {
		excess->paths++;
		excess->ns += part - whole;
	}
	return 0;
}

/* The kernel's part of a path's CPU time; of one without samples, that of all spans, or
 * else of the process. */
static double kernel_share(const struct sp_span_values *values,
			   const struct periods *periods)
{
	const struct sp_recording_header *header = values->recording->header;
	double user = (double)periods->user, kernel = (double)periods->kernel;

	if (user + kernel <= 0) {
		kernel = (double)values->totals.kernel_periods;
		user = (double)values->totals.sampled_periods - kernel;
	}
	if (user + kernel <= 0) {
		kernel = (double)sp_atomic_value(&header->process_system_ns);
		user = (double)sp_atomic_value(&header->process_user_ns);
	}
	return user + kernel > 0 ? kernel / (user + kernel) : 0;
}

/* What nobody wanted to know. */
static void leave_out_untracked(const struct sp_span_values *values, uint64_t *of)
{
	static const struct {
		uint32_t untracked;
		enum sp_span_value first, end;
	} groups[] = {
		{SP_UNTRACKED_WALL, SP_SPAN_WALL, SP_SPAN_CPU},
		{SP_UNTRACKED_CPU, SP_SPAN_CPU, SP_SPAN_ALLOC_OBJECTS},
		{SP_UNTRACKED_ALLOCATIONS, SP_SPAN_ALLOC_OBJECTS, SP_SPAN_INUSE_OBJECTS},
		{SP_UNTRACKED_HEAP, SP_SPAN_INUSE_OBJECTS, SP_SPAN_SPANS},
	};

	for (size_t i = 0; i < SP_ARRAY_COUNT(groups); i++) {
		if (!(values->recording->header->span_untracked & groups[i].untracked))
			continue;
		for (unsigned int which = groups[i].first; which < groups[i].end; which++)
			of[which] = 0;
	}
}

/* That of the process is there anyway. */
static double scale_of(const struct sp_span_values *values,
		       const struct sp_span_path *path)
{
	const struct sp_callsite *callsite =
		sp_recording_callsite(values->recording, path->callsite);

	return callsite && callsite->source == SP_SPAN_SOURCE_ENVIRONMENT ? 1
									  : values->scale;
}

/* What spans that were left out and samples stand for is no whole number. */
static void set(struct sp_span_values *values, uint32_t index, enum sp_span_value which,
		double value)
{
	values->paths[index].of[which] =
		sp_profile_round(value, &values->roundings[which]);
}

static void fill_path(struct sp_span_values *values, uint32_t index,
		      const struct inclusive *inclusive)
{
	const struct sp_span_path *path =
		sp_recording_span_path(values->recording, index);
	uint64_t *of = values->paths[index].of;
	bool was_entered;
	uint64_t busy_ns, idle_ns, cpu_ns;
	double scale;

	if (!path)
		return;
	scale = scale_of(values, path);
	was_entered = sp_atomic_value(&path->entered) != 0;
	busy_ns = less(ticks_ns(values, inclusive->busy_ticks),
		       ticks_ns(values, inclusive->child_busy_ticks), was_entered,
		       &values->totals.busy);
	cpu_ns = less(inclusive->cpu_ns, inclusive->child_cpu_ns, was_entered,
		      &values->totals.cpu);
	idle_ns = ticks_ns(values, sp_atomic_value(&path->idle_ticks));
	set(values, index, SP_SPAN_WALL_BUSY, scale * (double)busy_ns);
	set(values, index, SP_SPAN_WALL_IDLE, scale * (double)idle_ns);
	of[SP_SPAN_WALL] = of[SP_SPAN_WALL_BUSY] + of[SP_SPAN_WALL_IDLE];
	if (of[SP_SPAN_WALL] > INT64_MAX)
		of[SP_SPAN_WALL] = INT64_MAX;
	set(values, index, SP_SPAN_CPU, scale * (double)cpu_ns);
	of[SP_SPAN_CPU_SYSTEM] = sp_profile_integer(
		(double)of[SP_SPAN_CPU] * kernel_share(values, &inclusive->periods) +
		0.5);
	of[SP_SPAN_CPU_USER] = of[SP_SPAN_CPU] - of[SP_SPAN_CPU_SYSTEM];
	set(values, index, SP_SPAN_ALLOC_OBJECTS,
	    scale * (double)sp_atomic_value(&path->allocations));
	set(values, index, SP_SPAN_ALLOC_BYTES,
	    scale * (double)sp_atomic_value(&path->alloc_bytes));
	set(values, index, SP_SPAN_INUSE_OBJECTS, scale * inclusive->inuse_objects);
	set(values, index, SP_SPAN_INUSE_BYTES, scale * inclusive->inuse_bytes);
	set(values, index, SP_SPAN_SPANS, scale * (double)sp_atomic_value(&path->spans));
	leave_out_untracked(values, of);
}

/* --- totals --- */

static void count_open(struct sp_span_values *values)
{
	const struct sp_recording *recording = values->recording;
	uint64_t count = sp_recording_used(recording, SP_SECTION_SPANS);

	for (uint64_t i = 0; i < count; i++) {
		const struct sp_span *span =
			sp_recording_item(recording, SP_SECTION_SPANS, i);
		uint32_t state = atomic_load_explicit(&span->state, memory_order_acquire);

		values->totals.held_spans += state == SP_SPAN_HELD;
		if (state != SP_SPAN_OPEN)
			continue;
		values->totals.open_spans++;
		values->totals.entered_spans += sp_span_entered_now(span) != 0;
	}
}

static void sum_paths(struct sp_span_values *values)
{
	for (uint64_t i = 0; i < values->path_count; i++) {
		for (unsigned int which = 0; which < SP_SPAN_VALUES; which++)
			values->totals.of[which] += values->paths[i].of[which];
	}
}

int sp_span_values_init(struct sp_span_values *values,
			const struct sp_recording *recording,
			const struct sp_heap_values *heap)
{
	uint64_t millionths = recording->header->span_probability_millionths;
	struct inclusive *all;

	memset(values, 0, sizeof(*values));
	values->recording = recording;
	values->scale = millionths && millionths < 1000000 ? 1e6 / (double)millionths : 1;
	values->path_count = sp_recording_used(recording, SP_SECTION_SPAN_PATHS);
	values->paths = sp_heap_zalloc((values->path_count + 1) * sizeof(*values->paths));
	all = sp_heap_zalloc((values->path_count + 1) * sizeof(*all));
	if (!values->paths || !all) {
		sp_heap_free(all);
		sp_span_values_fini(values);
		return -ENOMEM;
	}
	take_samples(values, all);
	if (heap)
		take_heap(values, heap, all);
	for (uint64_t i = 0; i < values->path_count; i++) {
		values->totals.kernel_periods += all[i].periods.kernel;
		values->totals.sampled_periods +=
			all[i].periods.kernel + all[i].periods.user;
	}
	take_paths(values, all);
	for (uint32_t i = 0; i < values->path_count; i++)
		fill_path(values, i, &all[i]);
	sp_heap_free(all);
	sum_paths(values);
	count_open(values);
	return 0;
}

void sp_span_values_fini(struct sp_span_values *values)
{
	sp_heap_free(values->paths);
	values->paths = NULL;
}
