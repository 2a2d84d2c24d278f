/*
 * From the threads' batches to the cells. Context: signal, consumer lock held; the
 * batches' own threads go on meanwhile, so a line is read until nothing changed in
 * between, or left for the next time. A change that is under way has happened: its
 * thread may not run again for long.
 */
#include "heap_batches.h"

#include "journal.h"
#include "sp_double.h"
#include "sp_recording_writer.h"

#define READS_MAX 8U

static struct sp_heap_batch *batch_at(const struct sp_recording *recording,
				      uint64_t index)
{
	return sp_recording_item(recording, SP_SECTION_HEAP_BATCHES, index);
}

/* --- an unfinished change --- */

static void carry_out(struct sp_recording *recording, struct sp_heap_batch *batch)
{
	uint64_t blocks = sp_live_blocks(recording);
	struct sp_live_block *block;

	if (batch->line >= SP_HEAP_BATCH_LINES || batch->block >= blocks) {
		sp_recording_count(recording, SP_LOSS_DAMAGED, 1);
		return;
	}
	for (uint32_t i = 0; i < SP_HEAP_SUMS; i++)
		atomic_store_explicit(&batch->lines[batch->line].sums[i], batch->sums[i],
				      memory_order_relaxed);
	block = sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, batch->block);
	if (sp_atomic_value(&block->word) == batch->block_word)
		atomic_store_explicit(&block->word, SP_LIVE_FREE, memory_order_release);
}

void sp_heap_batch_carry_out(struct sp_recording *recording, uint64_t index)
{
	struct sp_heap_batch *batch = batch_at(recording, index);
	uint64_t sequence = sp_atomic_value(&batch->sequence);

	if (!(sequence & 1))
		return;
	carry_out(recording, batch);
	sp_absorber_step("batch: carried out");
	atomic_store_explicit(&batch->sequence, sequence + 1, memory_order_release);
}

void sp_heap_batches_replay(struct sp_recording *recording)
{
	uint64_t count = sp_recording_used(recording, SP_SECTION_HEAP_BATCHES);

	for (uint64_t i = 0; i < count; i++)
		sp_heap_batch_carry_out(recording, i);
}

/* --- lines --- */

static bool try_read(const struct sp_heap_batch *batch, uint32_t line,
		     struct sp_heap_batch_news *news)
{
	/* Acquire: what an odd number says is written down. */
	uint64_t before = atomic_load_explicit(&batch->sequence, memory_order_acquire);
	bool is_changing =
		before & 1 && __atomic_load_n(&batch->line, __ATOMIC_RELAXED) == line;

	news->cell = atomic_load_explicit(&batch->cells[line], memory_order_acquire);
	for (uint32_t i = 0; i < SP_HEAP_SUMS; i++)
		news->sums[i] =
			is_changing ? __atomic_load_n(&batch->sums[i], __ATOMIC_ACQUIRE)
				    : atomic_load_explicit(&batch->lines[line].sums[i],
							   memory_order_acquire);
	return atomic_load_explicit(&batch->sequence, memory_order_acquire) == before;
}

bool sp_heap_batch_read(const struct sp_heap_batch *batch, uint32_t line,
			struct sp_heap_batch_news *news)
{
	const _Atomic uint64_t *absorbed = batch->lines[line].absorbed;
	uint32_t reads = 0;
	bool is_same_peak;

	while (!try_read(batch, line, news))
		if (++reads == READS_MAX)
			return false;
	news->samples = news->sums[SP_HEAP_SUM_SAMPLES] -
			sp_atomic_value(&absorbed[SP_HEAP_SUM_SAMPLES]);
	if (!news->cell || !news->samples)
		return false;
	is_same_peak = news->sums[SP_HEAP_SUM_PEAK_EPOCH] ==
		       sp_atomic_value(&absorbed[SP_HEAP_SUM_PEAK_EPOCH]);
	for (uint32_t i = 0; i < SP_HEAP_SUMS; i++) {
		news->delta[i] = sp_double_from_bits(news->sums[i]);
		/* Of a newer peak nothing was taken over yet. */
		if (i < SP_HEAP_SUM_PEAK_EPOCH || is_same_peak)
			news->delta[i] -=
				sp_double_from_bits(sp_atomic_value(&absorbed[i]));
	}
	news->cell--;
	return true;
}

static void add(struct sp_change *change, const _Atomic uint64_t *word, double value)
{
	if (value > 0)
		sp_change_add_double(change, word, value);
}

static void put_peak(struct sp_change *change, const struct sp_heap_cell *cell,
		     const struct sp_heap_batch_news *news)
{
	uint64_t epoch = sp_atomic_value(&cell->peak_epoch);
	double objects = news->delta[SP_HEAP_SUM_PEAK_OBJECTS];
	double bytes = news->delta[SP_HEAP_SUM_PEAK_BYTES];

	if (objects <= 0 || epoch > news->sums[SP_HEAP_SUM_PEAK_EPOCH])
		return;
	if (epoch == news->sums[SP_HEAP_SUM_PEAK_EPOCH]) {
		sp_change_add_double(change, &cell->peak_objects, objects);
		sp_change_add_double(change, &cell->peak_bytes, bytes);
		return;
	}
	sp_change_put(change, &cell->peak_epoch, news->sums[SP_HEAP_SUM_PEAK_EPOCH]);
	sp_change_put(change, &cell->peak_objects, sp_double_to_bits(objects));
	sp_change_put(change, &cell->peak_bytes, sp_double_to_bits(bytes));
}

static void put_absorbed(struct sp_change *change, const struct sp_heap_batch_line *line,
			 const struct sp_heap_batch_news *news)
{
	for (uint32_t i = 0; i < SP_HEAP_SUMS; i++)
		if (news->sums[i] != sp_atomic_value(&line->absorbed[i]))
			sp_change_put(change, &line->absorbed[i], news->sums[i]);
}

static uint64_t absorb_line(struct sp_absorber *absorber,
			    const struct sp_heap_batch *batch, uint32_t line)
{
	struct sp_recording *recording = absorber->recording;
	struct sp_heap_batch_news news;
	const struct sp_heap_cell *cell;
	struct sp_change change;

	if (!sp_heap_batch_read(batch, line, &news))
		return 0;
	if (news.cell >= sp_recording_used(recording, SP_SECTION_HEAP_CELLS))
		news.cell = SP_HEAP_CELL_DROPPED;
	cell = sp_recording_item(recording, SP_SECTION_HEAP_CELLS, news.cell);
	sp_change_begin(&change, recording);
	sp_change_add(&change, &cell->freed_samples, news.samples);
	add(&change, &cell->freed_objects, news.delta[SP_HEAP_SUM_OBJECTS]);
	add(&change, &cell->freed_bytes, news.delta[SP_HEAP_SUM_BYTES]);
	add(&change, &cell->age_cycles,
	    news.delta[SP_HEAP_SUM_BIRTHS] * (1U << SP_HEAP_BIRTH_SHIFT));
	add(&change, &cell->short_objects, news.delta[SP_HEAP_SUM_SHORT_OBJECTS]);
	add(&change, &cell->short_bytes, news.delta[SP_HEAP_SUM_SHORT_BYTES]);
	add(&change, &cell->cross_objects, news.delta[SP_HEAP_SUM_CROSS_OBJECTS]);
	put_peak(&change, cell, &news);
	put_absorbed(&change, &batch->lines[line], &news);
	sp_change_commit(&change, NULL, NULL);
	sp_absorber_step("batch: line absorbed");
	return news.samples;
}

uint64_t sp_heap_batches_absorb(struct sp_absorber *absorber)
{
	uint64_t count = sp_recording_used(absorber->recording, SP_SECTION_HEAP_BATCHES);
	uint64_t absorbed = 0;

	for (uint64_t i = 0; i < count; i++) {
		const struct sp_heap_batch *batch = batch_at(absorber->recording, i);

		for (uint32_t line = 0; line < SP_HEAP_BATCH_LINES; line++)
			absorbed += absorb_line(absorber, batch, line);
	}
	return absorbed;
}
