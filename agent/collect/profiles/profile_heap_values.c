/*
 * One pass over the live table adds what lives, and what died and was not absorbed
 * yet, to what the cells say. Nothing of the recording changes the values after that,
 * so that all profiles tell of one moment and tell the same twice. A sampled block
 * stands for several (sp_poisson.h); one that was moved or resized is one that was
 * freed and another that was allocated.
 *
 * The peak: whenever a sampled block is about to be freed and the estimate of live
 * bytes is more than 1/1024 above the last high-water mark, that moment becomes the
 * mark and an epoch ends. At the mark lived the blocks of earlier epochs that still
 * live, or that died in a later one. If more lives now than at the mark, the peak is
 * now.
 *
 * Context: collector.
 */
#include "profile_heap_values.h"

#include "heap_batches.h"
#include "profile_common.h"
#include "sp_absorb.h"
#include "sp_clock.h"
#include "sp_double.h"
#include "sp_heap.h"
#include "sp_poisson.h"
#include "sp_recording_span.h"

#include <emmintrin.h>
#include <errno.h>
#include <string.h>

/* No sum that a program can reach; what is above is damage. */
#define SUM_MAX 1e30
/* A mark that moves while we look takes with it what died at the last one. */
#define PASSES_MAX 4U

static const struct sp_heap_cell *cell_at(const struct sp_heap_values *values,
					  uint64_t index)
{
	return sp_recording_item(values->recording, SP_SECTION_HEAP_CELLS, index);
}

/* What no sum can be counts for nothing. */
static double double_of(const _Atomic uint64_t *word)
{
	double value = sp_double_from_bits(sp_atomic_value(word));

	return value >= 0 && value < SUM_MAX ? value : 0;
}

/* --- cells --- */

static void take_cell(struct sp_heap_values *values, uint64_t index)
{
	const struct sp_heap_cell *cell = cell_at(values, index);
	double *value = values->cells[index].of;

	value[SP_HEAP_FREED_OBJECTS] = double_of(&cell->freed_objects);
	value[SP_HEAP_FREED_BYTES] = double_of(&cell->freed_bytes);
	value[SP_HEAP_SHORT_OBJECTS] = double_of(&cell->short_objects);
	value[SP_HEAP_SHORT_BYTES] = double_of(&cell->short_bytes);
	value[SP_HEAP_CROSS_OBJECTS] = double_of(&cell->cross_objects);
	value[SP_HEAP_AGE_CYCLES] = double_of(&cell->age_cycles);
	if (sp_atomic_value(&cell->peak_epoch) == values->totals.peak_epoch) {
		value[SP_HEAP_PEAK_OBJECTS] = double_of(&cell->peak_objects);
		value[SP_HEAP_PEAK_BYTES] = double_of(&cell->peak_bytes);
	}
	/* Blocks that could not be followed are neither in use nor freed. */
	value[SP_HEAP_ALLOC_OBJECTS] =
		value[SP_HEAP_FREED_OBJECTS] +
		(double)sp_atomic_value(&cell->untracked_objects_q8) / 256;
	value[SP_HEAP_ALLOC_BYTES] = value[SP_HEAP_FREED_BYTES] +
				     (double)sp_atomic_value(&cell->untracked_bytes);
}

/* --- blocks --- */

/* What one block stands for. */
struct sample {
	double objects, bytes;
	uint64_t birth, birth_epoch;
	double *value; /* of its cell */
};

/* Births of blocks between which the mark lies. */
struct peak_time {
	uint64_t after, before;
};

static bool take_sample(const struct sp_heap_values *values,
			const struct sp_live_block *block, struct sample *sample)
{
	uint64_t size_bytes = block->size_and_thread & SP_HEAP_SIZE_MASK;

	if (block->cell >= values->cell_count)
		return false;
	sample->objects = sp_poisson_weight(size_bytes, values->rate_bytes);
	sample->bytes = (double)size_bytes * sample->objects;
	sample->birth = block->birth_and_epoch >> 20;
	sample->birth_epoch = block->birth_and_epoch & SP_HEAP_EPOCH_MASK;
	sample->value = values->cells[block->cell].of;
	sample->value[SP_HEAP_ALLOC_OBJECTS] += sample->objects;
	sample->value[SP_HEAP_ALLOC_BYTES] += sample->bytes;
	return true;
}

static void add_at_peak(const struct sample *sample)
{
	sample->value[SP_HEAP_PEAK_OBJECTS] += sample->objects;
	sample->value[SP_HEAP_PEAK_BYTES] += sample->bytes;
}

static void add_live(const struct sample *sample, uint64_t mark, struct peak_time *time)
{
	sample->value[SP_HEAP_INUSE_OBJECTS] += sample->objects;
	sample->value[SP_HEAP_INUSE_BYTES] += sample->bytes;
	if (sample->birth_epoch < mark) {
		add_at_peak(sample);
		if (sample->birth > time->after)
			time->after = sample->birth;
	} else if (sample->birth < time->before) {
		time->before = sample->birth;
	}
}

/* As when it is absorbed. */
static void add_freed(const struct sp_heap_values *values, const struct sample *sample,
		      uint64_t word)
{
	uint64_t mark = values->totals.peak_epoch;
	uint64_t death_epoch = word >> SP_LIVE_EPOCH_SHIFT & SP_HEAP_EPOCH_MASK;
	uint64_t age = sp_heap_age_unpack(word >> SP_LIVE_AGE_SHIFT & SP_LIVE_AGE_MASK);
	double age_cycles = (double)age * (1U << SP_HEAP_BIRTH_SHIFT);

	sample->value[SP_HEAP_FREED_OBJECTS] += sample->objects;
	sample->value[SP_HEAP_FREED_BYTES] += sample->bytes;
	sample->value[SP_HEAP_AGE_CYCLES] += sample->objects * age_cycles;
	if (sp_heap_is_short_lived(values->recording->header, age_cycles)) {
		sample->value[SP_HEAP_SHORT_OBJECTS] += sample->objects;
		sample->value[SP_HEAP_SHORT_BYTES] += sample->bytes;
	}
	if (word & SP_LIVE_CROSS)
		sample->value[SP_HEAP_CROSS_OBJECTS] += sample->objects;
	/* It may have died after a mark that was set since we looked. */
	if (sample->birth_epoch < mark && death_epoch >= mark)
		add_at_peak(sample);
}

static void take_blocks(struct sp_heap_values *values, struct peak_time *time)
{
	const struct sp_live_block *table =
		sp_recording_item(values->recording, SP_SECTION_LIVE_BLOCKS, 0);
	uint64_t count = sp_live_blocks(values->recording);

	for (uint64_t i = 0; i < count; i++) {
		/* Once only: the word may change, the rest does not. Acquire: pairs with
		 * the store that published the block. */
		uint64_t word =
			atomic_load_explicit(&table[i].word, memory_order_acquire);
		uint64_t state = word & SP_LIVE_STATE_MASK;
		struct sample sample;

		if ((state != SP_LIVE_LIVE && state != SP_LIVE_FREED) ||
		    !take_sample(values, &table[i], &sample))
			continue;
		if (state == SP_LIVE_LIVE)
			add_live(&sample, values->totals.peak_epoch, time);
		else
			add_freed(values, &sample, word);
	}
}

/* --- batches --- */

static void take_line(struct sp_heap_values *values, const struct sp_heap_batch *batch,
		      uint32_t line)
{
	struct sp_heap_batch_news news;
	double *value;

	if (!sp_heap_batch_read(batch, line, &news) || news.cell >= values->cell_count)
		return;
	value = values->cells[news.cell].of;
	value[SP_HEAP_ALLOC_OBJECTS] += news.delta[SP_HEAP_SUM_OBJECTS];
	value[SP_HEAP_ALLOC_BYTES] += news.delta[SP_HEAP_SUM_BYTES];
	value[SP_HEAP_FREED_OBJECTS] += news.delta[SP_HEAP_SUM_OBJECTS];
	value[SP_HEAP_FREED_BYTES] += news.delta[SP_HEAP_SUM_BYTES];
	value[SP_HEAP_AGE_CYCLES] +=
		news.delta[SP_HEAP_SUM_BIRTHS] * (1U << SP_HEAP_BIRTH_SHIFT);
	value[SP_HEAP_SHORT_OBJECTS] += news.delta[SP_HEAP_SUM_SHORT_OBJECTS];
	value[SP_HEAP_SHORT_BYTES] += news.delta[SP_HEAP_SUM_SHORT_BYTES];
	value[SP_HEAP_CROSS_OBJECTS] += news.delta[SP_HEAP_SUM_CROSS_OBJECTS];
	if (news.sums[SP_HEAP_SUM_PEAK_EPOCH] == values->totals.peak_epoch) {
		value[SP_HEAP_PEAK_OBJECTS] += news.delta[SP_HEAP_SUM_PEAK_OBJECTS];
		value[SP_HEAP_PEAK_BYTES] += news.delta[SP_HEAP_SUM_PEAK_BYTES];
	}
}

/* What threads have added up themselves since the consumer last looked. */
static void take_batches(struct sp_heap_values *values)
{
	uint64_t count = sp_recording_used(values->recording, SP_SECTION_HEAP_BATCHES);

	for (uint64_t i = 0; i < count; i++)
		for (uint32_t line = 0; line < SP_HEAP_BATCH_LINES; line++)
			take_line(values,
				  sp_recording_item(values->recording,
						    SP_SECTION_HEAP_BATCHES, i),
				  line);
}

/* --- totals --- */

static uint64_t birth_ns(const struct sp_heap_values *values, uint64_t birth)
{
	return values->cycles_per_second
		       ? sp_profile_integer((double)birth * (1U << SP_HEAP_BIRTH_SHIFT) *
					    1e9 / (double)values->cycles_per_second)
		       : 0;
}

static double sum_of(const struct sp_heap_values *values, enum sp_heap_value which)
{
	double sum = 0;

	for (uint64_t i = 0; i < values->cell_count; i++)
		sum += values->cells[i].of[which];
	return sum;
}

/* mark_bytes: of the mark that the values were taken at. */
static void find_peak(struct sp_heap_values *values, const struct peak_time *time,
		      double mark_bytes)
{
	struct sp_heap_totals *totals = &values->totals;

	totals->peak_after_ns = birth_ns(values, time->after);
	totals->peak_before_ns = time->before != UINT64_MAX && values->cycles_per_second
					 ? birth_ns(values, time->before)
					 : UINT64_MAX;
	/* Also if it moves all the time. */
	totals->is_peak_now |= totals->peak_epoch == 0 ||
			       sum_of(values, SP_HEAP_INUSE_BYTES) >= mark_bytes;
	for (uint64_t i = 0; totals->is_peak_now && i < values->cell_count; i++) {
		double *value = values->cells[i].of;

		value[SP_HEAP_PEAK_OBJECTS] = value[SP_HEAP_INUSE_OBJECTS];
		value[SP_HEAP_PEAK_BYTES] = value[SP_HEAP_INUSE_BYTES];
	}
}

static double square_root(double value)
{
	/* The C library's is in another library, which the program may not have. */
	return _mm_cvtsd_f64(_mm_sqrt_pd(_mm_set1_pd(value)));
}

/* Blocks of one cell are of one size, or nearly so. */
static double peak_variance(const struct sp_heap_values *values)
{
	double variance = 0;

	for (uint64_t i = 0; i < values->cell_count; i++) {
		const double *value = values->cells[i].of;
		double size_bytes;

		if (value[SP_HEAP_PEAK_OBJECTS] <= 0)
			continue;
		size_bytes = value[SP_HEAP_PEAK_BYTES] / value[SP_HEAP_PEAK_OBJECTS];
		if (size_bytes >= SUM_MAX)
			continue;
		/* See struct sp_poisson_estimate; one sample stands for weight blocks. */
		variance += value[SP_HEAP_PEAK_BYTES] * size_bytes *
			    (sp_poisson_weight(sp_profile_integer(size_bytes + 0.5),
					       values->rate_bytes) -
			     1);
	}
	return variance;
}

/* One that found no room for its stack may have found none for its block either. */
static uint64_t lost_samples(const struct sp_heap_values *values)
{
	const _Atomic uint64_t *losses = values->recording->header->losses;
	uint64_t with_both =
		values->cell_count > SP_HEAP_CELL_DROPPED
			? atomic_load_explicit(&cell_at(values, SP_HEAP_CELL_DROPPED)
							->untracked_samples,
					       memory_order_relaxed)
			: 0;
	uint64_t lost = sp_atomic_value(&losses[SP_LOSS_HEAP_STACK]) +
			sp_atomic_value(&losses[SP_LOSS_HEAP_UNTRACKED]);

	return lost - (with_both < lost ? with_both : lost) +
	       sp_atomic_value(&losses[SP_LOSS_HEAP_REENTERED]) +
	       sp_atomic_value(&losses[SP_LOSS_HEAP_LEFT]);
}

static void raise_to(uint64_t *count, double recorded)
{
	uint64_t whole = sp_profile_integer(recorded + 0.5);

	if (*count < whole)
		*count = whole;
}

/* A thread tells what it counted once in so many blocks, and goes on, or was killed,
 * since: where every block is recorded, the records tell of more. */
static void catch_up(struct sp_heap_values *values)
{
	struct sp_heap_totals *totals = &values->totals;

	if (values->rate_bytes > 1 ||
	    sp_atomic_value(&values->recording->header->are_clocks_final))
		return;
	raise_to(&totals->exact_allocations, totals->of[SP_HEAP_ALLOC_OBJECTS]);
	raise_to(&totals->exact_frees, totals->of[SP_HEAP_FREED_OBJECTS]);
	raise_to(&totals->exact_bytes, totals->of[SP_HEAP_ALLOC_BYTES]);
}

static void sum_counters(struct sp_heap_values *values)
{
	const struct sp_recording *recording = values->recording;
	const struct sp_recording_header *header = recording->header;
	uint64_t slots = sp_recording_used(recording, SP_SECTION_SLOTS);
	struct sp_heap_totals *totals = &values->totals;
	double variance = double_of(&header->ended_heap_variance) +
			  double_of(&header->orphan_heap_variance);

	totals->exact_allocations = sp_atomic_value(&header->ended_heap_allocations) +
				    sp_atomic_value(&header->orphan_heap_allocations);
	totals->exact_frees = sp_atomic_value(&header->ended_heap_frees) +
			      sp_atomic_value(&header->orphan_heap_frees);
	totals->exact_bytes = sp_atomic_value(&header->ended_heap_bytes) +
			      sp_atomic_value(&header->orphan_heap_bytes);
	totals->cost_cycles = sp_atomic_value(&header->ended_heap_cost_cycles) +
			      sp_atomic_value(&header->orphan_heap_cost_cycles);
	for (uint64_t i = 0; i < slots; i++) {
		const struct sp_slot *slot =
			sp_recording_item(recording, SP_SECTION_SLOTS, i);
		uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);

		if (state != SP_SLOT_LIVE && state != SP_SLOT_ENDED)
			continue;
		totals->exact_allocations += sp_atomic_value(&slot->heap_allocations);
		totals->exact_frees += sp_atomic_value(&slot->heap_frees);
		totals->exact_bytes += sp_atomic_value(&slot->heap_bytes);
		totals->cost_cycles += sp_atomic_value(&slot->heap_cost_cycles);
		variance += double_of(&slot->heap_variance);
	}
	totals->standard_error_bytes = square_root(variance);
	totals->lost_samples = lost_samples(values);
}

/* --- life --- */

/* One pass over everything, the sums first: see sp_heap_is_held(). False: the mark has
 * moved meanwhile. */
static bool take_all(struct sp_heap_values *values, struct peak_time *time,
		     uint64_t *mark)
{
	const struct sp_recording_header *header = values->recording->header;

	*time = (struct peak_time){0, UINT64_MAX};
	*mark = sp_atomic_value(&header->heap_mark);
	values->totals.peak_epoch = sp_heap_mark_epoch(*mark);
	memset(values->cells, 0, values->cell_count * sizeof(*values->cells));
	for (uint64_t i = 0; i < values->cell_count; i++)
		take_cell(values, i);
	take_batches(values);
	/* What is freed from here on is met in the table. */
	atomic_thread_fence(memory_order_acquire);
	take_blocks(values, time);
	sp_absorber_step("heap values: blocks taken");
	/* What was read was read before. */
	atomic_thread_fence(memory_order_acquire);
	return sp_atomic_value(&header->heap_mark) == *mark;
}

int sp_heap_values_init(struct sp_heap_values *values,
			const struct sp_recording *recording)
{
	bool is_settled = false;
	struct peak_time time;
	uint64_t mark;

	memset(values, 0, sizeof(*values));
	values->recording = recording;
	values->rate_bytes = recording->header->heap_rate_bytes;
	values->cycles_per_second =
		sp_atomic_value(&recording->header->cycles_per_second);
	values->cell_count = sp_recording_used(recording, SP_SECTION_HEAP_CELLS);
	values->cells = sp_heap_zalloc((values->cell_count + 1) * sizeof(*values->cells));
	if (!values->cells)
		return -ENOMEM;
	/* Who is about to free a block has not seen it, and one that is met neither in
	 * its batch nor in the table is missed. To wait for that, as from outside, would
	 * be at the cost of a program that ends. */
	sp_heap_hold_at(recording->header, sp_clock_cycles());
	for (uint32_t pass = 0; pass < PASSES_MAX && !is_settled; pass++)
		is_settled = take_all(values, &time, &mark);
	sp_heap_hold_at(recording->header, 0);
	values->totals.is_peak_now = !is_settled;
	find_peak(values, &time, (double)sp_heap_mark_bytes(mark));
	for (unsigned int which = 0; which < SP_HEAP_VALUES; which++)
		values->totals.of[which] = sum_of(values, which);
	values->totals.peak_error_bytes = square_root(peak_variance(values));
	sum_counters(values);
	catch_up(values);
	return 0;
}

void sp_heap_values_fini(struct sp_heap_values *values)
{
	sp_heap_free(values->cells);
	values->cells = NULL;
}

bool sp_heap_values_stack(const struct sp_heap_values *values, uint64_t cell_index,
			  const uint64_t **frames, uint32_t *frame_count)
{
	static const uint64_t dropped =
		(uint64_t)SP_MODULE_PSEUDO << SP_FRAME_MODULE_SHIFT | SP_PSEUDO_DROPPED;
	const struct sp_heap_cell *cell = cell_at(values, cell_index);
	uint64_t words = sp_recording_used(values->recording, SP_SECTION_HEAP_STACKS);
	const struct sp_heap_stack *stack;

	if (cell_index == SP_HEAP_CELL_DROPPED) {
		*frames = &dropped;
		*frame_count = 1;
		return true;
	}
	/* Acquire: pairs with the hook that filled the cell. */
	if (!atomic_load_explicit(&cell->is_filled, memory_order_acquire) ||
	    cell->stack >= words || words - cell->stack < SP_HEAP_STACK_WORDS)
		return false;
	stack = sp_recording_item(values->recording, SP_SECTION_HEAP_STACKS, cell->stack);
	if (stack->frame_count > words - cell->stack - SP_HEAP_STACK_WORDS)
		return false;
	*frames = stack->frames;
	*frame_count = stack->frame_count;
	return true;
}

uint64_t sp_heap_values_size_class(const struct sp_heap_values *values,
				   uint64_t cell_index)
{
	return cell_index == SP_HEAP_CELL_DROPPED
		       ? 0
		       : cell_at(values, cell_index)->size_class_bytes;
}

uint32_t sp_heap_values_label_set(const struct sp_heap_values *values,
				  uint64_t cell_index)
{
	return cell_index == SP_HEAP_CELL_DROPPED ? SP_LABEL_SET_NONE
						  : cell_at(values, cell_index)->labels;
}
