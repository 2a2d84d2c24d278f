/*
 * The last look at a recording that somebody else wrote, when its rings are drained:
 * whether its sums can be true. A single damaged word can claim a thousand years of
 * CPU time; a profile of that would be worse than none. Context: collector.
 */
#include "sp_recording_reader.h"

#include "recording_check_heap.h"
#include "recording_check_span.h"

#include <errno.h>
#include <stdio.h>

/* 146 years, in nanoseconds; also the most samples. Sums of two still fit 64 bits. */
#define SUM_MAX (UINT64_C(1) << 62)

struct sum {
	uint64_t value;
	bool is_too_large;
};

static void add(struct sum *sum, uint64_t count, uint64_t each)
{
	uint64_t addend;

	if (__builtin_mul_overflow(count, each, &addend) ||
	    __builtin_add_overflow(sum->value, addend, &sum->value) ||
	    sum->value > SUM_MAX)
		sum->is_too_large = true;
}

static void add_cells(const struct sp_recording *recording, struct sum *cpu_ns,
		      struct sum *samples)
{
	uint64_t count = sp_recording_used(recording, SP_SECTION_CELLS);

	for (uint64_t i = 0; i < count; i++) {
		const struct sp_cell *cell =
			sp_recording_item(recording, SP_SECTION_CELLS, i);

		if (cell->kind != SP_CELL_CPU)
			continue;
		add(samples, sp_atomic_value(&cell->values[0]), 1);
		add(cpu_ns, sp_atomic_value(&cell->values[1]),
		    recording->header->cpu_period_ns);
	}
}

static void add_clocks(const struct sp_recording *recording, struct sum *cpu_ns)
{
	const struct sp_recording_header *header = recording->header;
	uint64_t slots = sp_recording_used(recording, SP_SECTION_SLOTS);

	for (uint64_t i = 0; i < SP_GROUPS; i++) {
		const struct sp_group *group =
			sp_recording_item(recording, SP_SECTION_GROUPS, i);

		add(cpu_ns, sp_atomic_value(&group->ended_cpu_ns), 1);
	}
	for (uint64_t i = 0; i < slots; i++) {
		const struct sp_slot *slot =
			sp_recording_item(recording, SP_SECTION_SLOTS, i);
		uint32_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);

		if (state != SP_SLOT_LIVE && state != SP_SLOT_ENDED)
			continue;
		add(cpu_ns, sp_atomic_value(&slot->cpu_ns), 1);
		add(cpu_ns, sp_atomic_value(&slot->samples), header->cpu_period_ns);
		add(cpu_ns, sp_atomic_value(&slot->lost_periods), header->cpu_period_ns);
	}
	add(cpu_ns, sp_atomic_value(&header->process_cpu_ns), 1);
	add(cpu_ns, sp_atomic_value(&header->process_user_ns), 1);
	add(cpu_ns, sp_atomic_value(&header->process_system_ns), 1);
	add(cpu_ns, sp_atomic_value(&header->agent_cpu_ns), 1);
}

int sp_recording_check_sums(const struct sp_recording *recording, char *error,
			    size_t error_bytes)
{
	struct sum cpu_ns = {0, false};
	struct sum samples = {0, false};

	add_cells(recording, &cpu_ns, &samples);
	add_clocks(recording, &cpu_ns);
	if (!cpu_ns.is_too_large && !samples.is_too_large &&
	    sp_recording_has_sane_heap_sums(recording) &&
	    sp_recording_has_sane_span_sums(recording))
		return 0;
	if (error_bytes)
		snprintf(error, error_bytes, "damaged: its sums make no sense");
	return -EINVAL;
}
