/*
 * A thread's batches grow with the number of cells that it frees blocks of; what finds no
 * line meanwhile waits in the table, and nothing is lost or counted twice.
 */
#include "test_heap_capture_fixture.h"

#define BATCHES_FIRST 4U
#define LINES_FIRST (BATCHES_FIRST * SP_HEAP_BATCH_LINES)

/* Sizes of as many classes: four to each doubling. */
static uint64_t size_of_class(uint64_t number)
{
	return (UINT64_C(32) << number / 4) * (5 + number % 4);
}

/* A block of each cell. Returns how many wait in the table afterwards. */
static uint64_t free_one_of_each(uint64_t cells)
{
	for (uint64_t i = 1; i <= cells; i++)
		sp_heap_note_alloc(address(i), size_of_class(i));
	for (uint64_t i = 1; i <= cells; i++)
		sp_heap_note_free(address(i));
	return sp_heap_absorb(absorber);
}

/* Nobody absorbs lines meanwhile; what finds none waits in the table. */
START_TEST(blocks_of_many_cells_soon_wait_for_nobody)
{
	const uint64_t cells = 40, rounds = 64;
	uint64_t waiting = 0;

	for (uint64_t round = 0; round < rounds; round++)
		waiting = free_one_of_each(cells);
	ck_assert_uint_eq(waiting, 0);
	ck_assert_double_eq(SUM(freed_objects), (double)(cells * rounds));
}
END_TEST

START_TEST(thread_with_few_cells_keeps_its_first_batches)
{
	const uint64_t cells = 8, rounds = 1000;
	uint32_t first;

	free_one_of_each(cells);
	first = sp_heap_self->batch;
	ck_assert_uint_eq(sp_heap_self->batch_count, BATCHES_FIRST);
	for (uint64_t round = 1; round < rounds; round++)
		ck_assert_uint_eq(free_one_of_each(cells), 0);
	ck_assert_uint_eq(sp_heap_self->batch, first);
	ck_assert_uint_eq(sp_heap_self->batch_count, BATCHES_FIRST);
	ck_assert_double_eq(SUM(freed_objects), (double)(cells * rounds));
}
END_TEST

/* The lines of the first ones are the consumer's to take over, at any later time. */
START_TEST(sums_in_batches_that_were_outgrown_are_kept)
{
	const uint64_t cells = 2 * LINES_FIRST, rounds = 16;
	double bytes = 0;

	for (uint64_t round = 0; round < rounds; round++)
		free_one_of_each(cells);
	for (uint64_t i = 1; i <= cells; i++)
		bytes += (double)(rounds * size_of_class(i));
	ck_assert_uint_gt(sp_heap_self->batch_count, BATCHES_FIRST);
	ck_assert_uint_eq(sp_heap_self->batch_count & (sp_heap_self->batch_count - 1), 0);
	ck_assert_uint_eq(free_one_of_each(cells), 0);
	for (uint64_t i = 1; i <= cells; i++)
		bytes += (double)size_of_class(i);
	ck_assert_double_eq(SUM(freed_objects), (double)(cells * (rounds + 1)));
	ck_assert_double_eq(SUM(freed_bytes), bytes);
	ck_assert_double_eq(SUM(freed_objects), (double)(cells * (rounds + 1)));
}
END_TEST

/* What the consumer has taken over may be another cell's line. */
START_TEST(lines_that_are_absorbed_serve_other_cells)
{
	const uint64_t cells = 2 * LINES_FIRST;

	for (uint64_t i = 1; i <= cells; i++) {
		sp_heap_note_alloc(address(i), size_of_class(i));
		sp_heap_note_free(address(i));
		sp_heap_batches_absorb(absorber);
	}
	ck_assert_uint_eq(sp_heap_self->batch_count, BATCHES_FIRST);
	ck_assert_uint_eq(sp_heap_absorb(absorber), 0);
	ck_assert_double_eq(SUM(freed_objects), (double)cells);
}
END_TEST

START_TEST(thread_that_gets_no_more_batches_leaves_blocks_to_the_consumer)
{
	const uint64_t cells = 2 * LINES_FIRST, rounds = 16;
	struct sp_section *section = &header()->sections[SP_SECTION_HEAP_BATCHES];
	uint64_t waiting = 0;

	free_one_of_each(1);
	/* All that are reserved are somebody's, and there is no storage for another. */
	atomic_store(&section->used_items, atomic_load(&section->reserved_items));
	header()->storage_bytes_max = atomic_load(&header()->storage_bytes);
	for (uint64_t round = 0; round < rounds; round++)
		waiting = free_one_of_each(cells);
	ck_assert_uint_eq(sp_heap_self->batch_count, BATCHES_FIRST);
	ck_assert_uint_gt(waiting, 0);
	ck_assert_double_eq(SUM(freed_objects), (double)(cells * rounds + 1));
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("batches");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, blocks_of_many_cells_soon_wait_for_nobody);
	tcase_add_test(tests, thread_with_few_cells_keeps_its_first_batches);
	tcase_add_test(tests, sums_in_batches_that_were_outgrown_are_kept);
	tcase_add_test(tests, lines_that_are_absorbed_serve_other_cells);
	tcase_add_test(tests,
		       thread_that_gets_no_more_batches_leaves_blocks_to_the_consumer);
	return run_tests("heap batches", tests);
}
