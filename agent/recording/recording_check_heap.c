/*
 * The heap's tables as a killed process left them, or as they were copied while it
 * wrote them: cells that are not filled yet and stacks that nobody refers to are
 * nothing unusual, and in a copy blocks may be newer than the tables that they
 * point to. So what points astray is sent to [dropped] and counted; only tables that
 * begin wrong and sums that cannot be are refused. Context: collector.
 */
#include "recording_check_heap.h"

#include "sp_absorb.h"
#include "sp_double.h"
#include "sp_frame.h"
#include "sp_poisson.h"
#include "sp_recording_heap.h"

/* --- tables --- */

static bool has_stack(const struct sp_recording *recording, uint64_t word)
{
	uint64_t used = sp_recording_used(recording, SP_SECTION_HEAP_STACKS);
	const struct sp_heap_stack *stack;

	if (word >= used || used - word < SP_HEAP_STACK_WORDS)
		return false;
	stack = sp_recording_item(recording, SP_SECTION_HEAP_STACKS, word);
	return stack->frame_count > 0 && stack->frame_count <= SP_STACK_FRAMES_MAX &&
	       stack->frame_count <= used - word - SP_HEAP_STACK_WORDS;
}

static struct sp_heap_cell *cell_at(const struct sp_recording *recording, uint64_t index)
{
	return sp_recording_item(recording, SP_SECTION_HEAP_CELLS, index);
}

static bool is_filled(const struct sp_recording *recording, uint64_t index)
{
	return index < sp_recording_used(recording, SP_SECTION_HEAP_CELLS) &&
	       atomic_load_explicit(&cell_at(recording, index)->is_filled,
				    memory_order_relaxed);
}

/* Killed before its tables were begun, it has none; the absorber makes them. */
static bool begins_right(const struct sp_recording *recording)
{
	const struct sp_heap_stack *stack =
		sp_recording_item(recording, SP_SECTION_HEAP_STACKS, 0);

	if (!sp_recording_used(recording, SP_SECTION_HEAP_CELLS))
		return true;
	return has_stack(recording, 0) && stack->frame_count == 1 &&
	       stack->frames[0] == sp_frame_pseudo(SP_PSEUDO_DROPPED) &&
	       is_filled(recording, SP_HEAP_CELL_DROPPED) &&
	       cell_at(recording, SP_HEAP_CELL_DROPPED)->stack == 0;
}

static void mend_cells(struct sp_recording *recording)
{
	uint64_t count = sp_recording_used(recording, SP_SECTION_HEAP_CELLS);

	for (uint64_t i = 0; i < count; i++) {
		struct sp_heap_cell *cell = cell_at(recording, i);

		if (!is_filled(recording, i) || has_stack(recording, cell->stack))
			continue;
		cell->stack = 0;
		sp_recording_count(recording, SP_LOSS_DAMAGED, 1);
	}
}

static uint64_t live_entries(const struct sp_recording *recording)
{
	return sp_live_blocks(recording);
}

static struct sp_live_block *live_at(const struct sp_recording *recording, uint64_t index)
{
	return sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, index);
}

static enum sp_live_state state_of(const struct sp_live_block *block)
{
	return (enum sp_live_state)(sp_atomic_value(&block->word) & SP_LIVE_STATE_MASK);
}

static void mend_blocks(struct sp_recording *recording)
{
	uint64_t count = live_entries(recording);

	for (uint64_t i = 0; i < count; i++) {
		struct sp_live_block *block = live_at(recording, i);
		enum sp_live_state state = state_of(block);

		if ((state != SP_LIVE_LIVE && state != SP_LIVE_FREED) ||
		    is_filled(recording, block->cell))
			continue;
		block->cell = SP_HEAP_CELL_DROPPED;
		sp_recording_count(recording, SP_LOSS_DAMAGED, 1);
	}
}

/* --- sums --- */

/* Adds up to *sum; false when that, or the value, cannot be. Not a number is neither
 * above nor below. */
static bool add_value(double *sum, double value, double max)
{
	if (!(value >= 0))
		return false;
	*sum += value;
	return *sum <= max;
}

static bool add_word(double *sum, const _Atomic uint64_t *word)
{
	return add_value(sum, (double)sp_atomic_value(word), SP_HEAP_SUM_MAX);
}

static bool add_double(double *sum, const _Atomic uint64_t *word, double max)
{
	return add_value(sum, sp_double_from_bits(sp_atomic_value(word)), max);
}

struct sums {
	double samples, objects, bytes; /* freed, in use and not followed */
	double age_cycles;
	double short_objects, short_bytes, cross_objects, peak_objects, peak_bytes;
	double allocations, frees, exact_bytes, variance, cost_cycles;
};

static bool add_cell(struct sums *sums, const struct sp_heap_cell *cell)
{
	return add_word(&sums->samples, &cell->freed_samples) &&
	       add_double(&sums->objects, &cell->freed_objects, SP_HEAP_SUM_MAX) &&
	       add_double(&sums->bytes, &cell->freed_bytes, SP_HEAP_SUM_MAX) &&
	       add_double(&sums->age_cycles, &cell->age_cycles, SP_HEAP_AGE_MAX) &&
	       add_double(&sums->short_objects, &cell->short_objects, SP_HEAP_SUM_MAX) &&
	       add_double(&sums->short_bytes, &cell->short_bytes, SP_HEAP_SUM_MAX) &&
	       add_double(&sums->cross_objects, &cell->cross_objects, SP_HEAP_SUM_MAX) &&
	       add_double(&sums->peak_objects, &cell->peak_objects, SP_HEAP_SUM_MAX) &&
	       add_double(&sums->peak_bytes, &cell->peak_bytes, SP_HEAP_SUM_MAX) &&
	       add_word(&sums->objects, &cell->untracked_objects_q8) &&
	       add_word(&sums->bytes, &cell->untracked_bytes);
}

static bool add_cells(struct sums *sums, const struct sp_recording *recording)
{
	uint64_t count = sp_recording_used(recording, SP_SECTION_HEAP_CELLS);

	for (uint64_t i = 0; i < count; i++)
		if (is_filled(recording, i) && !add_cell(sums, cell_at(recording, i)))
			return false;
	return true;
}

static bool add_live_blocks(struct sums *sums, const struct sp_recording *recording)
{
	uint64_t count = live_entries(recording);

	for (uint64_t i = 0; i < count; i++) {
		const struct sp_live_block *block = live_at(recording, i);
		double size_bytes = (double)(block->size_and_thread & SP_HEAP_SIZE_MASK);
		double weight;

		if (state_of(block) != SP_LIVE_LIVE)
			continue;
		weight = sp_poisson_weight(block->size_and_thread & SP_HEAP_SIZE_MASK,
					   recording->header->heap_rate_bytes);
		if (!add_value(&sums->objects, weight, SP_HEAP_SUM_MAX) ||
		    !add_value(&sums->bytes, weight * size_bytes, SP_HEAP_SUM_MAX))
			return false;
	}
	return true;
}

/* A slot, or what ended slots have left. A variance is a square. */
static bool add_counters(struct sums *sums, const _Atomic uint64_t *allocations,
			 const _Atomic uint64_t *frees, const _Atomic uint64_t *bytes,
			 const _Atomic uint64_t *variance,
			 const _Atomic uint64_t *cost_cycles)
{
	return add_word(&sums->allocations, allocations) &&
	       add_word(&sums->frees, frees) && add_word(&sums->exact_bytes, bytes) &&
	       add_word(&sums->cost_cycles, cost_cycles) &&
	       add_double(&sums->variance, variance, SP_HEAP_SUM_MAX * SP_HEAP_SUM_MAX);
}

static bool add_exact(struct sums *sums, const struct sp_recording *recording)
{
	const struct sp_recording_header *header = recording->header;
	uint64_t slots = sp_recording_used(recording, SP_SECTION_SLOTS);

	for (uint64_t i = 0; i < slots; i++) {
		const struct sp_slot *slot =
			sp_recording_item(recording, SP_SECTION_SLOTS, i);
		uint32_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);

		if ((state == SP_SLOT_LIVE || state == SP_SLOT_ENDED) &&
		    !add_counters(sums, &slot->heap_allocations, &slot->heap_frees,
				  &slot->heap_bytes, &slot->heap_variance,
				  &slot->heap_cost_cycles))
			return false;
	}
	return add_counters(sums, &header->ended_heap_allocations,
			    &header->ended_heap_frees, &header->ended_heap_bytes,
			    &header->ended_heap_variance,
			    &header->ended_heap_cost_cycles) &&
	       add_counters(sums, &header->orphan_heap_allocations,
			    &header->orphan_heap_frees, &header->orphan_heap_bytes,
			    &header->orphan_heap_variance,
			    &header->orphan_heap_cost_cycles);
}

/* May be a little below 0: threads tell what they add in steps. */
static bool is_sane_balance(const _Atomic int64_t *word)
{
	double bytes = (double)atomic_load_explicit(word, memory_order_relaxed);

	return bytes <= SP_HEAP_SUM_MAX && bytes >= -SP_HEAP_SUM_MAX;
}

bool sp_recording_has_sane_heap_sums(const struct sp_recording *recording)
{
	const struct sp_recording_header *header = recording->header;
	struct sums sums = {0};

	return !header->heap_rate_bytes ||
	       (add_cells(&sums, recording) && add_live_blocks(&sums, recording) &&
		add_exact(&sums, recording) && is_sane_balance(&header->heap_live_bytes));
}

/* --- all --- */

const char *sp_recording_check_heap(struct sp_recording *recording)
{
	uint64_t rate_bytes = recording->header->heap_rate_bytes;

	if (!rate_bytes)
		return NULL;
	if (rate_bytes > SP_HEAP_SIZE_MASK)
		return "damaged: its heap sampling rate makes no sense";
	if (!begins_right(recording))
		return "damaged: its heap tables begin wrong";
	mend_cells(recording);
	mend_blocks(recording);
	/* Here already: what is absorbed could carry a sum over the end of its word. */
	if (!sp_recording_has_sane_heap_sums(recording))
		return "damaged: its heap sums make no sense";
	return NULL;
}
