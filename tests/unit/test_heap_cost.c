/*
 * What the heap hooks say that samples and their ends took of a thread. Time goes by as
 * it likes, so that a measured one is told by that it is more than nothing.
 */
#include "heap_cost.h"
#include "test_heap_capture_fixture.h"

#define PUBLISHED 64U /* blocks from one time to the next */

static void setup_sampled(void)
{
	begin_capture(4096, 64 << 20);
}

static void allocate(uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
		sp_heap_note_alloc(address(i), BLOCK_BYTES);
}

static uint64_t told(void)
{
	return atomic_load(&slot->heap_cost_cycles);
}

START_TEST(one_of_many_blocks_stands_for_all)
{
	allocate(1, PUBLISHED - 1);
	ck_assert_uint_eq(sp_heap_self->cost_cycles, 0);
	allocate(PUBLISHED, 1);
	ck_assert_uint_gt(told(), 0);
	ck_assert_uint_eq(told(), sp_heap_self->cost_cycles);
	ck_assert_uint_eq(told() % PUBLISHED, 0);
}
END_TEST

START_TEST(one_of_many_ends_stands_for_all)
{
	uint64_t before;

	allocate(1, SP_HEAP_COST_EVERY_END_EXACT);
	before = sp_heap_self->cost_cycles;
	for (uint64_t i = 1; i < SP_HEAP_COST_EVERY_END_EXACT; i++)
		sp_heap_note_free(address(i));
	ck_assert_uint_eq(sp_heap_self->cost_cycles, before);
	sp_heap_note_free(address(SP_HEAP_COST_EVERY_END_EXACT));
	ck_assert_uint_gt(sp_heap_self->cost_cycles, before);
}
END_TEST

START_TEST(time_that_a_thread_did_not_run_counts_little)
{
	sp_heap_cost_add(sp_heap_self, sp_clock_cycles() - (UINT64_C(1) << 40), 1);
	ck_assert_uint_gt(sp_heap_self->cost_cycles, 0);
	ck_assert_uint_lt(sp_heap_self->cost_cycles, UINT64_C(1) << 20);
	/* Of a core that is behind. */
	sp_heap_cost_add(sp_heap_self, sp_clock_cycles() + (UINT64_C(1) << 40), 1);
	ck_assert_uint_lt(sp_heap_self->cost_cycles, UINT64_C(1) << 21);
}
END_TEST

/* Blocks of many times the rate: each is sampled. */
START_TEST(each_sample_counts_while_they_are_few)
{
	sp_heap_note_alloc(address(1), UINT64_C(1) << 20);
	ck_assert_uint_gt(told(), 0);
	for (uint64_t before = told(), i = 2; i < 5; i++, before = told()) {
		sp_heap_note_alloc(address(i), UINT64_C(1) << 20);
		ck_assert_uint_gt(told(), before);
		before = sp_heap_self->cost_cycles;
		sp_heap_free_sampled(address(i));
		ck_assert_uint_gt(sp_heap_self->cost_cycles, before);
	}
}
END_TEST

START_TEST(one_of_many_samples_counts_when_they_are_not)
{
	uint64_t before = sp_heap_self->cost_cycles = SP_HEAP_COST_LITTLE_CYCLES;

	sp_heap_self->cost_turns = 0;
	for (uint64_t i = 1; i < SP_HEAP_COST_EVERY; i++)
		sp_heap_note_alloc(address(i), UINT64_C(1) << 20);
	ck_assert_uint_eq(sp_heap_self->cost_cycles, before);
	sp_heap_note_alloc(address(SP_HEAP_COST_EVERY), UINT64_C(1) << 20);
	ck_assert_uint_gt(sp_heap_self->cost_cycles, before);
	ck_assert_uint_eq((sp_heap_self->cost_cycles - before) % SP_HEAP_COST_EVERY, 0);
}
END_TEST

/* Each of the large ones is sampled, at one and the same place of each turn. */
START_TEST(program_that_goes_in_turns_is_measured_as_often_as_others)
{
	uint64_t begins = 0, ends = 0;

	sp_heap_self->cost_cycles = SP_HEAP_COST_LITTLE_CYCLES;
	for (uint64_t i = 1; i <= 64 * SP_HEAP_COST_EVERY; i++) {
		uint64_t before = sp_heap_self->cost_cycles, allocated;

		sp_heap_note_alloc(address(1), UINT64_C(1) << 20);
		allocated = sp_heap_self->cost_cycles;
		sp_heap_free_sampled(address(1));
		begins += allocated != before;
		ends += sp_heap_self->cost_cycles != allocated;
		sp_heap_self->allocations += 63;
		sp_heap_self->frees += 64;
	}
	ck_assert_uint_eq(begins, 64);
	ck_assert_uint_eq(ends, 64);
}
END_TEST

START_TEST(thread_that_ends_tells_all_and_its_next_begins_anew)
{
	struct sp_heap_thread *place = sp_heap_self;

	sp_heap_self->cost_cycles = 700;
	sp_heap_thread_end();
	ck_assert_uint_eq(told(), 700);
	slot = begin_thread();
	ck_assert_ptr_eq(sp_heap_self, place);
	ck_assert_uint_eq(sp_heap_self->cost_cycles, 0);
}
END_TEST

START_TEST(vanished_thread_has_told_all)
{
	sp_heap_self->cost_cycles = 700;
	sp_heap_thread_vanished(slot);
	sp_heap_self = NULL;
	ck_assert_uint_eq(told(), 700);
}
END_TEST

START_TEST(thread_without_a_slot_is_in_the_sum)
{
	for (int i = 1; i <= 2; i++) {
		sp_heap_self->slot = NULL;
		sp_heap_self->cost_cycles = 700;
		sp_heap_capture_publish(&sp_capture.recording);
		ck_assert_uint_eq(atomic_load(&header()->orphan_heap_cost_cycles),
				  700 * (uint64_t)i);
		sp_heap_thread_end();
		slot = begin_thread();
	}
	sp_heap_capture_forked();
	slot = begin_thread();
	atomic_store(&header()->orphan_heap_cost_cycles, 0);
	sp_heap_capture_publish(&sp_capture.recording);
	ck_assert_uint_eq(atomic_load(&header()->orphan_heap_cost_cycles), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("heap cost");
	TCase *exact = tcase_create("every block"), *sampled = tcase_create("samples");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(exact, setup, teardown);
	tcase_add_test(exact, one_of_many_blocks_stands_for_all);
	tcase_add_test(exact, one_of_many_ends_stands_for_all);
	tcase_add_test(exact, time_that_a_thread_did_not_run_counts_little);
	tcase_add_test(exact, thread_that_ends_tells_all_and_its_next_begins_anew);
	tcase_add_test(exact, vanished_thread_has_told_all);
	tcase_add_test(exact, thread_without_a_slot_is_in_the_sum);
	tcase_add_checked_fixture(sampled, setup_sampled, teardown);
	tcase_add_test(sampled, each_sample_counts_while_they_are_few);
	tcase_add_test(sampled, one_of_many_samples_counts_when_they_are_not);
	tcase_add_test(sampled,
		       program_that_goes_in_turns_is_measured_as_often_as_others);
	suite_add_tcase(suite, exact);
	suite_add_tcase(suite, sampled);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
