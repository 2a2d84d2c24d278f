/*
 * Heap parts of recordings made by hand: cells that are told apart by a number, blocks
 * as hooks leave them, and what must be found of them afterwards. Asserts nothing
 * itself, so that the fuzzer and children of tests can use it.
 */
#ifndef TEST_HEAP_FIXTURE_H
#define TEST_HEAP_FIXTURE_H

#include "test_recording_fixture.h"

#include "profile_heap.h"
#include "sp_double.h"
#include "sp_poisson.h"
#include "sp_recording_heap.h"

#define TEST_HEAP_RATE_BYTES UINT64_C(4096)
#define TEST_CYCLES_PER_SECOND UINT64_C(2000000000)

/* To be called before the absorber is made, as the agent does. */
static inline void test_heap_begin(struct sp_recording *recording)
{
	recording->header->heap_rate_bytes = TEST_HEAP_RATE_BYTES;
	recording->header->start_cycles = 12345;
	atomic_store(&recording->header->cycles_per_second, TEST_CYCLES_PER_SECOND);
}

static inline struct sp_heap_cell *test_heap_cell(const struct sp_recording *recording,
						  uint64_t cell)
{
	return sp_recording_item(recording, SP_SECTION_HEAP_CELLS, cell);
}

static inline struct sp_live_block *test_heap_entry(const struct sp_recording *recording,
						    uint64_t entry)
{
	return sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, entry);
}

/* Entries that anybody looks at. */
static inline uint64_t test_heap_entries(const struct sp_recording *recording)
{
	return sp_live_blocks(recording);
}

/* A cell with a stack of its own; its index, or 0 without room. */
static inline uint32_t test_heap_add_cell(struct sp_recording *recording)
{
	struct sp_section *stacks = &recording->header->sections[SP_SECTION_HEAP_STACKS];
	struct sp_section *cells = &recording->header->sections[SP_SECTION_HEAP_CELLS];
	uint64_t word = atomic_load(&stacks->used_items);
	uint64_t index = atomic_load(&cells->used_items);
	struct sp_heap_stack *stack;
	struct sp_heap_cell *cell;

	if (sp_recording_reserve(recording, SP_SECTION_HEAP_STACKS,
				 word + SP_HEAP_STACK_WORDS + TEST_FRAMES_MAX) != 0 ||
	    sp_recording_reserve(recording, SP_SECTION_HEAP_CELLS, index + 1) != 0)
		return 0;
	stack = sp_recording_item(recording, SP_SECTION_HEAP_STACKS, word);
	stack->frame_count = test_stack((uint32_t)index, stack->frames);
	stack->hash = index + 1;
	atomic_store(&stacks->used_items,
		     word + SP_HEAP_STACK_WORDS + stack->frame_count);
	cell = test_heap_cell(recording, index);
	cell->stack = (uint32_t)word;
	cell->hash = index + 1;
	cell->size_class_bytes = 16 * index;
	atomic_store(&cell->is_filled, 1);
	atomic_store(&cells->used_items, index + 1);
	return (uint32_t)index;
}

/* What a test says of a block, and how it finds it again in the table. */
struct test_block {
	uint32_t cell;
	uint64_t size_bytes;
	uint64_t birth_epoch;
	/* Its end: */
	uint64_t death_epoch;
	uint64_t age_cycles; /* rounded down to 1 << SP_HEAP_BIRTH_SHIFT */
	bool is_cross;
};

/* In use, in an entry that was free. */
static inline void test_heap_live(struct sp_live_block *entry,
				  const struct test_block *block, uint64_t address)
{
	entry->size_and_thread = UINT64_C(7) << 48 | block->size_bytes;
	entry->cell = block->cell;
	entry->span = 0;
	entry->birth_and_epoch =
		UINT64_C(99) << 20 | (block->birth_epoch & SP_HEAP_EPOCH_MASK);
	atomic_store_explicit(&entry->word, address << 2 | SP_LIVE_LIVE,
			      memory_order_release);
}

static inline uint64_t test_heap_freed_word(const struct test_block *block)
{
	return (block->death_epoch & SP_HEAP_EPOCH_MASK) << SP_LIVE_EPOCH_SHIFT |
	       sp_heap_age_pack(block->age_cycles >> SP_HEAP_BIRTH_SHIFT)
		       << SP_LIVE_AGE_SHIFT |
	       (block->is_cross ? SP_LIVE_CROSS : 0) | SP_LIVE_FREED;
}

/* Born and freed, in an entry that was free. */
static inline void test_heap_freed(struct sp_live_block *entry,
				   const struct test_block *block)
{
	test_heap_live(entry, block, 0x7f0000001000);
	atomic_store_explicit(&entry->word, test_heap_freed_word(block),
			      memory_order_release);
}

/* Something in every table of the heap: cells with sums, blocks of every state. */
static inline int test_heap_fill(struct sp_recording *recording)
{
	int err;

	for (uint32_t i = 0; i < 40; i++) {
		struct test_block block = {
			.cell = i % 8 ? i / 2 : test_heap_add_cell(recording),
			.size_bytes = UINT64_C(8) << i % 16,
			.birth_epoch = i % 3,
			.death_epoch = i % 4,
			.age_cycles = UINT64_C(1) << i,
			.is_cross = i % 5 == 0,
		};

		block.cell %=
			(uint32_t)sp_recording_used(recording, SP_SECTION_HEAP_CELLS);
		if (i % 3)
			test_heap_freed(test_heap_entry(recording, i), &block);
		else
			test_heap_live(test_heap_entry(recording, i), &block,
				       0x7f0000000000 + i * 16);
		atomic_store(&recording->header->heap_mark, i % 4);
		if (i == 20) {
			err = test_drain(recording);
			if (err)
				return err;
		}
	}
	atomic_store(&test_heap_entry(recording, 100)->word, SP_LIVE_CLAIMED);
	return 0;
}

static inline double test_heap_objects(uint64_t size_bytes)
{
	return sp_poisson_weight(size_bytes, TEST_HEAP_RATE_BYTES);
}

static inline double test_double(const _Atomic uint64_t *word)
{
	return sp_double_from_bits(sp_atomic_value(word));
}

/* One pass over everything that a profile of the heap reads, as far as it relies on
 * what was checked when the recording was opened. */
static inline uint64_t test_heap_walk(const struct sp_recording *recording)
{
	uint64_t cells = sp_recording_used(recording, SP_SECTION_HEAP_CELLS);
	uint64_t entries = test_heap_entries(recording);
	uint64_t sum = 0;

	if (!recording->header->heap_rate_bytes)
		return 0;
	for (uint64_t i = 0; i < cells; i++) {
		const struct sp_heap_cell *cell = test_heap_cell(recording, i);
		const struct sp_heap_stack *stack;

		if (!atomic_load(&cell->is_filled))
			continue;
		stack = sp_recording_item(recording, SP_SECTION_HEAP_STACKS, cell->stack);
		for (uint32_t frame = 0; frame < stack->frame_count; frame++)
			sum = sum * 31 + stack->frames[frame];
		sum += (uint64_t)test_double(&cell->freed_bytes);
	}
	for (uint64_t i = 0; i < entries; i++) {
		const struct sp_live_block *entry = test_heap_entry(recording, i);

		if ((sp_atomic_value(&entry->word) & SP_LIVE_STATE_MASK) == SP_LIVE_LIVE)
			sum += atomic_load(
				&test_heap_cell(recording, entry->cell)->is_filled);
	}
	return sum;
}

/* All that the command does with the heap of a recording whose sums were checked: as
 * test_examine(). */
static inline int test_heap_examine(const struct sp_recording *recording)
{
	struct sp_heap_profile *profile;
	int err = 0;

	if (!recording->header->heap_rate_bytes)
		return 0;
	test_heap_walk(recording);
	profile = sp_heap_profile_create(recording);
	if (!profile)
		return -ENOMEM;
	for (unsigned int which = 0; which < SP_HEAP_VIEWS; which++) {
		const struct sp_profile_view *view =
			sp_heap_profile_view(profile, (enum sp_heap_view)which);
		uint64_t first = 0, second = 0;
		uint64_t samples = test_read_view(view, &first);

		view->rewind(view->cursor);
		if (test_read_view(view, &second) != samples || first != second)
			err = -1;
	}
	sp_heap_profile_destroy(profile);
	return err;
}

#endif
