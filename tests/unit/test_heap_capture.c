/*
 * What the heap hooks do when they are interrupted, left by a jump, or outlived: blocks
 * are addresses that nobody looks at, and a mark of unfinished work is a stack pointer.
 */
#include "sp_clock.h"
#include "test_heap_capture_fixture.h"

/* Further than any frame of ours between a test and what it calls. */
#define BELOW_BYTES UINT64_C(16384)

/* A stack pointer of frames that are gone, and of some that are not. */
static uint64_t gone(void)
{
	return (uint64_t)(uintptr_t)__builtin_frame_address(0) - BELOW_BYTES;
}

static uint64_t callers(void)
{
	return atomic_load(&slot->stack_high) - 8;
}

static struct sp_live_block *find(uint64_t number)
{
	return find_at(address(number));
}

/* --- samples --- */

START_TEST(block_of_a_handler_that_interrupted_a_sample_is_counted_only)
{
	sp_heap_self->sampling_at = callers();
	sp_heap_note_alloc(address(1), BLOCK_BYTES);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_REENTERED), 1);
	ck_assert_uint_eq(sp_heap_self->sampling_at, callers());
	ck_assert_ptr_null(find(1));
	ck_assert_uint_eq(sp_heap_self->allocations, 1);
}
END_TEST

START_TEST(sample_that_a_jump_has_left_is_in_nobodys_way)
{
	sp_heap_self->sampling_at = gone();
	sp_heap_note_alloc(address(1), BLOCK_BYTES);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_REENTERED), 0);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_LEFT), 1);
	ck_assert_uint_eq(sp_heap_self->sampling_at, 0);
	ck_assert_ptr_nonnull(find(1));
}
END_TEST

START_TEST(jump_beyond_a_sample_leaves_it_and_one_before_it_does_not)
{
	uint64_t mark = gone();

	sp_heap_self->sampling_at = mark;
	sp_heap_before_jump(mark - 64);
	ck_assert_uint_eq(sp_heap_self->sampling_at, mark);
	/* Another stack: a coroutine's, or a handler's own. */
	sp_heap_before_jump(atomic_load(&slot->stack_high) + 4096);
	ck_assert_uint_eq(sp_heap_self->sampling_at, mark);
	sp_heap_before_jump(mark + 64);
	ck_assert_uint_eq(sp_heap_self->sampling_at, 0);
	sp_heap_capture_watch_begin();
	ck_assert(sp_heap_capture_was_idle());
}
END_TEST

START_TEST(call_that_fails_is_not_counted_once_one_was_seen_to)
{
	sp_heap_self->sample_at = 1000;
	ck_assert(sp_heap_count_unsampled(10));
	ck_assert(!sp_heap_count_unsampled(990));
	ck_assert(!sp_heap_count_unsampled(SIZE_MAX));
	sp_heap_note_alloc(NULL, 990);
	ck_assert(!sp_heap_count_unsampled(10));
	sp_heap_note_alloc(NULL, 10);
	ck_assert_uint_eq(sp_heap_self->allocations, 1);
	ck_assert_uint_eq(sp_heap_self->bytes, 10);
}
END_TEST

START_TEST(calls_that_were_seen_to_fail_are_told)
{
	errno = ENOMEM;
	sp_heap_note_alloc(NULL, 10);
	sp_heap_note_alloc(NULL, SIZE_MAX);
	sp_heap_note_alloc(address(1), BLOCK_BYTES);
	ck_assert_uint_eq(sp_atomic_value(&header()->heap_failures), 2);
	ck_assert_int_eq(errno, ENOMEM);
	/* Nor in a child that has not found out yet. */
	sp_heap_self->number = 0;
	sp_heap_note_alloc(NULL, 10);
	ck_assert_uint_eq(sp_atomic_value(&header()->heap_failures), 2);
	ck_assert_uint_eq(sp_heap_work_at, 0);
}
END_TEST

START_TEST(block_that_no_point_falls_into_leaves_no_work_behind)
{
	sp_heap_global.is_exact = false;
	sp_heap_global.rate_bytes = UINT64_C(1) << 30;
	sp_heap_note_alloc(NULL, BLOCK_BYTES);
	sp_heap_note_alloc(address(1), BLOCK_BYTES);
	ck_assert_ptr_null(find(1));
	ck_assert_uint_eq(sp_heap_work_at, 0);
}
END_TEST

/* Of a few sizes in turn, and freed in another order. */
START_TEST(block_stands_for_what_its_own_size_does)
{
	static const uint64_t sizes_bytes[] = {48, 1000, 48, 48, 70000, 1000};
	const uint64_t rate_bytes = 4096;
	int64_t live_bytes = 0;
	double variance = 0;

	sp_heap_global.is_exact = false;
	sp_heap_global.rate_bytes = rate_bytes;
	for (uint64_t i = 0; i < SP_ARRAY_COUNT(sizes_bytes); i++) {
		struct sp_poisson_estimate estimate =
			sp_poisson_estimate(sizes_bytes[i], rate_bytes);

		sp_heap_self->sample_at = sp_heap_self->bytes + 1;
		sp_heap_note_alloc(address(i + 1), sizes_bytes[i]);
		live_bytes += (int64_t)estimate.bytes;
		variance += estimate.variance;
		ck_assert_int_eq(atomic_load(&header()->heap_live_bytes), live_bytes);
		ck_assert_double_eq_tol(sp_heap_self->variance, variance,
					1e-9 * variance);
	}
	for (uint64_t i = SP_ARRAY_COUNT(sizes_bytes); i-- > 0;) {
		sp_heap_note_free(address(i + 1));
		live_bytes -=
			(int64_t)sp_poisson_estimate(sizes_bytes[i], rate_bytes).bytes;
		ck_assert_int_eq(atomic_load(&header()->heap_live_bytes), live_bytes);
	}
	ck_assert_int_eq(live_bytes, 0);
}
END_TEST

/* --- batches --- */

/* The one with sums: all blocks have one cell. */
static struct sp_heap_batch *own_batch(void)
{
	struct sp_heap_batch *batch;

	ck_assert_uint_ne(sp_heap_self->batch, 0);
	batch = sp_recording_item(&sp_capture.recording, SP_SECTION_HEAP_BATCHES,
				  sp_heap_self->batch - 1);
	for (uint32_t i = 0; i < sp_heap_self->batch_count; i++)
		if (atomic_load(&batch[i].sequence) != 0)
			return &batch[i];
	ck_abort_msg("the thread has freed nothing");
	return NULL;
}

/* As a jump leaves it: written down, none of it done. */
static void leave_in_the_middle_of_a_free(uint64_t number)
{
	struct sp_heap_batch *batch = own_batch();
	struct sp_live_block *block = find(number);

	ck_assert_ptr_nonnull(block);
	for (uint32_t i = 0; i < SP_HEAP_SUMS; i++)
		batch->sums[i] = atomic_load(&batch->lines[batch->line].sums[i]);
	batch->sums[SP_HEAP_SUM_SAMPLES]++;
	batch->sums[SP_HEAP_SUM_OBJECTS] = sp_double_to_bits(
		sp_double_from_bits(batch->sums[SP_HEAP_SUM_OBJECTS]) + 1);
	batch->block = (uint64_t)(block - (struct sp_live_block *)sp_recording_item(
						  &sp_capture.recording,
						  SP_SECTION_LIVE_BLOCKS, 0));
	batch->block_word = atomic_load(&block->word);
	atomic_fetch_add(&batch->sequence, 1);
}

static void make_blocks(uint64_t count)
{
	for (uint64_t i = 1; i <= count; i++)
		sp_heap_note_alloc(address(i), BLOCK_BYTES);
}

START_TEST(free_that_a_jump_has_left_is_finished_by_the_next)
{
	make_blocks(3);
	sp_heap_note_free(address(1));
	leave_in_the_middle_of_a_free(2);
	sp_heap_self->freeing_at = gone();
	sp_heap_note_free(address(3));
	ck_assert_uint_eq(sp_heap_self->freeing_at, 0);
	ck_assert_ptr_null(find(2));
	ck_assert_double_eq(SUM(freed_objects), 3);
}
END_TEST

START_TEST(free_that_a_jump_has_left_counts_once_when_it_is_done_again)
{
	make_blocks(2);
	sp_heap_note_free(address(1));
	leave_in_the_middle_of_a_free(2);
	sp_heap_self->freeing_at = gone();
	sp_heap_note_free(address(2));
	ck_assert_ptr_null(find(2));
	ck_assert_double_eq(SUM(freed_objects), 2);
	ck_assert_int_eq(atomic_load(&header()->heap_live_bytes) +
				 sp_heap_self->pending_live_bytes,
			 0);
}
END_TEST

START_TEST(free_that_a_jump_is_about_to_leave_is_finished)
{
	make_blocks(2);
	sp_heap_note_free(address(1));
	leave_in_the_middle_of_a_free(2);
	sp_heap_self->freeing_at = gone();
	sp_heap_before_jump(callers());
	ck_assert_ptr_null(find(2));
	ck_assert_double_eq(SUM(freed_objects), 2);
}
END_TEST

START_TEST(free_in_a_handler_that_interrupted_one_leaves_the_batch_alone)
{
	struct sp_heap_batch *batch;
	uint64_t sequence;

	make_blocks(2);
	sp_heap_note_free(address(1));
	batch = own_batch();
	sequence = atomic_load(&batch->sequence);
	sp_heap_self->freeing_at = callers();
	sp_heap_note_free(address(2));
	ck_assert_uint_eq(atomic_load(&batch->sequence), sequence);
	ck_assert_ptr_null(find(2));
	ck_assert_double_eq(SUM(freed_objects), 2);
}
END_TEST

/* Its thread may not run again for long; when it does, that is no second free. */
START_TEST(free_under_way_is_absorbed_once)
{
	make_blocks(3);
	sp_heap_note_free(address(1));
	leave_in_the_middle_of_a_free(2);
	ck_assert_double_eq(SUM(freed_objects), 2);
	sp_heap_batch_finish(sp_heap_self);
	ck_assert_ptr_null(find(2));
	sp_heap_note_free(address(3));
	ck_assert_double_eq(SUM(freed_objects), 3);
}
END_TEST

START_TEST(batches_of_ended_threads_serve_the_next)
{
	uint64_t used;

	make_blocks(1);
	sp_heap_note_free(address(1));
	used = sp_recording_used(&sp_capture.recording, SP_SECTION_HEAP_BATCHES);
	for (unsigned int i = 0; i < 100; i++) {
		sp_heap_thread_end();
		begin_thread();
		make_blocks(1);
		sp_heap_note_free(address(1));
	}
	ck_assert_uint_eq(
		sp_recording_used(&sp_capture.recording, SP_SECTION_HEAP_BATCHES), used);
	ck_assert_double_eq(SUM(freed_objects), 101);
}
END_TEST

/* A jump on a coroutine's stack may come back: what was left is nobody else's. */
START_TEST(jump_on_a_stack_without_bounds_leaves_memo_and_batches)
{
	uint64_t mark = atomic_load(&slot->stack_high) + 4096;
	struct sp_heap_batch *batch;

	make_blocks(3);
	sp_heap_note_free(address(1));
	batch = own_batch();
	leave_in_the_middle_of_a_free(2);
	sp_heap_self->freeing_at = mark;
	sp_heap_self->sampling_at = mark;
	sp_heap_before_jump(mark - 64);
	ck_assert_uint_eq(sp_heap_self->freeing_at, mark);
	ck_assert_uint_eq(sp_heap_self->sampling_at, mark);
	sp_heap_before_jump(mark + 64);
	ck_assert_uint_eq(sp_heap_self->freeing_at, 0);
	ck_assert_uint_eq(sp_heap_self->sampling_at, 0);
	ck_assert_ptr_null(sp_heap_self->memo);
	ck_assert_ptr_null(find(2));
	sp_heap_note_free(address(3));
	ck_assert_ptr_ne(own_batch(), batch);
	ck_assert_double_eq(SUM(freed_objects), 3);
}
END_TEST

START_TEST(free_that_a_thread_ended_in_is_finished)
{
	make_blocks(2);
	sp_heap_note_free(address(1));
	leave_in_the_middle_of_a_free(2);
	sp_heap_self->freeing_at = gone();
	sp_heap_thread_end();
	ck_assert_double_eq(SUM(freed_objects), 2);
}
END_TEST

/* --- threads --- */

START_TEST(nobody_waits_for_a_sample_that_a_thread_ended_in)
{
	make_blocks(1);
	sp_heap_self->sampling_at = gone();
	sp_heap_capture_watch_begin();
	ck_assert(!sp_heap_capture_was_idle());
	sp_heap_thread_end();
	ck_assert(sp_heap_capture_was_idle());
}
END_TEST

/* Where each is at work half of the time all are idle at once next to never. */
START_TEST(threads_need_not_be_idle_at_once)
{
	struct sp_heap_thread *first = sp_heap_self, *second;

	/* As another thread has it. */
	sp_heap_self = NULL;
	begin_thread();
	second = sp_heap_self;
	ck_assert_ptr_ne(second, first);
	sp_heap_capture_watch_begin();
	first->sampling_at = gone();
	ck_assert(!sp_heap_capture_was_idle());
	first->sampling_at = 0;
	second->sampling_at = gone();
	ck_assert(sp_heap_capture_was_idle());
	sp_heap_capture_watch_begin();
	ck_assert(!sp_heap_capture_was_idle());
	second->sampling_at = 0;
}
END_TEST

START_TEST(thread_in_the_place_of_an_ended_one_is_another)
{
	struct sp_heap_thread *place = sp_heap_self;

	make_blocks(2);
	sp_heap_note_free(address(1));
	ck_assert_double_eq(SUM(cross_objects), 0);
	sp_heap_thread_end();
	begin_thread();
	ck_assert_ptr_eq(sp_heap_self, place);
	sp_heap_note_free(address(2));
	ck_assert_double_eq(SUM(cross_objects), 1);
}
END_TEST

START_TEST(counters_of_a_vanished_thread_are_not_those_of_its_slots_next_one)
{
	make_blocks(5);
	sp_heap_thread_vanished(slot);
	sp_heap_self = NULL;
	ck_assert_uint_eq(atomic_load(&slot->heap_allocations), 5);
	/* As a slot is prepared for its next thread. */
	atomic_store(&slot->heap_allocations, 0);
	sp_heap_capture_publish(&sp_capture.recording);
	ck_assert_uint_eq(atomic_load(&slot->heap_allocations), 0);
}
END_TEST

/* In a handler that interrupted the thread's end. */
START_TEST(state_that_a_fork_has_wiped_is_ready_for_the_childs_threads)
{
	struct sp_heap_thread *place = sp_heap_self;

	memset(place, 0, sizeof(*place));
	sp_heap_capture_forked();
	sp_heap_thread_end_life(place);
	slot = begin_thread();
	ck_assert_ptr_eq(sp_heap_self, place);
	make_blocks(5);
	sp_heap_capture_publish(&sp_capture.recording);
	ck_assert_uint_eq(atomic_load(&slot->heap_allocations), 5);
	ck_assert_uint_eq(atomic_load(&header()->orphan_heap_allocations), 0);
}
END_TEST

/* As where blocks are counted, but none is sampled. */
START_TEST(free_of_nothing_is_no_free_without_a_filter_either)
{
	ck_assert(!sp_heap_count_unsampled_free(NULL));
	atomic_store(&sp_alloc_line.filter, SP_HEAP_FILTER_NONE);
	ck_assert(!sp_heap_count_unsampled_free(NULL));
	ck_assert(sp_heap_count_unsampled_free(address(1)));
	ck_assert_uint_eq(sp_heap_self->frees, 1);
}
END_TEST

/* --- the peak --- */

START_TEST(peak_beyond_all_bits_of_the_mark_does_not_move_downwards)
{
	for (uint64_t i = 1; i <= 20; i++)
		sp_heap_note_alloc(address(i), UINT64_C(1) << 40);
	for (uint64_t i = 1; i <= 20; i++)
		sp_heap_note_free(address(i));
	ck_assert_uint_eq(sp_heap_mark_epoch(atomic_load(&header()->heap_mark)), 1);
	ck_assert_uint_ge(sp_heap_mark_bytes(atomic_load(&header()->heap_mark)),
			  (UINT64_C(1) << 44) - 1);
}
END_TEST

/* --- ages --- */

START_TEST(age_is_right_when_the_bits_of_births_are_used_up)
{
	const uint64_t all_cycles = UINT64_C(1) << (44 + SP_HEAP_BIRTH_SHIFT);
	const uint64_t age_cycles = UINT64_C(1) << 40;

	header()->start_cycles = sp_clock_cycles() - (all_cycles - age_cycles / 2);
	make_blocks(1);
	header()->start_cycles -= age_cycles;
	sp_heap_note_free(address(1));
	ck_assert_double_ge(SUM(age_cycles), (double)age_cycles);
	ck_assert_double_lt(SUM(age_cycles), 2 * (double)age_cycles);
}
END_TEST

START_TEST(block_from_a_core_whose_clock_is_ahead_has_no_age)
{
	make_blocks(1);
	header()->start_cycles = sp_clock_cycles() + (UINT64_C(1) << 20);
	sp_heap_note_free(address(1));
	ck_assert_double_eq(SUM(freed_objects), 1);
	ck_assert_double_lt(SUM(age_cycles), 1e9);
}
END_TEST

/* A program that is not profiled pays for being asked alone. */
START_TEST(hooks_pass_all_through_where_nothing_has_begun)
{
	ck_assert(!sp_heap_passes_through());
	sp_heap_capture_end_early();
	ck_assert(!sp_heap_passes_through());
	atomic_store(&sp_heap_global.is_ready, false);
	sp_heap_capture_end_early();
	ck_assert(sp_heap_passes_through());
	sp_heap_capture_begin(&sp_capture.recording);
	ck_assert(!sp_heap_passes_through());
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("hooks");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests,
		       block_of_a_handler_that_interrupted_a_sample_is_counted_only);
	tcase_add_test(tests, sample_that_a_jump_has_left_is_in_nobodys_way);
	tcase_add_test(tests, hooks_pass_all_through_where_nothing_has_begun);
	tcase_add_test(tests, jump_beyond_a_sample_leaves_it_and_one_before_it_does_not);
	tcase_add_test(tests, call_that_fails_is_not_counted_once_one_was_seen_to);
	tcase_add_test(tests, calls_that_were_seen_to_fail_are_told);
	tcase_add_test(tests, block_that_no_point_falls_into_leaves_no_work_behind);
	tcase_add_test(tests, block_stands_for_what_its_own_size_does);
	tcase_add_test(tests, free_that_a_jump_has_left_is_finished_by_the_next);
	tcase_add_test(tests,
		       free_that_a_jump_has_left_counts_once_when_it_is_done_again);
	tcase_add_test(tests, free_that_a_jump_is_about_to_leave_is_finished);
	tcase_add_test(tests,
		       free_in_a_handler_that_interrupted_one_leaves_the_batch_alone);
	tcase_add_test(tests, free_under_way_is_absorbed_once);
	tcase_add_test(tests, batches_of_ended_threads_serve_the_next);
	tcase_add_test(tests, jump_on_a_stack_without_bounds_leaves_memo_and_batches);
	tcase_add_test(tests, free_that_a_thread_ended_in_is_finished);
	tcase_add_test(tests, nobody_waits_for_a_sample_that_a_thread_ended_in);
	tcase_add_test(tests, threads_need_not_be_idle_at_once);
	tcase_add_test(tests, thread_in_the_place_of_an_ended_one_is_another);
	tcase_add_test(tests,
		       state_that_a_fork_has_wiped_is_ready_for_the_childs_threads);
	tcase_add_test(tests,
		       counters_of_a_vanished_thread_are_not_those_of_its_slots_next_one);
	tcase_add_test(tests, free_of_nothing_is_no_free_without_a_filter_either);
	tcase_add_test(tests, peak_beyond_all_bits_of_the_mark_does_not_move_downwards);
	tcase_add_test(tests, age_is_right_when_the_bits_of_births_are_used_up);
	tcase_add_test(tests, block_from_a_core_whose_clock_is_ahead_has_no_age);
	return run_tests("heap capture", tests);
}
