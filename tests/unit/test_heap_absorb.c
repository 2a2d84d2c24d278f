/*
 * Freed blocks on their way from the live table to the sums of their cells: what is
 * added, what is left behind, what happens to those that make no sense.
 */
#include "heap_absorb.h"
#include "test_heap_fixture.h"

#include <check.h>

#define BYTES_MAX (UINT64_C(16) << 20)
#define SHORT_CYCLES (TEST_CYCLES_PER_SECOND / 1000) /* SP_HEAP_SHORT_NS */

static struct sp_recording recording;
static struct sp_absorber *absorber;
static uint32_t first, second; /* cells */

static void setup_two_cells(void)
{
	/* Anonymous: no place is that folder. */
	ck_assert_int_eq(test_recording_make(&recording, "/proc/nonexistent", BYTES_MAX),
			 0);
	test_heap_begin(&recording);
	absorber = calloc(1, sizeof(*absorber));
	ck_assert_ptr_nonnull(absorber);
	ck_assert_int_eq(sp_absorber_init(absorber, &recording), 0);
	first = test_heap_add_cell(&recording);
	second = test_heap_add_cell(&recording);
	ck_assert_uint_eq(first, 1);
	ck_assert_uint_eq(second, 2);
}

static void teardown(void)
{
	sp_absorber_fini(absorber);
	free(absorber);
	sp_recording_detach(&recording);
}

static uint64_t word_of(uint64_t entry)
{
	return sp_atomic_value(&test_heap_entry(&recording, entry)->word);
}

static void free_in(uint64_t entry, struct test_block block)
{
	test_heap_freed(test_heap_entry(&recording, entry), &block);
}

static void live_in(uint64_t entry, struct test_block block)
{
	test_heap_live(test_heap_entry(&recording, entry), &block, 0x1000 * (entry + 1));
}

static void set_epoch(uint64_t epoch)
{
	atomic_store(&recording.header->heap_mark, epoch);
}

static void check_near(double is, double should)
{
	ck_assert_msg(is >= should * (1 - 1e-12) && is <= should * (1 + 1e-12),
		      "%.17g, not %.17g", is, should);
}

static void check_freed(uint32_t index, uint64_t samples, double objects, double bytes)
{
	const struct sp_heap_cell *cell = test_heap_cell(&recording, index);

	ck_assert_uint_eq(sp_atomic_value(&cell->freed_samples), samples);
	check_near(test_double(&cell->freed_objects), objects);
	check_near(test_double(&cell->freed_bytes), bytes);
}

static void check_peak(uint32_t index, uint64_t epoch, double objects, double bytes)
{
	const struct sp_heap_cell *cell = test_heap_cell(&recording, index);

	ck_assert_uint_eq(sp_atomic_value(&cell->peak_epoch), epoch);
	check_near(test_double(&cell->peak_objects), objects);
	check_near(test_double(&cell->peak_bytes), bytes);
}

static uint64_t damaged(void)
{
	return sp_atomic_value(&recording.header->losses[SP_LOSS_DAMAGED]);
}

/* --- sums --- */

START_TEST(freed_blocks_are_unbiased_each_and_summed_by_cell)
{
	free_in(3, (struct test_block){.cell = first, .size_bytes = 100});
	free_in(4, (struct test_block){.cell = first, .size_bytes = 5000});
	free_in(1023, (struct test_block){.cell = second, .size_bytes = 1});
	ck_assert_uint_eq(sp_heap_absorb(absorber), 3);
	check_freed(first, 2, test_heap_objects(100) + test_heap_objects(5000),
		    100 * test_heap_objects(100) + 5000 * test_heap_objects(5000));
	check_freed(second, 1, test_heap_objects(1), test_heap_objects(1));
	check_freed(SP_HEAP_CELL_DROPPED, 0, 0, 0);
	/* A byte of 4096 is one of 4096 and a half. */
	check_near(test_double(&test_heap_cell(&recording, second)->freed_bytes),
		   4096.5 + 1.0 / 12 / 4096);
	ck_assert_uint_eq(damaged(), 0);
}
END_TEST

START_TEST(absorbed_entries_are_free_and_absorbed_once)
{
	free_in(3, (struct test_block){.cell = first, .size_bytes = 100});
	ck_assert_uint_eq(sp_heap_absorb(absorber), 1);
	ck_assert_uint_eq(word_of(3), 0);
	ck_assert_uint_eq(sp_heap_absorb(absorber), 0);
	check_freed(first, 1, test_heap_objects(100), 100 * test_heap_objects(100));
	/* The next block of that entry. */
	free_in(3, (struct test_block){.cell = first, .size_bytes = 100});
	ck_assert_uint_eq(sp_heap_absorb(absorber), 1);
	check_freed(first, 2, 2 * test_heap_objects(100), 200 * test_heap_objects(100));
}
END_TEST

START_TEST(blocks_in_use_or_being_written_stay_and_are_counted)
{
	const struct test_block block = {.cell = first, .size_bytes = 100};
	uint64_t live, held = SP_LIVE_LIVE; /* inside realloc */

	live_in(0, block);
	live = word_of(0);
	live_in(1, block);
	atomic_store(&test_heap_entry(&recording, 1)->word, held);
	atomic_store(&test_heap_entry(&recording, 2)->word, SP_LIVE_CLAIMED);
	free_in(3, block);
	ck_assert_uint_eq(sp_heap_absorb(absorber), 1);
	ck_assert_uint_eq(absorber->heap_entries_in_use, 3);
	ck_assert_uint_eq(word_of(0), live);
	ck_assert_uint_eq(word_of(1), held);
	ck_assert_uint_eq(word_of(2), SP_LIVE_CLAIMED);
	check_freed(first, 1, test_heap_objects(100), 100 * test_heap_objects(100));
}
END_TEST

START_TEST(every_block_counts_once_at_a_rate_of_1)
{
	recording.header->heap_rate_bytes = 1;
	free_in(0, (struct test_block){.cell = first, .size_bytes = 0});
	free_in(1, (struct test_block){.cell = first, .size_bytes = 24});
	ck_assert_uint_eq(sp_heap_absorb(absorber), 2);
	check_freed(first, 2, 2, 24);
}
END_TEST

START_TEST(all_levels_of_the_table_are_gone_over)
{
	uint64_t last = sp_live_blocks_of_levels(2) - 1;

	ck_assert_int_eq(
		sp_recording_reserve(&recording, SP_SECTION_LIVE_BLOCKS, last + 1), 0);
	/* What is reserved beyond the last whole level is nobody's. */
	ck_assert_uint_gt(sp_recording_reserved(&recording, SP_SECTION_LIVE_BLOCKS),
			  last + 1);
	free_in(1024, (struct test_block){.cell = first, .size_bytes = 100});
	free_in(last, (struct test_block){.cell = first, .size_bytes = 100});
	free_in(last + 1, (struct test_block){.cell = first, .size_bytes = 100});
	ck_assert_uint_eq(sp_heap_absorb(absorber), 2);
	ck_assert_uint_eq(absorber->heap_entries_in_use, 0);
}
END_TEST

/* --- ages --- */

START_TEST(ages_are_summed_in_cycles_times_objects)
{
	const struct sp_heap_cell *cell = test_heap_cell(&recording, first);
	uint64_t old_cycles = UINT64_C(1) << 50; /* six days */

	free_in(0, (struct test_block){
			   .cell = first, .size_bytes = 100, .age_cycles = 1024 * 77});
	ck_assert_uint_eq(sp_heap_absorb(absorber), 1);
	check_near(test_double(&cell->age_cycles), test_heap_objects(100) * 1024 * 77);
	free_in(0, (struct test_block){
			   .cell = first, .size_bytes = 9000, .age_cycles = old_cycles});
	ck_assert_uint_eq(sp_heap_absorb(absorber), 1);
	check_near(test_double(&cell->age_cycles),
		   test_heap_objects(100) * 1024 * 77 +
			   test_heap_objects(9000) * (double)old_cycles);
}
END_TEST

START_TEST(ages_keep_five_digits)
{
	for (uint64_t age = 1; age < UINT64_C(1) << 44; age += age / 3 + 1) {
		double unpacked = (double)sp_heap_age_unpack(sp_heap_age_pack(age));

		ck_assert_uint_le(sp_heap_age_pack(age), SP_LIVE_AGE_MASK);
		ck_assert(unpacked <= (double)age &&
			  unpacked >= (double)age * (1 - 1.0 / (1 << 17)));
	}
}
END_TEST

START_TEST(blocks_that_die_young_are_told_from_others)
{
	const struct sp_heap_cell *cell = test_heap_cell(&recording, first);

	/* Around a millisecond of 2,000,000 cycles, in steps of 1024. */
	free_in(0, (struct test_block){.cell = first,
				       .size_bytes = 100,
				       .age_cycles = SHORT_CYCLES - 1024});
	free_in(1, (struct test_block){.cell = first,
				       .size_bytes = 200,
				       .age_cycles = SHORT_CYCLES + 1024});
	free_in(2, (struct test_block){.cell = first, .size_bytes = 400});
	ck_assert_uint_eq(sp_heap_absorb(absorber), 3);
	check_near(test_double(&cell->short_objects),
		   test_heap_objects(100) + test_heap_objects(400));
	check_near(test_double(&cell->short_bytes),
		   100 * test_heap_objects(100) + 400 * test_heap_objects(400));
}
END_TEST

START_TEST(without_a_measured_clock_2_5_gigahertz_are_assumed)
{
	const struct sp_heap_cell *cell = test_heap_cell(&recording, first);

	atomic_store(&recording.header->cycles_per_second, 0);
	free_in(0, (struct test_block){
			   .cell = first, .size_bytes = 100, .age_cycles = 2499000});
	free_in(1, (struct test_block){
			   .cell = first, .size_bytes = 200, .age_cycles = 2502000});
	ck_assert_uint_eq(sp_heap_absorb(absorber), 2);
	check_near(test_double(&cell->short_objects), test_heap_objects(100));
}
END_TEST

START_TEST(blocks_that_another_thread_freed_are_told_from_others)
{
	const struct sp_heap_cell *cell = test_heap_cell(&recording, first);

	free_in(0, (struct test_block){.cell = first, .size_bytes = 100});
	free_in(1,
		(struct test_block){.cell = first, .size_bytes = 200, .is_cross = true});
	ck_assert_uint_eq(sp_heap_absorb(absorber), 2);
	check_near(test_double(&cell->cross_objects), test_heap_objects(200));
	check_freed(first, 2, test_heap_objects(100) + test_heap_objects(200),
		    100 * test_heap_objects(100) + 200 * test_heap_objects(200));
}
END_TEST

/* --- the peak --- */

static struct test_block of_epochs(uint64_t birth, uint64_t death)
{
	return (struct test_block){.cell = first,
				   .size_bytes = 100,
				   .birth_epoch = birth,
				   .death_epoch = death};
}

START_TEST(block_belongs_to_a_peak_between_birth_and_death)
{
	set_epoch(3);
	free_in(0, of_epochs(2, 3));
	free_in(1, of_epochs(0, 3));
	free_in(2, of_epochs(3, 3)); /* born after it */
	ck_assert_uint_eq(sp_heap_absorb(absorber), 3);
	check_peak(first, 3, 2 * test_heap_objects(100), 200 * test_heap_objects(100));
	check_peak(second, 0, 0, 0);
}
END_TEST

START_TEST(higher_peak_starts_anew)
{
	set_epoch(3);
	free_in(0, of_epochs(2, 3));
	ck_assert_uint_eq(sp_heap_absorb(absorber), 1);
	set_epoch(4);
	free_in(0, of_epochs(4, 4));
	ck_assert_uint_eq(sp_heap_absorb(absorber), 1);
	/* Of epoch 4 nothing has died yet; the cell is as it was, and out of date. */
	check_peak(first, 3, test_heap_objects(100), 100 * test_heap_objects(100));
	free_in(0, of_epochs(1, 4));
	ck_assert_uint_eq(sp_heap_absorb(absorber), 1);
	check_peak(first, 4, test_heap_objects(100), 100 * test_heap_objects(100));
}
END_TEST

START_TEST(block_that_died_before_the_last_peak_is_none_of_it)
{
	set_epoch(5);
	free_in(0, of_epochs(1, 5));
	free_in(1, of_epochs(1, 4));
	ck_assert_uint_eq(sp_heap_absorb(absorber), 2);
	check_peak(first, 5, test_heap_objects(100), 100 * test_heap_objects(100));
}
END_TEST

/* The header was copied first, and its program went on: that peak is not known here,
 * and the block was still there at the last one that is. */
START_TEST(block_newer_than_the_header_belongs_to_the_last_known_peak)
{
	set_epoch(3);
	free_in(0, of_epochs(2, 4));
	free_in(1, of_epochs(3, 4)); /* not there yet */
	free_in(2, of_epochs(4, 5));
	ck_assert_uint_eq(sp_heap_absorb(absorber), 3);
	check_peak(first, 3, test_heap_objects(100), 100 * test_heap_objects(100));
}
END_TEST

START_TEST(epochs_that_cannot_be_do_no_harm)
{
	set_epoch(3);
	free_in(0, of_epochs(SP_HEAP_EPOCH_MASK / 2 + 9, SP_HEAP_EPOCH_MASK));
	free_in(1, of_epochs(3, SP_HEAP_EPOCH_MASK - 20));
	ck_assert_uint_eq(sp_heap_absorb(absorber), 2);
	check_peak(first, 0, 0, 0);
	check_freed(first, 2, 2 * test_heap_objects(100), 200 * test_heap_objects(100));
}
END_TEST

/* --- what makes no sense --- */

START_TEST(blocks_without_a_cell_are_dropped_visibly_and_counted)
{
	uint32_t unfilled = test_heap_add_cell(&recording);

	atomic_store(&test_heap_cell(&recording, unfilled)->is_filled, 0);
	free_in(0, (struct test_block){.cell = unfilled, .size_bytes = 100});
	free_in(1, (struct test_block){.cell = unfilled + 1, .size_bytes = 100});
	free_in(2, (struct test_block){.cell = UINT32_MAX, .size_bytes = 100});
	free_in(3, (struct test_block){.cell = SP_HEAP_CELL_DROPPED, .size_bytes = 100});
	ck_assert_uint_eq(sp_heap_absorb(absorber), 4);
	check_freed(SP_HEAP_CELL_DROPPED, 4, 4 * test_heap_objects(100),
		    400 * test_heap_objects(100));
	check_freed(unfilled, 0, 0, 0);
	ck_assert_uint_eq(damaged(), 3);
}
END_TEST

/* --- the first cell --- */

START_TEST(cell_0_is_made_first_and_once)
{
	const struct sp_heap_cell *cell =
		test_heap_cell(&recording, SP_HEAP_CELL_DROPPED);
	const struct sp_heap_stack *stack =
		sp_recording_item(&recording, SP_SECTION_HEAP_STACKS, cell->stack);
	uint64_t cells = sp_recording_used(&recording, SP_SECTION_HEAP_CELLS);
	uint64_t words = sp_recording_used(&recording, SP_SECTION_HEAP_STACKS);

	ck_assert_uint_eq(cell->stack, 0);
	ck_assert_uint_ne(atomic_load(&cell->is_filled), 0);
	ck_assert_uint_eq(stack->frame_count, 1);
	ck_assert_uint_eq(stack->frames[0], sp_frame_pseudo(SP_PSEUDO_DROPPED));
	ck_assert_int_eq(test_drain(&recording), 0);
	ck_assert_uint_eq(sp_recording_used(&recording, SP_SECTION_HEAP_CELLS), cells);
	ck_assert_uint_eq(sp_recording_used(&recording, SP_SECTION_HEAP_STACKS), words);
}
END_TEST

START_TEST(tables_that_begin_otherwise_are_refused)
{
	struct sp_heap_cell *cell = test_heap_cell(&recording, SP_HEAP_CELL_DROPPED);
	struct sp_heap_stack *stack =
		sp_recording_item(&recording, SP_SECTION_HEAP_STACKS, 0);

	cell->stack = 3;
	ck_assert_int_eq(test_drain(&recording), -EINVAL);
	cell->stack = 0;
	atomic_store(&cell->is_filled, 0);
	ck_assert_int_eq(test_drain(&recording), -EINVAL);
	atomic_store(&cell->is_filled, 1);
	stack->frames[0]++;
	ck_assert_int_eq(test_drain(&recording), -EINVAL);
	stack->frames[0]--;
	ck_assert_int_eq(test_drain(&recording), 0);
}
END_TEST

START_TEST(recording_without_a_heap_gets_none)
{
	struct sp_recording other;

	ck_assert_int_eq(test_recording_make(&other, "/proc/nonexistent", BYTES_MAX), 0);
	ck_assert_int_eq(test_drain(&other), 0);
	ck_assert_uint_eq(sp_recording_used(&other, SP_SECTION_HEAP_CELLS), 0);
	ck_assert_uint_eq(sp_recording_used(&other, SP_SECTION_HEAP_STACKS), 0);
	sp_recording_detach(&other);
}
END_TEST

/* --- when --- */

static bool is_wanted;
static void *asked_with;

static bool wants_heap(void *context)
{
	asked_with = context;
	return is_wanted;
}

START_TEST(drain_absorbs_when_it_is_wanted)
{
	int context;

	absorber->wants_heap = wants_heap;
	absorber->context = &context;
	free_in(0, (struct test_block){.cell = first, .size_bytes = 100});
	is_wanted = false;
	ck_assert_uint_eq(sp_absorber_drain(absorber), 0);
	ck_assert_ptr_eq(asked_with, &context);
	check_freed(first, 0, 0, 0);
	is_wanted = true;
	ck_assert_uint_eq(sp_absorber_drain(absorber), 1);
	check_freed(first, 1, test_heap_objects(100), 100 * test_heap_objects(100));
}
END_TEST

START_TEST(drain_absorbs_always_when_nobody_is_to_be_asked)
{
	free_in(0, (struct test_block){.cell = first, .size_bytes = 100});
	ck_assert_uint_eq(sp_absorber_drain(absorber), 1);
	check_freed(first, 1, test_heap_objects(100), 100 * test_heap_objects(100));
}
END_TEST

START_TEST(ended_threads_leave_their_exact_counters)
{
	const struct sp_recording_header *header = recording.header;

	for (uint64_t i = 1; i <= 2; i++) {
		struct sp_slot *slot = test_thread(&recording, 1, false);

		atomic_store(&slot->heap_allocations, 10 * i);
		atomic_store(&slot->heap_frees, 7 * i);
		atomic_store(&slot->heap_bytes, 1000 * i);
		atomic_store(&slot->heap_cost_cycles, 800 * i);
		atomic_store(&slot->heap_variance, sp_double_to_bits(0.5 * (double)i));
		if (i == 2)
			ck_assert_uint_eq(
				sp_atomic_value(&header->ended_heap_allocations), 10);
		test_thread_end(slot, 1);
		sp_absorber_drain(absorber);
	}
	ck_assert_uint_eq(sp_atomic_value(&header->ended_heap_allocations), 30);
	ck_assert_uint_eq(sp_atomic_value(&header->ended_heap_frees), 21);
	ck_assert_uint_eq(sp_atomic_value(&header->ended_heap_bytes), 3000);
	ck_assert_uint_eq(sp_atomic_value(&header->ended_heap_cost_cycles), 2400);
	ck_assert_double_eq(test_double(&header->ended_heap_variance), 1.5);
}
END_TEST

/* --- storage --- */

START_TEST(table_grows_when_more_than_a_quarter_is_in_use)
{
	const struct test_block block = {.cell = first, .size_bytes = 100};

	for (uint64_t i = 0; i < SP_LIVE_LEVEL0_BLOCKS / 4; i++)
		live_in(i * 3, block);
	sp_heap_absorb(absorber);
	sp_heap_keep_ahead(absorber);
	ck_assert_uint_eq(test_heap_entries(&recording), SP_LIVE_LEVEL0_BLOCKS);
	live_in(1, block);
	sp_heap_absorb(absorber);
	sp_heap_keep_ahead(absorber);
	ck_assert_uint_eq(test_heap_entries(&recording), sp_live_blocks_of_levels(2));
	/* Now it is a twentieth. */
	sp_heap_absorb(absorber);
	sp_heap_keep_ahead(absorber);
	ck_assert_uint_eq(test_heap_entries(&recording), sp_live_blocks_of_levels(2));
}
END_TEST

START_TEST(freed_blocks_do_not_make_the_table_grow)
{
	for (uint64_t i = 0; i < SP_LIVE_LEVEL0_BLOCKS; i++)
		free_in(i, (struct test_block){.cell = first, .size_bytes = 100});
	ck_assert_uint_eq(sp_heap_absorb(absorber), SP_LIVE_LEVEL0_BLOCKS);
	sp_heap_keep_ahead(absorber);
	ck_assert_uint_eq(test_heap_entries(&recording), SP_LIVE_LEVEL0_BLOCKS);
}
END_TEST

static void set_used(enum sp_section_kind kind, uint64_t items)
{
	ck_assert_int_eq(sp_recording_reserve(&recording, kind, items), 0);
	atomic_store(&recording.header->sections[kind].used_items, items);
}

static uint64_t ahead(enum sp_section_kind kind)
{
	return sp_recording_reserved(&recording, kind) -
	       sp_recording_used(&recording, kind);
}

START_TEST(stacks_and_cells_have_storage_ahead)
{
	const struct sp_section *cells =
		&recording.header->sections[SP_SECTION_HEAP_CELLS];

	set_used(SP_SECTION_HEAP_STACKS,
		 sp_recording_reserved(&recording, SP_SECTION_HEAP_STACKS));
	set_used(SP_SECTION_HEAP_CELLS,
		 sp_recording_reserved(&recording, SP_SECTION_HEAP_CELLS));
	sp_heap_keep_ahead(absorber);
	ck_assert_uint_ge(ahead(SP_SECTION_HEAP_STACKS), 8192);
	ck_assert_uint_ge(ahead(SP_SECTION_HEAP_CELLS), 128);
	set_used(SP_SECTION_HEAP_STACKS, 200000);
	set_used(SP_SECTION_HEAP_CELLS, 16000);
	sp_heap_keep_ahead(absorber);
	ck_assert_uint_ge(ahead(SP_SECTION_HEAP_STACKS), 25000);
	ck_assert_uint_ge(ahead(SP_SECTION_HEAP_CELLS), 2000);
	/* Up to the last one. */
	set_used(SP_SECTION_HEAP_CELLS, cells->capacity_items - 1);
	sp_heap_keep_ahead(absorber);
	ck_assert_uint_eq(sp_recording_reserved(&recording, SP_SECTION_HEAP_CELLS),
			  cells->capacity_items);
	ck_assert_uint_eq(sp_atomic_value(&recording.header->losses[SP_LOSS_NO_SPACE]),
			  0);
}
END_TEST

START_TEST(refused_storage_leaves_the_table_as_it_is)
{
	uint64_t refusals;

	atomic_store(&recording.header->storage_bytes,
		     recording.header->storage_bytes_max);
	for (uint64_t i = 0; i < SP_LIVE_LEVEL0_BLOCKS; i++)
		live_in(i, (struct test_block){.cell = first, .size_bytes = 100});
	sp_heap_absorb(absorber);
	sp_heap_keep_ahead(absorber);
	ck_assert_uint_eq(test_heap_entries(&recording), SP_LIVE_LEVEL0_BLOCKS);
	refusals = sp_atomic_value(&recording.header->losses[SP_LOSS_NO_SPACE]);
	ck_assert_uint_gt(refusals, 0);
	/* Whoever asks for the same again makes no other request. */
	sp_heap_keep_ahead(absorber);
	ck_assert_uint_eq(sp_atomic_value(&recording.header->losses[SP_LOSS_NO_SPACE]),
			  refusals);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("heap_absorb");
	TCase *tc = tcase_create("heap_absorb");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup_two_cells, teardown);
	tcase_add_test(tc, freed_blocks_are_unbiased_each_and_summed_by_cell);
	tcase_add_test(tc, absorbed_entries_are_free_and_absorbed_once);
	tcase_add_test(tc, blocks_in_use_or_being_written_stay_and_are_counted);
	tcase_add_test(tc, every_block_counts_once_at_a_rate_of_1);
	tcase_add_test(tc, all_levels_of_the_table_are_gone_over);
	tcase_add_test(tc, ages_are_summed_in_cycles_times_objects);
	tcase_add_test(tc, ages_keep_five_digits);
	tcase_add_test(tc, blocks_that_die_young_are_told_from_others);
	tcase_add_test(tc, without_a_measured_clock_2_5_gigahertz_are_assumed);
	tcase_add_test(tc, blocks_that_another_thread_freed_are_told_from_others);
	tcase_add_test(tc, block_belongs_to_a_peak_between_birth_and_death);
	tcase_add_test(tc, higher_peak_starts_anew);
	tcase_add_test(tc, block_that_died_before_the_last_peak_is_none_of_it);
	tcase_add_test(tc, block_newer_than_the_header_belongs_to_the_last_known_peak);
	tcase_add_test(tc, epochs_that_cannot_be_do_no_harm);
	tcase_add_test(tc, blocks_without_a_cell_are_dropped_visibly_and_counted);
	tcase_add_test(tc, cell_0_is_made_first_and_once);
	tcase_add_test(tc, tables_that_begin_otherwise_are_refused);
	tcase_add_test(tc, recording_without_a_heap_gets_none);
	tcase_add_test(tc, drain_absorbs_when_it_is_wanted);
	tcase_add_test(tc, drain_absorbs_always_when_nobody_is_to_be_asked);
	tcase_add_test(tc, ended_threads_leave_their_exact_counters);
	tcase_add_test(tc, table_grows_when_more_than_a_quarter_is_in_use);
	tcase_add_test(tc, freed_blocks_do_not_make_the_table_grow);
	tcase_add_test(tc, stacks_and_cells_have_storage_ahead);
	tcase_add_test(tc, refused_storage_leaves_the_table_as_it_is);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
