/*
 * From freed blocks to the sums of their cells. Each is one journal change, which also
 * takes the entry out of everybody's sight (CLAIMED); only when the change is over is
 * the entry given back, as a journal that is carried out once more must never meet
 * the entry's next block. Context: signal, consumer lock held.
 */
#include "heap_absorb.h"

#include "journal.h"
#include "sp_double.h"
#include "sp_frame.h"
#include "sp_poisson.h"
#include "sp_recording_heap.h"
#include "sp_recording_writer.h"

#include <errno.h>

/* Kept beyond what is used, or this part of it if that is more. */
#define STACK_WORDS_AHEAD 8192U
#define CELLS_AHEAD 128U
#define BATCHES_AHEAD 4U
#define BATCHES_AHEAD_MAX 64U
#define BATCHES_AHEAD_EXACT 64U
#define BATCHES_AHEAD_EXACT_MAX 1024U
#define AHEAD_PART 8U
/* The live table grows when more than this part of it is in use. */
#define CROWDED_PART 4U
/* Where every block is sampled, the first thousands come before anybody can take more
 * storage: whoever would may not be running. */
#define BLOCKS_AHEAD_EXACT 16384U

#define DROPPED_STACK_WORDS (SP_HEAP_STACK_WORDS + 1U)

/* --- heap cell 0 --- */

static bool is_dropped_stack(const struct sp_recording *recording)
{
	const struct sp_heap_stack *stack =
		sp_recording_item(recording, SP_SECTION_HEAP_STACKS, 0);

	return sp_recording_used(recording, SP_SECTION_HEAP_STACKS) >=
		       DROPPED_STACK_WORDS &&
	       stack->frame_count == 1 &&
	       stack->frames[0] == sp_frame_pseudo(SP_PSEUDO_DROPPED);
}

static bool is_dropped_cell(const struct sp_recording *recording)
{
	const struct sp_heap_cell *cell =
		sp_recording_item(recording, SP_SECTION_HEAP_CELLS, SP_HEAP_CELL_DROPPED);

	return sp_recording_used(recording, SP_SECTION_HEAP_CELLS) >
		       SP_HEAP_CELL_DROPPED &&
	       atomic_load_explicit(&cell->is_filled, memory_order_acquire) &&
	       cell->stack == 0 && is_dropped_stack(recording);
}

/* Contents, then the count that publishes them. */
static void make_dropped_stack(struct sp_recording *recording)
{
	struct sp_section *section = &recording->header->sections[SP_SECTION_HEAP_STACKS];
	struct sp_heap_stack *stack =
		sp_recording_item(recording, SP_SECTION_HEAP_STACKS, 0);

	stack->hash = 0;
	stack->frame_count = 1;
	stack->frames[0] = sp_frame_pseudo(SP_PSEUDO_DROPPED);
	sp_absorber_step("heap: stack made");
	atomic_store_explicit(&section->used_items, DROPPED_STACK_WORDS,
			      memory_order_release);
	sp_absorber_step("heap: stack published");
}

static void make_dropped_cell(struct sp_recording *recording)
{
	struct sp_section *section = &recording->header->sections[SP_SECTION_HEAP_CELLS];
	struct sp_heap_cell *cell =
		sp_recording_item(recording, SP_SECTION_HEAP_CELLS, SP_HEAP_CELL_DROPPED);

	cell->stack = 0;
	atomic_store_explicit(&cell->is_filled, 1, memory_order_release);
	sp_absorber_step("heap: cell made");
	atomic_store_explicit(&section->used_items, SP_HEAP_CELL_DROPPED + 1,
			      memory_order_release);
	sp_absorber_step("heap: cell published");
}

static void keep_ahead(struct sp_recording *recording, enum sp_section_kind kind,
		       uint64_t ahead_items)
{
	uint64_t used = sp_recording_used(recording, kind);
	uint64_t wanted;

	if (used / AHEAD_PART > ahead_items)
		ahead_items = used / AHEAD_PART;
	wanted = used + ahead_items;
	if (wanted > recording->header->sections[kind].capacity_items)
		wanted = recording->header->sections[kind].capacity_items;
	sp_recording_reserve(recording, kind, wanted);
}

int sp_heap_absorb_init(struct sp_absorber *absorber)
{
	struct sp_recording *recording = absorber->recording;

	if (!recording->header->heap_rate_bytes)
		return 0;
	if (sp_recording_reserve(recording, SP_SECTION_HEAP_STACKS,
				 DROPPED_STACK_WORDS) != 0 ||
	    sp_recording_reserve(recording, SP_SECTION_HEAP_CELLS,
				 SP_HEAP_CELL_DROPPED + 1) != 0)
		return -ENOSPC;
	/* What is refused is asked for again later. */
	if (recording->header->heap_rate_bytes == 1)
		keep_ahead(recording, SP_SECTION_LIVE_BLOCKS, BLOCKS_AHEAD_EXACT);
	if (!sp_recording_used(recording, SP_SECTION_HEAP_STACKS))
		make_dropped_stack(recording);
	if (!is_dropped_stack(recording))
		return -EINVAL;
	if (!sp_recording_used(recording, SP_SECTION_HEAP_CELLS))
		make_dropped_cell(recording);
	return is_dropped_cell(recording) ? 0 : -EINVAL;
}

/* --- one block --- */

/* What a freed entry says, unbiased. */
struct freed_block {
	double objects, bytes;
	double age_cycles;
	uint64_t birth_epoch, death_epoch;
	bool is_cross;
};

/*
 * The mark is read after the entry, so that it is no older than what the entry says. In
 * a file that was copied while it was written it may be: what happened since then is
 * after its last peak.
 */
static uint64_t death_epoch(const struct sp_recording_header *header, uint64_t word)
{
	uint64_t epoch = word >> SP_LIVE_EPOCH_SHIFT & SP_HEAP_EPOCH_MASK;
	uint64_t last = sp_heap_mark_epoch(sp_atomic_value(&header->heap_mark));

	return epoch < last ? epoch : last;
}

static struct freed_block read_block(const struct sp_recording_header *header,
				     const struct sp_live_block *block, uint64_t word)
{
	uint64_t size_bytes = block->size_and_thread & SP_HEAP_SIZE_MASK;
	uint64_t age = sp_heap_age_unpack(word >> SP_LIVE_AGE_SHIFT & SP_LIVE_AGE_MASK);
	double weight = sp_poisson_weight(size_bytes, header->heap_rate_bytes);

	return (struct freed_block){
		.objects = weight,
		.bytes = weight * (double)size_bytes,
		.age_cycles = (double)age * (1U << SP_HEAP_BIRTH_SHIFT),
		.birth_epoch = block->birth_and_epoch & SP_HEAP_EPOCH_MASK,
		.death_epoch = death_epoch(header, word),
		.is_cross = word & SP_LIVE_CROSS,
	};
}

/*
 * A block belongs to the last peak of its life if it was born before that peak and
 * died after it. Sums of an older peak are of no use any more.
 */
static void put_peak(struct sp_change *change, const struct sp_heap_cell *cell,
		     const struct freed_block *freed)
{
	uint64_t epoch = sp_atomic_value(&cell->peak_epoch);

	if (freed->birth_epoch >= freed->death_epoch || epoch > freed->death_epoch)
		return;
	if (epoch == freed->death_epoch) {
		sp_change_add_double(change, &cell->peak_objects, freed->objects);
		sp_change_add_double(change, &cell->peak_bytes, freed->bytes);
		return;
	}
	sp_change_put(change, &cell->peak_epoch, freed->death_epoch);
	sp_change_put(change, &cell->peak_objects, sp_double_to_bits(freed->objects));
	sp_change_put(change, &cell->peak_bytes, sp_double_to_bits(freed->bytes));
}

static void put_block(struct sp_change *change, const struct sp_recording_header *header,
		      const struct sp_heap_cell *cell, const struct freed_block *freed)
{
	sp_change_add(change, &cell->freed_samples, 1);
	sp_change_add_double(change, &cell->freed_objects, freed->objects);
	sp_change_add_double(change, &cell->freed_bytes, freed->bytes);
	sp_change_add_double(change, &cell->age_cycles,
			     freed->objects * freed->age_cycles);
	if (sp_heap_is_short_lived(header, freed->age_cycles)) {
		sp_change_add_double(change, &cell->short_objects, freed->objects);
		sp_change_add_double(change, &cell->short_bytes, freed->bytes);
	}
	if (freed->is_cross)
		sp_change_add_double(change, &cell->cross_objects, freed->objects);
	put_peak(change, cell, freed);
}

static const struct sp_heap_cell *filled_cell(const struct sp_recording *recording,
					      uint32_t index)
{
	const struct sp_heap_cell *cell;

	if (index >= sp_recording_used(recording, SP_SECTION_HEAP_CELLS))
		return NULL;
	cell = sp_recording_item(recording, SP_SECTION_HEAP_CELLS, index);
	/* Acquire: pairs with the hook that filled it. */
	return atomic_load_explicit(&cell->is_filled, memory_order_acquire) ? cell : NULL;
}

static void absorb_block(struct sp_absorber *absorber, struct sp_live_block *block,
			 uint64_t word)
{
	struct sp_recording *recording = absorber->recording;
	struct sp_recording_header *header = recording->header;
	const struct sp_heap_cell *cell = filled_cell(recording, block->cell);
	struct freed_block freed = read_block(header, block, word);
	struct sp_change change;

	sp_change_begin(&change, recording);
	if (!cell) {
		cell = sp_recording_item(recording, SP_SECTION_HEAP_CELLS,
					 SP_HEAP_CELL_DROPPED);
		sp_change_add(&change, &header->losses[SP_LOSS_DAMAGED], 1);
	}
	put_block(&change, header, cell, &freed);
	sp_change_put(&change, &block->word, SP_LIVE_CLAIMED);
	sp_change_commit(&change, NULL, NULL);
	sp_absorber_step("heap: block absorbed");
	/* Release: pairs with the hook that claims the entry. */
	atomic_store_explicit(&block->word, SP_LIVE_FREE, memory_order_release);
	sp_absorber_step("heap: entry free");
}

/* --- all of them --- */

uint64_t sp_heap_absorb(struct sp_absorber *absorber)
{
	struct sp_recording *recording = absorber->recording;
	uint64_t blocks = sp_live_blocks(recording);
	struct sp_live_block *table =
		sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	uint64_t absorbed = 0, in_use = 0;

	if (!recording->header->heap_rate_bytes)
		return 0;
	for (uint64_t i = 0; i < blocks; i++) {
		/* Acquire: pairs with the hook that freed the block. */
		uint64_t word =
			atomic_load_explicit(&table[i].word, memory_order_acquire);

		if (sp_likely(word == SP_LIVE_FREE))
			continue;
		if ((word & SP_LIVE_STATE_MASK) == SP_LIVE_FREED) {
			absorb_block(absorber, &table[i], word);
			if (absorber->give_block_back)
				absorber->give_block_back(i);
			absorbed++;
		} else {
			in_use++;
		}
	}
	absorber->heap_entries_in_use = in_use;
	return absorbed;
}

static uint64_t bound(uint64_t value, uint64_t least, uint64_t most)
{
	if (value < least)
		return least;
	return value < most ? value : most;
}

/* Then what there is from the beginning does, for a program that soon ends. */
static bool is_half_free(const struct sp_recording *recording, enum sp_section_kind kind)
{
	return sp_recording_used(recording, kind) * 2 <=
	       sp_recording_reserved(recording, kind);
}

/* Threads that come together want theirs together; idle ones never want one. */
static uint64_t batches_ahead(const struct sp_recording_header *header)
{
	uint64_t threads = sp_atomic_value(&header->live_slots);

	if (header->heap_rate_bytes == 1)
		return bound(threads, BATCHES_AHEAD_EXACT, BATCHES_AHEAD_EXACT_MAX);
	return bound(threads / 4, BATCHES_AHEAD, BATCHES_AHEAD_MAX);
}

void sp_heap_keep_ahead(struct sp_absorber *absorber)
{
	struct sp_recording *recording = absorber->recording;
	uint32_t levels = sp_live_levels_in(
		sp_recording_reserved(recording, SP_SECTION_LIVE_BLOCKS));
	bool is_exact = recording->header->heap_rate_bytes == 1;

	if (!recording->header->heap_rate_bytes)
		return;
	if (is_exact || !is_half_free(recording, SP_SECTION_HEAP_STACKS))
		keep_ahead(recording, SP_SECTION_HEAP_STACKS, STACK_WORDS_AHEAD);
	if (is_exact || !is_half_free(recording, SP_SECTION_HEAP_CELLS))
		keep_ahead(recording, SP_SECTION_HEAP_CELLS, CELLS_AHEAD);
	keep_ahead(recording, SP_SECTION_HEAP_BATCHES, batches_ahead(recording->header));
	if (is_exact)
		keep_ahead(recording, SP_SECTION_LIVE_BLOCKS, BLOCKS_AHEAD_EXACT);
	else if (levels < SP_LIVE_LEVELS_MAX &&
		 absorber->heap_entries_in_use >
			 sp_live_blocks_of_levels(levels) / CROWDED_PART)
		sp_recording_reserve(recording, SP_SECTION_LIVE_BLOCKS,
				     sp_live_blocks_of_levels(levels + 1));
}
