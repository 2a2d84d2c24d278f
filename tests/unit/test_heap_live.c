/*
 * The live table where it is crowded, and the filter before it: no block is ever lost
 * sight of, and what cannot be followed is counted.
 */
#include "test_heap_capture_fixture.h"

#include "sp_clock.h"

/* Of a bucket of the table, and of a counter of the filter. */
#define BUCKET_BYTES UINT64_C(256)
#define COUNTER_BYTES (UINT64_C(1) << SP_HEAP_FILTER_SHIFT)
/* Not one that falls on the counter of NULL. */
#define PAGE UINT64_C(0x7f0000410000)

/* Of each block. */
static uint64_t block_bytes;

static void *at(uint64_t number)
{
	return (void *)(uintptr_t)number; // NOLINT
}

static void make(uint64_t first, uint64_t count, uint64_t distance_bytes)
{
	for (uint64_t i = 0; i < count; i++)
		sp_heap_note_alloc(at(first + i * distance_bytes), block_bytes);
}

static void check_all_live(uint64_t first, uint64_t count, uint64_t distance_bytes)
{
	for (uint64_t i = 0; i < count; i++)
		ck_assert_ptr_nonnull(find_at(at(first + i * distance_bytes)));
}

static void free_all(uint64_t first, uint64_t count, uint64_t distance_bytes)
{
	for (uint64_t i = 0; i < count; i++) {
		void *ptr = at(first + i * distance_bytes);

		sp_heap_note_free(ptr);
		ck_assert_ptr_null(find_at(ptr));
	}
}

static int64_t live_bytes(void)
{
	return atomic_load(&header()->heap_live_bytes) + sp_heap_self->pending_live_bytes;
}

static void check_crowd(uint64_t count, uint64_t distance_bytes)
{
	make(PAGE, count, distance_bytes);
	check_all_live(PAGE, count, distance_bytes);
	ck_assert_int_eq(live_bytes(), (int64_t)(count * block_bytes));
	free_all(PAGE, count, distance_bytes);
	ck_assert_int_eq(live_bytes(), 0);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_UNTRACKED), 0);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_STALE), 0);
	ck_assert_double_eq(SUM(freed_objects), (double)count);
}

/* --- the table --- */

static uint64_t used_entries(void)
{
	return sp_recording_used(&sp_capture.recording, SP_SECTION_LIVE_BLOCKS);
}

START_TEST(page_full_of_small_blocks_is_followed)
{
	check_crowd(4096 / 32, 32);
}
END_TEST

START_TEST(blocks_beyond_those_of_a_bucket_lie_on_other_levels)
{
	check_crowd(2 * SP_LIVE_BUCKET_BLOCKS, BUCKET_BYTES / 2 / SP_LIVE_BUCKET_BLOCKS);
	ck_assert(atomic_load(&sp_heap_global.wants_room));
}
END_TEST

START_TEST(blocks_beyond_those_of_all_levels_lie_elsewhere)
{
	/* In one bucket, which no table has so many levels for. */
	check_crowd(BUCKET_BYTES / 2, 2);
}
END_TEST

START_TEST(block_left_behind_our_back_in_a_crowd_is_noticed)
{
	const uint64_t count = SP_LIVE_BUCKET_BLOCKS, distance = 16;

	make(PAGE, count, distance);
	make(PAGE, count, distance);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_STALE), count);
	ck_assert_int_eq(live_bytes(), (int64_t)(count * block_bytes));
	free_all(PAGE, count, distance);
	ck_assert_double_eq(SUM(freed_objects), 2 * (double)count);
}
END_TEST

START_TEST(table_grows_where_it_is_full)
{
	const uint64_t count = 60000, distance = 64;
	uint64_t reserved =
		sp_recording_reserved(&sp_capture.recording, SP_SECTION_LIVE_BLOCKS);

	ck_assert_uint_lt(reserved, count);
	make(PAGE, count, distance);
	check_all_live(PAGE, count, distance);
	ck_assert_uint_gt(
		sp_recording_reserved(&sp_capture.recording, SP_SECTION_LIVE_BLOCKS),
		count);
	free_all(PAGE, count, distance);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_UNTRACKED), 0);
	ck_assert_double_eq(SUM(freed_objects), (double)count);
}
END_TEST

static double untracked_objects(void)
{
	uint64_t cells = sp_recording_used(&sp_capture.recording, SP_SECTION_HEAP_CELLS);
	uint64_t sum = 0;

	for (uint64_t i = 0; i < cells; i++) {
		const struct sp_heap_cell *cell = sp_recording_item(
			&sp_capture.recording, SP_SECTION_HEAP_CELLS, i);

		sum += atomic_load(&cell->untracked_objects_q8);
	}
	return (double)sum / 256;
}

START_TEST(blocks_that_find_no_room_are_counted_as_allocated)
{
	const uint64_t count = 60000, distance = 64;
	uint64_t untracked;

	/* A stack and its cells first, then no storage any more. */
	make(PAGE, 1, distance);
	header()->storage_bytes_max = atomic_load(&header()->storage_bytes);
	make(PAGE + distance, count - 1, distance);
	untracked = loss(SP_LOSS_HEAP_UNTRACKED);
	ck_assert_uint_gt(untracked, 0);
	ck_assert_double_eq(untracked_objects(), (double)untracked);
	ck_assert_int_eq(live_bytes(), (int64_t)((count - untracked) * block_bytes));
	free_all(PAGE, count, distance);
	ck_assert_int_eq(live_bytes(), 0);
	ck_assert_double_eq(SUM(freed_objects), (double)(count - untracked));
}
END_TEST

/* --- the table where every block is sampled --- */

/* More than those of a chunk that a thread has, and keeps for itself. */
#define MANY UINT64_C(5000)

START_TEST(blocks_at_odd_multiples_of_eight_are_followed)
{
	check_crowd(MANY, 8);
}
END_TEST

START_TEST(blocks_far_apart_are_followed)
{
	check_crowd(200, UINT64_C(1) << 36);
}
END_TEST

START_TEST(block_where_another_begins_is_counted_as_allocated)
{
	make(PAGE, 4, 4);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_UNTRACKED), 2);
	ck_assert_double_eq(untracked_objects(), 2);
	check_all_live(PAGE, 2, 8);
	free_all(PAGE, 4, 4);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_STALE), 0);
	ck_assert_int_eq(live_bytes(), 0);
	/* And the places are free again. */
	make(PAGE + 4, 2, 8);
	check_all_live(PAGE + 4, 2, 8);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_UNTRACKED), 2);
}
END_TEST

START_TEST(address_that_no_program_has_is_counted_as_allocated)
{
	make(UINT64_C(1) << 52, 1, 1);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_UNTRACKED), 1);
	free_all(UINT64_C(1) << 52, 1, 1);
}
END_TEST

START_TEST(entries_are_used_again)
{
	uint64_t used;

	make(PAGE, MANY, 32);
	used = used_entries();
	for (unsigned int round = 1; round < 20; round++) {
		free_all(PAGE + (round - 1) * 16, MANY, 32);
		make(PAGE + round * 16, MANY, 32);
		check_all_live(PAGE + round * 16, MANY, 32);
	}
	/* But for the few that a chunk may have too few of. */
	ck_assert_uint_le(used_entries(), used + used / 4);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_STALE), 0);
}
END_TEST

/* As while a reader holds the tables. */
static void free_for_the_consumer(uint64_t first, uint64_t count, uint64_t distance_bytes)
{
	sp_heap_hold_at(header(), sp_clock_cycles());
	free_all(first, count, distance_bytes);
	sp_heap_hold_at(header(), 0);
}

START_TEST(entries_that_the_consumer_absorbs_are_used_again)
{
	uint64_t used;

	make(PAGE, MANY, 32);
	used = used_entries();
	free_for_the_consumer(PAGE, MANY, 32);
	ck_assert_double_eq(SUM(freed_objects), (double)MANY);
	make(PAGE, MANY, 32);
	check_all_live(PAGE, MANY, 32);
	ck_assert_uint_eq(used_entries(), used);
}
END_TEST

START_TEST(table_does_not_grow_unnoticed_for_want_of_the_consumer)
{
	atomic_store(&sp_heap_global.wants_room, false);
	atomic_store(&sp_heap_global.has_freed, false);
	make(PAGE, MANY, 32);
	ck_assert(!atomic_load(&sp_heap_global.wants_room));
	free_for_the_consumer(PAGE, MANY, 32);
	make(PAGE + 16, 1000, 32);
	ck_assert(atomic_load(&sp_heap_global.wants_room));
}
END_TEST

START_TEST(last_entries_are_used_where_there_is_no_more_storage)
{
	make(PAGE, MANY, 32);
	header()->storage_bytes_max = atomic_load(&header()->storage_bytes);
	make(PAGE + (1 << 20), 60000, 32);
	ck_assert_uint_gt(loss(SP_LOSS_HEAP_UNTRACKED), 0);
	/* Of each chunk fewer than it is opened for. */
	for (uint64_t i = 0; i < MANY; i += 32)
		sp_heap_note_free(at(PAGE + i * 32));
	make(PAGE + (64 << 20), MANY / 32, 32);
	check_all_live(PAGE + (64 << 20), MANY / 32, 32);
}
END_TEST

START_TEST(address_of_a_block_that_is_resized_may_be_another_block_s)
{
	struct sp_heap_hold hold;

	make(PAGE, 1, 16);
	hold = sp_heap_hold(at(PAGE));
	ck_assert_ptr_nonnull(hold.block);
	make(PAGE, 1, 16);
	sp_heap_release(hold, true);
	check_all_live(PAGE, 1, 16);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_STALE), 0);
	ck_assert_int_eq(live_bytes(), (int64_t)block_bytes);
	/* And one that stays is found again. */
	hold = sp_heap_hold(at(PAGE));
	ck_assert_ptr_null(find_at(at(PAGE)));
	sp_heap_release(hold, false);
	free_all(PAGE, 1, 16);
	ck_assert_int_eq(live_bytes(), 0);
	ck_assert_double_eq(SUM(freed_objects), 2);
}
END_TEST

/* Who takes a freed address finds an empty place, and need not look at the entry of who
 * had it, which is a line of memory of its own; nor while a block is resized. */
START_TEST(addresses_that_were_given_back_lead_nowhere)
{
	_Atomic uint32_t *place;
	struct sp_heap_hold hold;

	make(PAGE, 1, 16);
	place = sp_heap_index_slot(PAGE);
	ck_assert_ptr_nonnull(place);
	ck_assert_uint_ne(atomic_load(place), 0);
	free_all(PAGE, 1, 16);
	ck_assert_uint_eq(atomic_load(place), 0);

	make(PAGE, 1, 16);
	hold = sp_heap_hold(at(PAGE));
	ck_assert_uint_eq(atomic_load(place), 0);
	sp_heap_release(hold, false);
	ck_assert_uint_ne(atomic_load(place), 0);
	free_all(PAGE, 1, 16);
}
END_TEST

/* --- the filter --- */

#define SAMPLED_RATE_BYTES UINT64_C(4096)
/* Of blocks so large each is sampled. */
#define LARGE_BYTES (64 * SAMPLED_RATE_BYTES)

static void setup_sampled(void)
{
	block_bytes = LARGE_BYTES;
	begin_capture(SAMPLED_RATE_BYTES, 64 << 20);
}

static void setup_exact(void)
{
	block_bytes = BLOCK_BYTES;
	setup();
}

static bool is_asked_for(uint64_t number)
{
	return sp_heap_may_be_sampled(at(number)) &&
	       sp_heap_filter_may_be(sp_heap_filter_now(), at(number));
}

static uintptr_t add(uint64_t number)
{
	uintptr_t in_the_making;

	return sp_heap_filter_add(at(number), &in_the_making);
}

START_TEST(neighbours_of_a_sampled_block_are_not_looked_for)
{
	unsigned int asked = 0;

	add(PAGE + 16);
	ck_assert(is_asked_for(PAGE + 16));
	ck_assert(!sp_heap_may_be_sampled(at(PAGE + COUNTER_BYTES)));
	for (uint64_t offset = 0; offset < COUNTER_BYTES; offset += 16)
		asked += is_asked_for(PAGE + offset);
	/* One in 128 by chance. */
	ck_assert_uint_le(asked, 4);
}
END_TEST

/* Of the filter in force. */
static void check_counter_of_null(void)
{
	const uint64_t first = UINT64_C(0x7f0000000000);
	unsigned int asked = 0;

	ck_assert(sp_heap_may_be_sampled(NULL));
	ck_assert(sp_heap_may_be_sampled(at(first)));
	for (uint64_t offset = 0; offset < COUNTER_BYTES; offset += 16)
		asked += is_asked_for(first + offset);
	/* One in 128 by chance. */
	ck_assert_uint_le(asked, 4);
}

START_TEST(what_shares_the_counter_of_null_is_not_looked_for)
{
	check_counter_of_null();
	sp_heap_filter_forget();
	check_counter_of_null();
}
END_TEST

START_TEST(blocks_that_share_a_counter_are_known_until_the_last_is_gone)
{
	const uint64_t count = 5;
	uintptr_t filter = SP_HEAP_FILTER_NONE;

	for (uint64_t i = 0; i < count; i++)
		filter = add(PAGE + 16 * i);
	for (uint64_t gone = 0; gone < count; gone++) {
		for (uint64_t i = gone; i < count; i++)
			ck_assert(is_asked_for(PAGE + 16 * i));
		sp_heap_filter_remove(filter, at(PAGE + 16 * gone));
	}
	ck_assert(!sp_heap_may_be_sampled(at(PAGE)));
	/* And a lone one is again known by its address. */
	add(PAGE + 16);
	ck_assert(is_asked_for(PAGE + 16));
	sp_heap_filter_remove(filter, at(PAGE + 16));
	ck_assert(!sp_heap_may_be_sampled(at(PAGE)));
}
END_TEST

START_TEST(counter_that_is_full_says_yes_for_ever)
{
	const uint64_t count = 300;
	uintptr_t filter = SP_HEAP_FILTER_NONE;

	for (uint64_t i = 0; i < count; i++)
		filter = add(PAGE + i);
	for (uint64_t i = 0; i < count; i++) {
		ck_assert(is_asked_for(PAGE + i));
		sp_heap_filter_remove(filter, at(PAGE + i));
	}
	ck_assert(is_asked_for(PAGE));
}
END_TEST

static uint64_t counters_of(uintptr_t filter)
{
	return filter % SP_HEAP_FILTER_COUNTERS_MAX + 1;
}

START_TEST(larger_filter_knows_all_that_live)
{
	const uint64_t count = 20000, distance = 4096 + 32;
	uintptr_t first = sp_heap_filter_now();

	for (uint64_t i = 0; i < count; i++) {
		sp_heap_note_alloc(at(PAGE + i * distance), LARGE_BYTES);
		if (i % 1000 == 0)
			sp_heap_filter_keep_ahead(&sp_capture.recording);
	}
	ck_assert_uint_ne(sp_heap_filter_now(), first);
	ck_assert_uint_gt(counters_of(sp_heap_filter_now()), counters_of(first));
	for (uint64_t i = 0; i < count; i++)
		ck_assert(is_asked_for(PAGE + i * distance));
	free_all(PAGE, count, distance);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_UNTRACKED), 0);
	ck_assert_int_eq(live_bytes(), 0);
	ck_assert_double_eq(SUM(freed_bytes), (double)(count * LARGE_BYTES));
}
END_TEST

/* Of either mode. */
static void add_table_tests(TCase *tests)
{
	tcase_add_test(tests, page_full_of_small_blocks_is_followed);
	tcase_add_test(tests, block_left_behind_our_back_in_a_crowd_is_noticed);
	tcase_add_test(tests, table_grows_where_it_is_full);
	tcase_add_test(tests, blocks_that_find_no_room_are_counted_as_allocated);
}

int main(void)
{
	TCase *exact = tcase_create("exact"), *table = tcase_create("table");
	TCase *filter = tcase_create("filter");
	Suite *suite = suite_create("live blocks");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(exact, setup_exact, teardown);
	add_table_tests(exact);
	tcase_add_test(exact, blocks_at_odd_multiples_of_eight_are_followed);
	tcase_add_test(exact, blocks_far_apart_are_followed);
	tcase_add_test(exact, block_where_another_begins_is_counted_as_allocated);
	tcase_add_test(exact, address_that_no_program_has_is_counted_as_allocated);
	tcase_add_test(exact, entries_are_used_again);
	tcase_add_test(exact, entries_that_the_consumer_absorbs_are_used_again);
	tcase_add_test(exact, table_does_not_grow_unnoticed_for_want_of_the_consumer);
	tcase_add_test(exact, last_entries_are_used_where_there_is_no_more_storage);
	tcase_add_test(exact, address_of_a_block_that_is_resized_may_be_another_block_s);
	tcase_add_test(exact, addresses_that_were_given_back_lead_nowhere);
	tcase_add_checked_fixture(table, setup_sampled, teardown);
	add_table_tests(table);
	tcase_add_test(table, blocks_beyond_those_of_a_bucket_lie_on_other_levels);
	tcase_add_test(table, blocks_beyond_those_of_all_levels_lie_elsewhere);
	tcase_add_checked_fixture(filter, setup_sampled, teardown);
	tcase_add_test(filter, neighbours_of_a_sampled_block_are_not_looked_for);
	tcase_add_test(filter, what_shares_the_counter_of_null_is_not_looked_for);
	tcase_add_test(filter,
		       blocks_that_share_a_counter_are_known_until_the_last_is_gone);
	tcase_add_test(filter, counter_that_is_full_says_yes_for_ever);
	tcase_add_test(filter, larger_filter_knows_all_that_live);
	suite_add_tcase(suite, exact);
	suite_add_tcase(suite, table);
	suite_add_tcase(suite, filter);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
