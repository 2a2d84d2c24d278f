/*
 * From rings to sums: what counts where, what happens when there is no room, and what
 * records and threads may not do to us.
 */
#include "test_thread_fixture.h"

static void setup_one_thread(void)
{
	begin_one_thread(UINT64_C(2) << 20, 7);
}

static uint64_t drain(void)
{
	uint64_t taken = sp_absorber_drain(absorber);

	test_tally_read(&recording, &tally);
	return taken;
}

static uint64_t loss(enum sp_loss which)
{
	return sp_atomic_value(&recording.header->losses[which]);
}

static const struct sp_cell *cell_of(uint32_t node, uint32_t group)
{
	for (uint64_t i = 0; i < sp_recording_used(&recording, SP_SECTION_CELLS); i++) {
		const struct sp_cell *cell =
			sp_recording_item(&recording, SP_SECTION_CELLS, i);

		if (cell->node == node && cell->group == group)
			return cell;
	}
	return NULL;
}

/* No further storage: what is there must do. */
static void forbid_storage(void)
{
	atomic_store(&recording.header->storage_bytes,
		     recording.header->storage_bytes_max);
}

/* A record as it comes, of any size and type. */
static struct sp_cpu_record *put_raw(uint32_t reserved_bytes, uint32_t size_bytes,
				     uint32_t type)
{
	struct sp_record *record = sp_ring_reserve(ring, reserved_bytes);

	ck_assert_ptr_nonnull(record);
	sp_ring_commit(record, size_bytes, (enum sp_record_type)type);
	return (void *)record;
}

START_TEST(samples_are_summed_by_stack_group_and_mode)
{
	struct sp_slot *other = test_thread(&recording, 8, true);

	test_produce(ring, 0, 1, TEST_END_OUTERMOST);
	test_produce(ring, 0, 4, TEST_END_OUTERMOST);
	test_produce(ring, 3, 2, TEST_END_OUTERMOST);
	test_produce(test_ring_of(&recording, other), 0, 1, TEST_END_OUTERMOST);
	ck_assert_uint_eq(drain(), 4);
	ck_assert_uint_eq(tally.malformed, 0);
	ck_assert_uint_eq(tally.samples[0], 3);
	ck_assert_uint_eq(tally.periods[0], 6);
	ck_assert_uint_eq(tally.samples[3], 1);
	ck_assert_uint_eq(tally.periods[3], 2);
	/* [dropped], stack 0 in two groups, stack 3. */
	ck_assert_uint_eq(sp_recording_used(&recording, SP_SECTION_CELLS), 4);
	ck_assert_uint_eq(drain(), 0);
	ck_assert_uint_eq(tally.all_samples, 4);
}
END_TEST

START_TEST(cut_and_short_stacks_say_so_at_their_root)
{
	test_produce(ring, 0, 1, TEST_END_FULL);
	test_produce(ring, 0, 1, TEST_END_SHORT);
	test_produce(ring, 0, 1, TEST_END_OUTERMOST);
	drain();
	ck_assert_uint_eq(tally.samples[0], 3);
	ck_assert_uint_eq(sp_recording_used(&recording, SP_SECTION_CELLS), 1 + 3);
	ck_assert_uint_eq(loss(SP_LOSS_STACK_CUT), 1);
	ck_assert_uint_eq(loss(SP_LOSS_STACK_SHORT), 1);
}
END_TEST

START_TEST(index_grows_with_the_tables)
{
	for (uint32_t stack = 0; stack < 6000; stack++) {
		ck_assert(test_produce(ring, stack, 1, TEST_END_OUTERMOST));
		if (stack % 64 == 63)
			drain();
	}
	drain();
	ck_assert_uint_eq(loss(SP_LOSS_TABLE_FULL), 0);
	ck_assert_uint_eq(tally.malformed, 0);
	for (uint32_t stack = 0; stack < 6000; stack++)
		ck_assert_uint_eq(tally.samples[stack], 1);
	ck_assert_uint_eq(sp_recording_used(&recording, SP_SECTION_CELLS), 6001);
}
END_TEST

START_TEST(new_index_finds_what_the_old_one_added)
{
	for (uint32_t stack = 0; stack < 1000; stack++)
		test_produce(ring, stack % 100, 1, TEST_END_OUTERMOST);
	drain();
	sp_absorber_fini(absorber);
	ck_assert_int_eq(sp_absorber_init(absorber, &recording), 0);
	for (uint32_t stack = 0; stack < 100; stack++)
		test_produce(ring, stack, 1, TEST_END_OUTERMOST);
	drain();
	ck_assert_uint_eq(sp_recording_used(&recording, SP_SECTION_CELLS), 101);
	for (uint32_t stack = 0; stack < 100; stack++)
		ck_assert_uint_eq(tally.samples[stack], 11);
}
END_TEST

START_TEST(what_no_longer_fits_is_counted_as_dropped_for_its_group)
{
	uint64_t produced = 0;

	test_produce(ring, 0, 1, TEST_END_OUTERMOST);
	ck_assert_uint_eq(slot->group, 7);
	drain();
	forbid_storage();
	for (uint32_t stack = 1; stack < 3000; stack++, produced++) {
		ck_assert(test_produce(ring, stack, 2, TEST_END_OUTERMOST));
		drain();
	}
	ck_assert_uint_gt(loss(SP_LOSS_TABLE_FULL), 0);
	ck_assert_uint_eq(tally.dropped_samples, loss(SP_LOSS_TABLE_FULL));
	ck_assert_uint_eq(tally.all_samples, produced + 1);
	ck_assert_uint_eq(tally.all_periods, 2 * produced + 1);
	/* Stacks that are known still count as themselves. */
	test_produce(ring, 0, 1, TEST_END_OUTERMOST);
	drain();
	ck_assert_uint_eq(tally.samples[0], 2);
}
END_TEST

START_TEST(dropped_samples_of_a_full_cell_table_have_a_place)
{
	struct sp_slot *late;

	forbid_storage();
	for (uint32_t stack = 0; stack < 1000; stack++) {
		test_produce(ring, stack, 1, TEST_END_OUTERMOST);
		drain();
	}
	ck_assert_uint_eq(sp_recording_used(&recording, SP_SECTION_CELLS),
			  sp_recording_reserved(&recording, SP_SECTION_CELLS));
	late = test_thread(&recording, 9, false);
	atomic_store(&late->lost_samples, 3);
	atomic_store(&late->lost_periods, 5);
	ck_assert_uint_eq(drain(), 0);
	ck_assert_uint_eq(tally.all_samples, 1003);
	ck_assert_uint_eq(tally.all_periods, 1005);
	ck_assert_ptr_null(cell_of(1, 9));
}
END_TEST

START_TEST(losses_of_a_thread_are_absorbed_once)
{
	atomic_store(&slot->lost_samples, 3);
	atomic_store(&slot->lost_periods, 4);
	drain();
	drain();
	ck_assert_uint_eq(tally.dropped_samples, 3);
	ck_assert_uint_eq(tally.dropped_periods, 4);
	ck_assert_ptr_nonnull(cell_of(1, 7));
	atomic_store(&slot->lost_samples, 4);
	atomic_store(&slot->lost_periods, 6);
	drain();
	ck_assert_uint_eq(tally.dropped_samples, 4);
	ck_assert_uint_eq(tally.dropped_periods, 6);
}
END_TEST

START_TEST(claimed_slot_is_left_alone)
{
	/* As it looks halfway through its preparation: numbers of its last thread. */
	atomic_store(&slot->lost_periods, 0);
	atomic_store(&slot->absorbed_lost_periods, 100);
	atomic_store(&slot->absorbed_lost_samples, 100);
	atomic_store(&slot->cpu_ns, 5);
	atomic_store(&slot->state, SP_SLOT_CLAIMED);
	drain();
	ck_assert_uint_eq(tally.all_samples, 0);
	ck_assert_uint_eq(tally.all_periods, 0);
	ck_assert_uint_eq(tally.ended_cpu_ns, 0);
	ck_assert_uint_eq(atomic_load(&slot->state), SP_SLOT_CLAIMED);
}
END_TEST

START_TEST(ended_thread_leaves_its_time_its_slot_and_its_ring)
{
	uint32_t id = atomic_load(&slot->ring);
	uint64_t free_rings = atomic_load(&recording.header->free_ring_count);

	test_produce(ring, 5, 1, TEST_END_OUTERMOST);
	atomic_store(&slot->samples, 1);
	atomic_store(&slot->handler_cycles, 99);
	test_thread_end(slot, 4242);
	ck_assert_uint_eq(drain(), 1);
	ck_assert_uint_eq(tally.samples[5], 1);
	ck_assert_uint_eq(tally.ended_cpu_ns, 4242);
	ck_assert_uint_eq(tally.ended_threads, 1);
	ck_assert_uint_eq(tally.ended_samples, 1);
	ck_assert_uint_eq(tally.ended_handler_cycles, 99);
	ck_assert_uint_eq(atomic_load(&slot->state), SP_SLOT_FREE);
	/* The kernel may list it for a moment more: then it is nobody new. */
	ck_assert_uint_eq(atomic_load(&slot->tid), 1000);
	ck_assert_uint_eq(atomic_load(&slot->ring), 0);
	ck_assert_uint_eq(atomic_load(&recording.header->live_slots), 0);
	ck_assert_uint_eq(atomic_load(&recording.header->free_ring_count),
			  free_rings + 1);
	ck_assert_uint_eq(sp_ring_pool_take(&recording), id);
	drain();
	ck_assert_uint_eq(tally.ended_threads, 1);
}
END_TEST

START_TEST(retired_slot_is_freed_and_not_counted_again)
{
	atomic_store(&slot->cpu_ns, 4242);
	atomic_store(&slot->state, SP_SLOT_RETIRED);
	drain();
	ck_assert_uint_eq(atomic_load(&slot->state), SP_SLOT_FREE);
	ck_assert_uint_eq(tally.ended_threads, 0);
}
END_TEST

/* What must not be in a ring: {reserved, first word's size, type, frames}. */
static const struct {
	uint32_t reserved_bytes, size_bytes, type, frame_count;
	bool is_stuck; /* nothing behind it can be found */
} damages[] = {
	{64, 4, SP_RECORD_CPU, 0, true},	   /* no multiple of 8 */
	{64, 0, SP_RECORD_CPU, 0, true},	   /* no size */
	{64, 128, SP_RECORD_CPU, 0, true},	   /* beyond what is reserved */
	{64, 0xfffff8, SP_RECORD_CPU, 0, true},	   /* beyond the ring */
	{64, 64, 0, 0, true},			   /* no type */
	{64, 64, SP_RECORD_DEFERRED + 1, 0, true}, /* of an unknown one */
	{8, 8, SP_RECORD_CPU, 0, false},	   /* too small for its kind */
	{16, 16, SP_RECORD_CPU, 1, false},	   /* a frame more than it has */
	{16, 16, SP_RECORD_CPU, 0xffff, false},	   /* many more */
	{16, 16, SP_RECORD_CPU, 0, false},	   /* none at all */
	{16384, 16384, SP_RECORD_CPU, SP_STACK_FRAMES_MAX, false}, /* one too many */
};

START_TEST(damaged_record_is_counted_once)
{
	struct sp_cpu_record *record;

	record = put_raw(damages[_i].reserved_bytes, damages[_i].size_bytes,
			 damages[_i].type);
	if (damages[_i].frame_count)
		record->frame_count = (uint16_t)damages[_i].frame_count;
	test_produce(ring, 1, 1, TEST_END_OUTERMOST);
	drain();
	drain();
	ck_assert_uint_eq(loss(SP_LOSS_DAMAGED), 1);
	ck_assert_uint_eq(tally.samples[1], !damages[_i].is_stuck);
	/* Its thread's end is also the end of the damage. */
	test_thread_end(slot, 1);
	drain();
	ck_assert_uint_eq(loss(SP_LOSS_DAMAGED), 1);
	slot = test_thread(&recording, 7, true);
	ck_assert_ptr_eq(test_ring_of(&recording, slot), ring);
	test_produce(ring, 2, 1, TEST_END_OUTERMOST);
	drain();
	ck_assert_uint_eq(tally.samples[2], 1);
	ck_assert_uint_eq(tally.malformed, 0);
	ck_assert_uint_eq(loss(SP_LOSS_DAMAGED), 1);
}
END_TEST

START_TEST(record_that_was_never_finished_ends_with_its_thread)
{
	ck_assert_ptr_nonnull(sp_ring_reserve(ring, 64));
	test_produce(ring, 1, 1, TEST_END_OUTERMOST);
	drain();
	ck_assert_uint_eq(loss(SP_LOSS_DAMAGED), 0);
	test_thread_end(slot, 1);
	drain();
	ck_assert_uint_eq(loss(SP_LOSS_DAMAGED), 1);
	for (uint32_t i = 0; i < ring->capacity_bytes; i++)
		ck_assert_uint_eq(ring->data[i], 0);
	ck_assert_uint_eq(atomic_load(&ring->head), atomic_load(&ring->tail));
}
END_TEST

START_TEST(deepest_stack_keeps_room_for_its_end)
{
	const uint32_t frames = SP_STACK_FRAMES_MAX - 1;
	const uint32_t size_bytes = (uint32_t)sizeof(struct sp_cpu_record) + frames * 8;
	struct sp_cpu_record *record = (void *)sp_ring_reserve(ring, size_bytes);

	ck_assert_ptr_nonnull(record);
	record->weight_periods = 1;
	record->end = TEST_END_FULL;
	record->frame_count = (uint16_t)frames;
	for (uint32_t i = 0; i < frames; i++)
		record->frames[i] = sp_frame_make(1, i);
	sp_ring_commit(&record->record, size_bytes, SP_RECORD_CPU);
	drain();
	ck_assert_uint_eq(tally.all_samples, 1);
	ck_assert_uint_eq(tally.dropped_samples, 0);
	ck_assert_uint_eq(loss(SP_LOSS_STACK_CUT), 1);
	ck_assert_uint_eq(test_node(&recording, 1 + frames + 1)->depth_frames,
			  frames + 1);
}
END_TEST

START_TEST(ring_number_that_is_none_is_ignored)
{
	static const uint32_t numbers[] = {0x80000000, 0xffffffff, 0x7fffffff, 1000};

	for (unsigned int i = 0; i < SP_ARRAY_COUNT(numbers); i++) {
		struct sp_slot *odd = test_thread(&recording, 1, false);

		atomic_store(&odd->ring, numbers[i]);
		atomic_store(&odd->group, 0xfffff000 + i);
		test_thread_end(odd, 10);
	}
	drain();
	ck_assert_uint_eq(tally.ended_threads, 4);
	ck_assert_uint_eq(sp_atomic_value(&((const struct sp_group *)sp_recording_item(
						    &recording, SP_SECTION_GROUPS,
						    SP_GROUP_UNKNOWN))
						   ->ended_cpu_ns),
			  40);
}
END_TEST

/* --- walks that were put off --- */

static struct {
	unsigned int calls;
	uint64_t registers_0, stack_address, stack_bytes;
} finished;

static uint32_t finish_stack(void *context, const struct sp_deferred_stack *stack,
			     uint64_t *frames, uint32_t max_frames, uint8_t *end)
{
	ck_assert_ptr_eq(context, &finished);
	ck_assert_uint_eq(max_frames, SP_STACK_FRAMES_MAX - 1);
	finished.calls++;
	finished.registers_0 = stack->registers[0];
	finished.stack_address = stack->stack_address;
	finished.stack_bytes = stack->stack_bytes;
	*end = TEST_END_OUTERMOST;
	return test_stack(40, frames);
}

static void put_deferred(uint64_t stack_bytes_told)
{
	const uint32_t size_bytes = (uint32_t)sizeof(struct sp_cpu_record) + 8 * 3 +
				    (uint32_t)sizeof(struct sp_deferred_stack) + 64;
	struct sp_cpu_record *record = (void *)sp_ring_reserve(ring, size_bytes);
	struct sp_deferred_stack *stack;

	ck_assert_ptr_nonnull(record);
	record->weight_periods = 1;
	record->end = TEST_END_SHORT;
	record->frame_count = (uint16_t)test_stack(20, record->frames);
	stack = (void *)(record->frames + record->frame_count);
	stack->registers[0] = 77;
	stack->stack_address = 4096;
	stack->stack_bytes = stack_bytes_told;
	sp_ring_commit(&record->record, size_bytes, SP_RECORD_DEFERRED);
}

START_TEST(deferred_walk_is_finished_by_whoever_can)
{
	memset(&finished, 0, sizeof(finished));
	absorber->finish_stack = finish_stack;
	absorber->context = &finished;
	put_deferred(64);
	drain();
	ck_assert_uint_eq(finished.calls, 1);
	ck_assert_uint_eq(finished.registers_0, 77);
	ck_assert_uint_eq(finished.stack_address, 4096);
	ck_assert_uint_eq(finished.stack_bytes, 64);
	ck_assert_uint_eq(tally.samples[40], 1);
	ck_assert_uint_eq(loss(SP_LOSS_STACK_SHORT), 0);
}
END_TEST

START_TEST(deferred_walk_that_nobody_finishes_keeps_its_frames)
{
	put_deferred(64);
	drain();
	ck_assert_uint_eq(tally.samples[20], 1);
	ck_assert_uint_eq(loss(SP_LOSS_STACK_SHORT), 1);
}
END_TEST

START_TEST(deferred_stack_that_is_not_all_there_is_not_read)
{
	memset(&finished, 0, sizeof(finished));
	absorber->finish_stack = finish_stack;
	absorber->context = &finished;
	put_deferred(72);
	put_deferred(UINT64_MAX - 7);
	drain();
	ck_assert_uint_eq(finished.calls, 0);
	ck_assert_uint_eq(tally.samples[20], 2);
}
END_TEST

/* --- one consumer, sound tables --- */

START_TEST(only_one_holds_the_consumer_lock)
{
	struct sp_absorber other = {.recording = &recording};
	struct sp_absorber none = {.recording = NULL};

	ck_assert(sp_absorber_try_lock(absorber, 1));
	ck_assert(!sp_absorber_try_lock(&other, 2));
	ck_assert(!sp_absorber_try_lock(absorber, 1));
	sp_absorber_unlock(absorber);
	ck_assert(sp_absorber_try_lock(&other, 2));
	sp_absorber_unlock(&other);
	ck_assert(!sp_absorber_try_lock(&none, 2));
}
END_TEST

START_TEST(tables_that_repeat_themselves_are_refused)
{
	enum sp_section_kind kind = _i ? SP_SECTION_CELLS : SP_SECTION_NODES;
	struct sp_section *section = &recording.header->sections[kind];

	/* Zeroed items: as far as they go the same one, over and over. */
	sp_absorber_fini(absorber);
	ck_assert_int_eq(
		sp_recording_reserve(&recording, kind, section->capacity_items / 2), 0);
	atomic_store(&section->used_items, section->capacity_items / 2);
	ck_assert_int_eq(sp_absorber_init(absorber, &recording), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("absorb");
	TCase *tc = tcase_create("absorb");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup_one_thread, teardown);
	tcase_add_test(tc, samples_are_summed_by_stack_group_and_mode);
	tcase_add_test(tc, cut_and_short_stacks_say_so_at_their_root);
	tcase_add_test(tc, index_grows_with_the_tables);
	tcase_add_test(tc, new_index_finds_what_the_old_one_added);
	tcase_add_test(tc, what_no_longer_fits_is_counted_as_dropped_for_its_group);
	tcase_add_test(tc, dropped_samples_of_a_full_cell_table_have_a_place);
	tcase_add_test(tc, losses_of_a_thread_are_absorbed_once);
	tcase_add_test(tc, claimed_slot_is_left_alone);
	tcase_add_test(tc, ended_thread_leaves_its_time_its_slot_and_its_ring);
	tcase_add_test(tc, retired_slot_is_freed_and_not_counted_again);
	tcase_add_loop_test(tc, damaged_record_is_counted_once, 0,
			    (int)SP_ARRAY_COUNT(damages));
	tcase_add_test(tc, record_that_was_never_finished_ends_with_its_thread);
	tcase_add_test(tc, deepest_stack_keeps_room_for_its_end);
	tcase_add_test(tc, ring_number_that_is_none_is_ignored);
	tcase_add_test(tc, deferred_walk_is_finished_by_whoever_can);
	tcase_add_test(tc, deferred_walk_that_nobody_finishes_keeps_its_frames);
	tcase_add_test(tc, deferred_stack_that_is_not_all_there_is_not_read);
	tcase_add_test(tc, only_one_holds_the_consumer_lock);
	tcase_add_loop_test(tc, tables_that_repeat_themselves_are_refused, 0, 2);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
