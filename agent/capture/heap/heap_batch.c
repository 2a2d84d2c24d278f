/*
 * A thread's own sums of the blocks that it freed: see struct sp_heap_batch for how a
 * kill at any moment leaves them. Context: hook; our handler may interrupt it on the
 * same thread, and then leaves the batch alone.
 */
#include "heap_threads.h"

#include "heap_batches.h"
#include "sp_capture.h"
#include "sp_double.h"
#include "sp_intern.h"
#include "sp_recording_heap.h"

#define SETS (SP_HEAP_BATCH_LINES / SP_HEAP_BATCH_WAYS)
/* Where every block is sampled, more cells are met. */
#define BATCHES_FIRST_EXACT 4U
/* A thread that finds no line for this many blocks a batch gets more batches: so many
 * times those it has. Their number is a power of two. */
#define MISSES_A_BATCH 8U
#define GROWTH 8U
#define BATCHES_MAX 8U
#define BATCHES_MAX_EXACT 256U
/* Beyond that many of all threads, the consumer must do. */
#define ALL_BATCHES_MAX 16384U

/* number: from 1. */
static struct sp_heap_batch *batch_at(uint32_t number)
{
	return sp_recording_item(&sp_capture.recording, SP_SECTION_HEAP_BATCHES,
				 number - 1);
}

/* Each read once: a handler that forks may come between, and the child's are 0. */
static bool read_batches(const struct sp_heap_thread *self, uint32_t *number,
			 uint32_t *count)
{
	*number = __atomic_load_n(&self->batch, __ATOMIC_RELAXED);
	*count = __atomic_load_n(&self->batch_count, __ATOMIC_RELAXED);
	return sp_likely(*number) && sp_likely(*count);
}

/* The old ones are left to the consumer. */
static bool take_batches(struct sp_heap_thread *self, uint32_t count)
{
	uint32_t index;

	self->batch_misses = 0;
	if (!sp_intern_append(&sp_capture.recording, SP_SECTION_HEAP_BATCHES, count,
			      &index))
		return false;
	self->batch_count = (uint16_t)count;
	self->batch = index + 1;
	return true;
}

static SP_COLD void count_miss(struct sp_heap_thread *self)
{
	uint32_t count = self->batch_count * GROWTH;

	if (count > (sp_heap_global.is_exact ? BATCHES_MAX_EXACT : BATCHES_MAX) ||
	    ++self->batch_misses < self->batch_count * MISSES_A_BATCH)
		return;
	if (sp_recording_used(&sp_capture.recording, SP_SECTION_HEAP_BATCHES) + count <=
	    ALL_BATCHES_MAX)
		take_batches(self, count);
	self->batch_misses = 0;
}

static bool is_absorbed(const struct sp_heap_batch_line *line)
{
	/* Acquire: the consumer has finished with the line's old cell. */
	return atomic_load_explicit(&line->absorbed[SP_HEAP_SUM_SAMPLES],
				    memory_order_acquire) ==
	       sp_atomic_value(&line->sums[SP_HEAP_SUM_SAMPLES]);
}

/* A line that is another cell's, all of which the consumer has. */
static bool take_over(struct sp_heap_batch *batch, uint32_t first, uint32_t cell,
		      uint32_t *found)
{
	for (uint32_t line = first; line < first + SP_HEAP_BATCH_WAYS; line++)
		if (is_absorbed(&batch->lines[line])) {
			/* Release: before any sum of the new cell. */
			atomic_store_explicit(&batch->cells[line], cell + 1,
					      memory_order_release);
			*found = line;
			return true;
		}
	return false;
}

/* The batch with a line for the cell; NULL: all that may be its are others'. */
static struct sp_heap_batch *find_line(struct sp_heap_thread *self, uint32_t cell,
				       uint32_t *found)
{
	struct sp_heap_batch *batch;
	uint32_t number, count, set, first;

	if (sp_unlikely(!self->batch) &&
	    !take_batches(self, sp_heap_global.is_exact ? BATCHES_FIRST_EXACT : 1))
		return NULL;
	if (!read_batches(self, &number, &count))
		return NULL;
	set = cell * UINT32_C(0x9e3779b9) >> 16 & (count * SETS - 1);
	batch = batch_at(number) + set / SETS;
	first = set % SETS * SP_HEAP_BATCH_WAYS;
	for (uint32_t line = first; line < first + SP_HEAP_BATCH_WAYS; line++)
		if (atomic_load_explicit(&batch->cells[line], memory_order_relaxed) ==
		    cell + 1) {
			*found = line;
			return batch;
		}
	if (sp_likely(take_over(batch, first, cell, found)))
		return batch;
	count_miss(self);
	return NULL;
}

/* Objects and bytes, which lie side by side among the sums. */
typedef double sum_pair __attribute__((vector_size(16), aligned(8), may_alias));

_Static_assert(SP_HEAP_SUM_BYTES == SP_HEAP_SUM_OBJECTS + 1 &&
		       SP_HEAP_SUM_SHORT_BYTES == SP_HEAP_SUM_SHORT_OBJECTS + 1 &&
		       SP_HEAP_SUM_PEAK_BYTES == SP_HEAP_SUM_PEAK_OBJECTS + 1,
	       "bytes come right behind objects");

/* A line's sums, between reading and writing them. */
struct line_sums {
	uint64_t samples, peak_epoch;
	double births, cross_objects;
	sum_pair freed, short_lived, peak;
};

static inline sum_pair pair_at(const struct sp_heap_batch_line *line,
			       enum sp_heap_sum objects)
{
	return *(const sum_pair *)(const void *)&line->sums[objects];
}

static inline double sum_at(const struct sp_heap_batch_line *line, enum sp_heap_sum which)
{
	return sp_double_from_bits(sp_atomic_value(&line->sums[which]));
}

/* What the line's sums are with that block. */
static inline struct line_sums sums_with(const struct sp_heap_batch_line *line,
					 const struct sp_heap_freed *freed)
{
	const sum_pair none = {0, 0}, block = {freed->objects, freed->bytes};
	uint64_t epoch = sp_atomic_value(&line->sums[SP_HEAP_SUM_PEAK_EPOCH]);
	struct line_sums sums = {
		.samples = sp_atomic_value(&line->sums[SP_HEAP_SUM_SAMPLES]) + 1,
		.peak_epoch = epoch,
		.births = sum_at(line, SP_HEAP_SUM_BIRTHS) +
			  freed->objects * (double)(int64_t)freed->age_births,
		.cross_objects = sum_at(line, SP_HEAP_SUM_CROSS_OBJECTS) +
				 (freed->is_cross ? freed->objects : 0),
		.freed = pair_at(line, SP_HEAP_SUM_OBJECTS) + block,
		.short_lived = pair_at(line, SP_HEAP_SUM_SHORT_OBJECTS),
		.peak = pair_at(line, SP_HEAP_SUM_PEAK_OBJECTS),
	};

	if (freed->age_births < sp_heap_global.short_births)
		sums.short_lived += block;
	if (sp_unlikely(freed->is_at_peak)) {
		sums.peak_epoch = freed->epoch;
		sums.peak = (epoch == freed->epoch ? sums.peak : none) + block;
	}
	return sums;
}

/* Here and there from where they are, in processor registers: what was just written
 * would be waited for on its way through memory. Halves of a pair are whole words to
 * whoever reads them. */
static inline __attribute__((always_inline)) void write_sums(void *words,
							     const struct line_sums *sums)
{
	uint64_t *word = words;

	word[SP_HEAP_SUM_SAMPLES] = sums->samples;
	*(sum_pair *)(void *)&word[SP_HEAP_SUM_OBJECTS] = sums->freed;
	word[SP_HEAP_SUM_BIRTHS] = sp_double_to_bits(sums->births);
	*(sum_pair *)(void *)&word[SP_HEAP_SUM_SHORT_OBJECTS] = sums->short_lived;
	word[SP_HEAP_SUM_CROSS_OBJECTS] = sp_double_to_bits(sums->cross_objects);
	word[SP_HEAP_SUM_PEAK_EPOCH] = sums->peak_epoch;
	*(sum_pair *)(void *)&word[SP_HEAP_SUM_PEAK_OBJECTS] = sums->peak;
}

static bool add_free(struct sp_heap_thread *self, struct sp_live_block *block,
		     uint64_t word, const struct sp_heap_freed *freed)
{
	struct sp_heap_batch_line *line;
	struct sp_heap_batch *batch;
	struct line_sums sums;
	uint64_t sequence;
	uint32_t index;

	batch = find_line(self, block->cell, &index);
	if (sp_unlikely(!batch))
		return false;
	sequence = sp_atomic_value(&batch->sequence);
	line = &batch->lines[index];
	sums = sums_with(line, freed);
	write_sums(batch->sums, &sums);
	batch->line = index;
	batch->block = (uint64_t)(block - (struct sp_live_block *)sp_recording_item(
						  &sp_capture.recording,
						  SP_SECTION_LIVE_BLOCKS, 0));
	batch->block_word = word;
	/* From here on it has happened. */
	atomic_store_explicit(&batch->sequence, sequence + 1, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	write_sums(line->sums, &sums);
	/* Left for another coroutine meanwhile, it is finished already.
	 * Release: pairs with the hook that claims the entry. */
	if (sp_likely(sp_atomic_value(&batch->sequence) == sequence + 1))
		atomic_store_explicit(&block->word, SP_LIVE_FREE, memory_order_release);
	atomic_store_explicit(&batch->sequence, sequence + 2, memory_order_release);
	if (sp_heap_global.is_exact)
		sp_heap_entry_freed(self, batch->block);
	return true;
}

bool sp_heap_batch_free(struct sp_heap_thread *self, struct sp_live_block *block,
			uint64_t word, const struct sp_heap_freed *freed)
{
	uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);
	bool is_done;

	if (sp_unlikely(self->freeing_at)) {
		/* A handler of the program's, in the middle of the thread's own work. */
		if (!sp_heap_was_left(self, self->freeing_at, here))
			return false;
		sp_heap_batch_finish(self);
		/* It was this block's free that was left, and is done now. */
		if (sp_atomic_value(&block->word) != word)
			return true;
	}
	self->freeing_at = here;
	atomic_signal_fence(memory_order_seq_cst);
	is_done = add_free(self, block, word, freed);
	atomic_signal_fence(memory_order_seq_cst);
	self->freeing_at = 0;
	return is_done;
}

static void finish(uint32_t number)
{
	const struct sp_heap_batch *batch = batch_at(number);
	bool is_unfinished = sp_atomic_value(&batch->sequence) & 1;

	sp_heap_batch_carry_out(&sp_capture.recording, number - 1);
	if (is_unfinished && sp_heap_global.is_exact)
		sp_heap_entry_give_back(batch->block);
}

void sp_heap_batch_finish(struct sp_heap_thread *self)
{
	uint32_t number, count;

	if (read_batches(self, &number, &count))
		for (uint32_t i = 0; i < count; i++)
			finish(number + i);
	self->freeing_at = 0;
}
