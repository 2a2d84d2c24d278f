/*
 * The profiles of a heap: what a hand-made recording must come to, value by value.
 */
#include "test_profile_heap_fixture.h"

#include "pprof_once.h"

#include <stdlib.h>

START_TEST(empty_heap_has_no_samples)
{
	for (unsigned int which = 0; which < SP_HEAP_VIEWS; which++) {
		ck_assert_int_eq(sum_of(which, 0), 0);
		ck_assert_uint_eq(sample_of(which, first_leaf).frame_count, 0);
	}
}
END_TEST

START_TEST(every_value_is_exact_where_every_block_is_recorded)
{
	add_absorbed(first);
	for (int i = 0; i < 3; i++)
		add_live(first, 50, 0);
	add_freed(first, 60, YOUNG, true);
	add_freed(first, 61, OLD, false);
	add_live(second, RATE, 0);
	assert_values(SP_HEAP_VIEW_HEAP, first_leaf, 10 + 3 + 2, 640 + 150 + 121, 3, 150);
	assert_values(SP_HEAP_VIEW_HEAP, second_leaf, 1, RATE, 1, RATE);
	assert_values(SP_HEAP_VIEW_LIFETIMES, first_leaf, 12, 640 + 121, 5, 256 + 60, 4,
		      3000000000 + NS(YOUNG + OLD));
	assert_values(SP_HEAP_VIEW_LEAKS, first_leaf, 3, 150);
	assert_values(SP_HEAP_VIEW_PEAK, first_leaf, 3, 150);
}
END_TEST

START_TEST(what_has_not_been_freed_has_no_lifetime)
{
	add_live(first, 50, 0);
	add_freed(second, 70, OLD, false);
	ck_assert_uint_eq(sample_of(SP_HEAP_VIEW_LIFETIMES, first_leaf).frame_count, 0);
	assert_values(SP_HEAP_VIEW_LIFETIMES, second_leaf, 1, 70, 0, 0, 0, NS(OLD));
	ck_assert_uint_eq(sample_of(SP_HEAP_VIEW_LEAKS, second_leaf).frame_count, 0);
}
END_TEST

START_TEST(sampled_block_stands_for_its_weight)
{
	/* 1 / (1 - 1/e), and half a million small ones. */
	const double large = 1.5819767068693265, small = 8192.5000101725;

	sampled();
	add_live(second, RATE, 0);
	add_freed(second, RATE, OLD, false);
	add_live(first, 64, 0);
	assert_values(SP_HEAP_VIEW_HEAP, first_leaf, 8193, 524320, 8193, 524320);
	ck_assert_double_eq_tol(totals()[SP_HEAP_INUSE_OBJECTS], large + small, 1e-6);
	ck_assert_double_eq_tol(totals()[SP_HEAP_ALLOC_BYTES],
				2 * large * (double)RATE + small * 64, 1e-3);
	ck_assert_double_eq_tol(totals()[SP_HEAP_FREED_BYTES], large * (double)RATE,
				1e-3);
	ck_assert_double_eq_tol(totals()[SP_HEAP_AGE_CYCLES], large * OLD, 1e-3);
}
END_TEST

START_TEST(rounding_never_adds_up)
{
	const double weight = sp_poisson_weight(RATE / 2, RATE);
	const unsigned int cells = 400;
	double exact = 0;

	sampled();
	for (unsigned int i = 0; i < cells; i++) {
		add_live(test_heap_add_cell(&recording), RATE / 2, 0);
		exact += weight;
	}
	ck_assert(fabs(weight - round(weight)) > 0.4);
	ck_assert_double_eq_tol((double)sum_of(SP_HEAP_VIEW_HEAP, 0), exact, 0.5);
	ck_assert_double_eq_tol((double)sum_of(SP_HEAP_VIEW_HEAP, 3),
				exact * (double)RATE / 2, 0.5);
	/* No sample is more than one off. */
	ck_assert_double_eq_tol(
		(double)sample_of(SP_HEAP_VIEW_HEAP, leaf_of(second + 7)).values[0],
		weight, 1);
}
END_TEST

START_TEST(entries_that_are_no_blocks_count_for_nothing)
{
	add_live(first, 50, 0);
	/* Inside realloc: no address, and in use all the same. */
	atomic_store(&add_live(first, 70, 0)->word, SP_LIVE_LIVE);
	atomic_store(&add_live(first, 80, 0)->word, SP_LIVE_CLAIMED);
	atomic_store(&add_live(first, 90, 0)->word, SP_LIVE_FREE);
	assert_values(SP_HEAP_VIEW_HEAP, first_leaf, 2, 120, 2, 120);
}
END_TEST

START_TEST(block_of_no_bytes_is_an_object)
{
	add_live(first, 0, 0);
	assert_values(SP_HEAP_VIEW_HEAP, first_leaf, 1, 0, 1, 0);
}
END_TEST

START_TEST(blocks_that_were_not_followed_are_only_allocated)
{
	atomic_store(&test_heap_cell(&recording, first)->untracked_objects_q8, 256 * 7);
	atomic_store(&test_heap_cell(&recording, first)->untracked_bytes, 700);
	assert_values(SP_HEAP_VIEW_HEAP, first_leaf, 7, 700, 0, 0);
	ck_assert_uint_eq(sample_of(SP_HEAP_VIEW_LIFETIMES, first_leaf).frame_count, 0);
}
END_TEST

START_TEST(blocks_without_room_for_their_stack_are_dropped)
{
	struct sp_view_sample sample;

	add_live(SP_HEAP_CELL_DROPPED, 50, 0);
	sample = sample_of(SP_HEAP_VIEW_HEAP, sp_frame_pseudo(SP_PSEUDO_DROPPED));
	ck_assert_uint_eq(sample.frame_count, 1);
	ck_assert_uint_eq(sample.label_count, 0);
	ck_assert_int_eq(sample.values[3], 50);
}
END_TEST

START_TEST(sample_tells_its_stack_and_size_class)
{
	uint64_t frames[TEST_FRAMES_MAX];
	struct sp_view_sample sample;

	add_live(first, 50, 0);
	sample = sample_of(SP_HEAP_VIEW_HEAP, first_leaf);
	ck_assert_uint_eq(sample.frame_count, test_stack(first, frames));
	ck_assert_mem_eq(sample.frames, frames, sample.frame_count * sizeof(frames[0]));
	ck_assert_uint_eq(sample.label_count, 1);
	ck_assert_str_eq(sample.labels[0].key, "bytes");
	ck_assert_ptr_null(sample.labels[0].str);
	ck_assert_int_eq(sample.labels[0].number, 16 * first);
	ck_assert_str_eq(sample.labels[0].unit, "bytes");
}
END_TEST

START_TEST(nothing_changes_after_the_profile_was_made)
{
	add_live(first, 50, 0);
	view_of(SP_HEAP_VIEW_HEAP);
	add_live(first, 70, 0);
	add_absorbed(second);
	atomic_store(&test_heap_cell(&recording, first)->untracked_bytes, 700);
	assert_values(SP_HEAP_VIEW_HEAP, first_leaf, 1, 50, 1, 50);
	ck_assert_uint_eq(sample_of(SP_HEAP_VIEW_HEAP, second_leaf).frame_count, 0);
}
END_TEST

START_TEST(absorbing_changes_no_value)
{
	int64_t before[SP_HEAP_VIEWS][SP_VIEW_VALUES_MAX];

	sampled();
	make_past_peak(5);
	add_freed(first, 60, YOUNG, true);
	add_freed(second, RATE, OLD, false);
	add_freed(second, RATE / 3, OLD * 1000000, true);
	for (unsigned int which = 0; which < SP_HEAP_VIEWS; which++) {
		for (unsigned int i = 0; i < view_of(which)->value_type_count; i++)
			before[which][i] = sum_of(which, i);
	}
	sp_heap_profile_destroy(profile);
	profile = NULL;
	ck_assert_int_eq(test_drain(&recording), 0);
	for (uint64_t i = 0; i < test_heap_entries(&recording); i++)
		ck_assert_uint_ne(sp_atomic_value(&test_heap_entry(&recording, i)->word) &
					  SP_LIVE_STATE_MASK,
				  SP_LIVE_FREED);
	for (unsigned int which = 0; which < SP_HEAP_VIEWS; which++) {
		for (unsigned int i = 0; i < view_of(which)->value_type_count; i++)
			ck_assert_msg(sum_of(which, i) == before[which][i],
				      "%s of %s was %lld and is %lld",
				      view_of(which)->value_types[i].type,
				      view_of(which)->kind, (long long)before[which][i],
				      (long long)sum_of(which, i));
	}
}
END_TEST

START_TEST(ages_take_a_larger_unit_rather_than_overflow)
{
	struct sp_heap_cell *cell = test_heap_cell(&recording, first);

	/* A million blocks of three hours, in cycles. */
	store(&cell->freed_objects, 1e6);
	store(&cell->age_cycles, 1e6 * 2 * 10800e9);
	ck_assert_str_eq(view_of(SP_HEAP_VIEW_LIFETIMES)->value_types[5].unit,
			 "microseconds");
	ck_assert_int_eq(sum_of(SP_HEAP_VIEW_LIFETIMES, 5), INT64_C(10800000000000000));
}
END_TEST

START_TEST(without_a_clock_there_are_no_ages)
{
	atomic_store(&recording.header->cycles_per_second, 0);
	add_freed(first, 60, YOUNG, false);
	assert_values(SP_HEAP_VIEW_LIFETIMES, first_leaf, 1, 60, 1, 60, 0, 0);
	ck_assert(has_comment(SP_HEAP_VIEW_LIFETIMES, "ages are unknown"));
}
END_TEST

static void count(struct sp_slot *slot, uint64_t allocations, uint64_t frees,
		  uint64_t bytes, double variance)
{
	atomic_store(&slot->heap_allocations, allocations);
	atomic_store(&slot->heap_frees, frees);
	atomic_store(&slot->heap_bytes, bytes);
	store(&slot->heap_variance, variance);
}

/* Two threads that had told of some of 5 blocks of 380 bytes, 2 of which were freed. */
static void count_some_of_five(bool is_final)
{
	count(test_thread(&recording, 1, false), 2, 0, 120, 0);
	count(test_thread(&recording, 1, false), 1, 1, 60, 0);
	atomic_store(&recording.header->are_clocks_final, is_final);
	for (int i = 0; i < 2; i++)
		add_freed(first, 60, YOUNG, false);
	for (int i = 0; i < 2; i++)
		add_live(first, 80, 0);
	add_live(second, 100, 0);
	view_of(SP_HEAP_VIEW_HEAP);
}

START_TEST(records_of_killed_process_tell_what_its_counters_do_not)
{
	const struct sp_heap_totals *checked;

	count_some_of_five(false);
	checked = &sp_heap_profile_values(profile)->totals;
	ck_assert_uint_eq(checked->exact_allocations, 5);
	ck_assert_uint_eq(checked->exact_frees, 2);
	ck_assert_uint_eq(checked->exact_bytes, 380);
}
END_TEST

START_TEST(counters_that_are_final_stay)
{
	const struct sp_heap_totals *checked;

	count_some_of_five(true);
	checked = &sp_heap_profile_values(profile)->totals;
	ck_assert_uint_eq(checked->exact_allocations, 3);
	ck_assert_uint_eq(checked->exact_frees, 1);
	ck_assert_uint_eq(checked->exact_bytes, 180);
}
END_TEST

START_TEST(estimate_is_held_against_the_exact_number)
{
	const struct sp_heap_totals *checked;
	struct sp_slot *ended = test_thread(&recording, 1, false);

	sampled();
	count(test_thread(&recording, 1, false), 10, 4, 1000, 90000);
	count(ended, 20, 5, 2000, 70000);
	test_thread_end(ended, 1);
	atomic_store(&recording.header->ended_heap_allocations, 100);
	atomic_store(&recording.header->ended_heap_frees, 50);
	atomic_store(&recording.header->ended_heap_bytes, 500000);
	store(&recording.header->ended_heap_variance, 9.99984e9);
	atomic_store(&recording.header->orphan_heap_allocations, 1);
	atomic_store(&recording.header->orphan_heap_frees, 2);
	atomic_store(&recording.header->orphan_heap_bytes, 3);
	add_live(first, 64, 0); /* for 524,320 bytes */
	view_of(SP_HEAP_VIEW_HEAP);
	checked = &sp_heap_profile_values(profile)->totals;
	ck_assert_uint_eq(checked->exact_allocations, 131);
	ck_assert_uint_eq(checked->exact_frees, 61);
	ck_assert_uint_eq(checked->exact_bytes, 503003);
	ck_assert_double_eq_tol(checked->standard_error_bytes, 100000, 1e-6);
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP,
			      "exact: 503003 bytes in 131 allocations, 61 frees"));
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP,
			      "estimate: 524320 bytes allocated, 1.0424 times"));
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP, "standard error is 100000 bytes "
						 "(19.88 %), it is 0.21 standard "
						 "errors above"));
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP, "a point every 524288 allocated bytes"));
}
END_TEST

/* 8 ms on a thread, 4 ms on one that ended, 2 ms on threads without a slot. */
static void look(uint64_t agent_ns, uint64_t cpu_ns)
{
	const uint64_t ms_cycles = TEST_CYCLES_PER_SECOND / 1000;

	atomic_store(&test_thread(&recording, 1, false)->heap_cost_cycles, 8 * ms_cycles);
	atomic_store(&recording.header->ended_heap_cost_cycles, 4 * ms_cycles);
	atomic_store(&recording.header->orphan_heap_cost_cycles, 2 * ms_cycles);
	atomic_store(&recording.header->agent_cpu_ns, agent_ns);
	atomic_store(&recording.header->process_cpu_ns, cpu_ns);
}

START_TEST(each_profile_tells_what_looking_cost)
{
	look(3000000, 1000000000);
	for (unsigned int which = 0; which < SP_HEAP_VIEWS; which++)
		ck_assert(has_comment(
			which, "cost of looking: agent thread 0.30 % of CPU time, "
			       "recording samples and their ends 1.40 % (estimate); "
			       "counting each call is not in it, and not measured"));
}
END_TEST

/* It was killed long after its clock was read. */
START_TEST(looking_costs_no_more_than_there_was)
{
	look(6000000, 9000000);
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP, "agent thread 30.00 % of CPU time, "
						 "recording samples and their ends "
						 "70.00 %"));
}
END_TEST

START_TEST(cost_of_looking_is_unknown_where_clocks_are)
{
	look(0, 0);
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP, "agent thread unknown, recording "
						 "samples and their ends unknown;"));
	sp_heap_profile_destroy(profile);
	profile = NULL;
	look(1000, 100000);
	atomic_store(&recording.header->cycles_per_second, 0);
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP, "agent thread 1.00 % of CPU time, "
						 "recording samples and their ends "
						 "unknown;"));
}
END_TEST

START_TEST(failures_are_told_where_some_may_be_counted)
{
	sampled();
	atomic_store(&recording.header->heap_failures, 3);
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP, "failed: 3 calls"));
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP, "points of sampling"));
}
END_TEST

START_TEST(failures_are_not_told_where_none_is_counted)
{
	atomic_store(&recording.header->heap_failures, 3);
	ck_assert(!has_comment(SP_HEAP_VIEW_HEAP, "failed: "));
}
END_TEST

START_TEST(losses_and_blind_spots_are_told)
{
	atomic_store(&recording.header->losses[SP_LOSS_HEAP_UNTRACKED], 12);
	atomic_store(&recording.header->losses[SP_LOSS_RING_FULL], 13);
	atomic_store(&recording.header->heap_coverage, SP_HEAP_PROGRAM_HAS_OWN);
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP, "loss: 12 sampled blocks not followed"));
	ck_assert(!has_comment(SP_HEAP_VIEW_HEAP, "loss: 13"));
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP, "the program defines malloc() itself"));
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP, "every allocation is recorded"));
	ck_assert_uint_eq(sp_heap_profile_values(profile)->totals.lost_samples, 12);
}
END_TEST

/* Where somebody stands in front of us, the numbers tell whether he passes calls on. */
static const struct {
	enum sp_heap_coverage coverage;
	uint64_t allocations;
	const char *told;
} coverages[] = {
	{SP_HEAP_COVERS_ALL, 0, "not one allocation was seen"},
	{SP_HEAP_COVERS_ALL, 3, NULL},
	{SP_HEAP_LIBRARY_FIRST, 0, "it does not see the program's"},
	{SP_HEAP_LIBRARY_FIRST, 3, "sees what that takes from the malloc() behind it"},
	{SP_HEAP_PROGRAM_HAS_OWN, 0, "the profiler does not see its"},
	{SP_HEAP_PROGRAM_HAS_OWN, 3, "sees what that, or a library, takes from"},
};

START_TEST(what_is_not_covered_is_told_as_far_as_it_is_known)
{
	atomic_store(&recording.header->heap_coverage, coverages[_i].coverage);
	atomic_store(&recording.header->orphan_heap_allocations,
		     coverages[_i].allocations);
	ck_assert(has_comment(SP_HEAP_VIEW_HEAP, "covered: ") == !!coverages[_i].told);
	if (coverages[_i].told)
		ck_assert(has_comment(SP_HEAP_VIEW_HEAP, coverages[_i].told));
}
END_TEST

START_TEST(damage_is_left_out)
{
	struct sp_heap_cell *cell = test_heap_cell(&recording, first);

	add_live(first, 50, 0);
	add_live(second, 70, 0);
	add_live(99, 90, 0); /* no such cell */
	store(&cell->freed_bytes, NAN);
	store(&cell->age_cycles, -1.0);
	store(&cell->short_bytes, INFINITY);
	cell = test_heap_cell(&recording, second);
	cell->stack = UINT32_MAX;
	assert_values(SP_HEAP_VIEW_HEAP, first_leaf, 1, 50, 1, 50);
	ck_assert_uint_eq(sample_of(SP_HEAP_VIEW_HEAP, second_leaf).frame_count, 0);
	cell->stack = 0;
	((struct sp_heap_stack *)sp_recording_item(&recording, SP_SECTION_HEAP_STACKS, 0))
		->frame_count = UINT32_MAX;
	ck_assert_int_eq(sum_of(SP_HEAP_VIEW_HEAP, 0), 1);
}
END_TEST

START_TEST(sums_beyond_all_reason_stay_within_64_bits)
{
	store(&test_heap_cell(&recording, first)->freed_bytes, 1e29);
	store(&test_heap_cell(&recording, second)->freed_bytes, 1e29);
	ck_assert_int_eq(sum_of(SP_HEAP_VIEW_HEAP, 1), INT64_C(9000000000000000000));
}
END_TEST

START_TEST(profile_without_memory_is_none)
{
	size_t allowed = 0;

	test_heap_reset_peak();
	for (; !profile; allowed++) {
		ck_assert_uint_eq(test_heap_used_bytes(), 0);
		test_heap_refuse_after(allowed);
		profile = sp_heap_profile_create(&recording);
	}
	test_heap_refuse_after(SIZE_MAX);
	ck_assert_uint_gt(allowed, 2);
}
END_TEST

static struct profile *decode(enum sp_heap_view which)
{
	struct memory_sink sink;
	struct profile *decoded;
	char error[256] = "";

	memory_sink_init(&sink);
	ck_assert_int_eq(pprof_write_once(view_of(which), &sink.sink), 0);
	decoded = profile_decode(sink.data, sink.size_bytes, error, sizeof(error));
	ck_assert_msg(decoded != NULL, "%s", error);
	ck_assert_msg(profile_check(decoded, error, sizeof(error)), "%s", error);
	memory_sink_fini(&sink);
	return decoded;
}

START_TEST(readers_get_what_go_would_give_them)
{
	static const char *const types[] = {"alloc_objects", "alloc_space",
					    "inuse_objects", "inuse_space"};
	const Perftools__Profiles__Profile *message;
	const Perftools__Profiles__Label *label;
	struct profile *decoded;

	sampled();
	add_live(first, 50, 0);
	decoded = decode(SP_HEAP_VIEW_HEAP);
	message = decoded->message;
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(profile_value_index(decoded, types[i]), i);
	ck_assert_str_eq(profile_string(decoded, message->default_sample_type),
			 "inuse_space");
	ck_assert_str_eq(profile_string(decoded, message->period_type->type), "space");
	ck_assert_str_eq(profile_string(decoded, message->period_type->unit), "bytes");
	ck_assert_int_eq(message->period, RATE);
	ck_assert_uint_eq(message->n_sample, 1);
	label = profile_sample_label(decoded, message->sample[0], "bytes");
	ck_assert_ptr_nonnull(label);
	ck_assert_int_eq(label->num, 16 * first);
	ck_assert_str_eq(profile_string(decoded, label->num_unit), "bytes");
	profile_free(decoded);
	for (unsigned int which = 0; which < SP_HEAP_VIEWS; which++)
		profile_free(decode(which));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("profile_heap");
	TCase *tc = tcase_create("profile_heap");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, empty_heap_has_no_samples);
	tcase_add_test(tc, every_value_is_exact_where_every_block_is_recorded);
	tcase_add_test(tc, what_has_not_been_freed_has_no_lifetime);
	tcase_add_test(tc, sampled_block_stands_for_its_weight);
	tcase_add_test(tc, rounding_never_adds_up);
	tcase_add_test(tc, entries_that_are_no_blocks_count_for_nothing);
	tcase_add_test(tc, block_of_no_bytes_is_an_object);
	tcase_add_test(tc, blocks_that_were_not_followed_are_only_allocated);
	tcase_add_test(tc, blocks_without_room_for_their_stack_are_dropped);
	tcase_add_test(tc, sample_tells_its_stack_and_size_class);
	tcase_add_test(tc, nothing_changes_after_the_profile_was_made);
	tcase_add_test(tc, absorbing_changes_no_value);
	tcase_add_test(tc, ages_take_a_larger_unit_rather_than_overflow);
	tcase_add_test(tc, without_a_clock_there_are_no_ages);
	tcase_add_test(tc, records_of_killed_process_tell_what_its_counters_do_not);
	tcase_add_test(tc, counters_that_are_final_stay);
	tcase_add_test(tc, estimate_is_held_against_the_exact_number);
	tcase_add_test(tc, each_profile_tells_what_looking_cost);
	tcase_add_test(tc, looking_costs_no_more_than_there_was);
	tcase_add_test(tc, cost_of_looking_is_unknown_where_clocks_are);
	tcase_add_test(tc, failures_are_told_where_some_may_be_counted);
	tcase_add_test(tc, failures_are_not_told_where_none_is_counted);
	tcase_add_test(tc, losses_and_blind_spots_are_told);
	tcase_add_loop_test(tc, what_is_not_covered_is_told_as_far_as_it_is_known, 0,
			    SP_ARRAY_COUNT(coverages));
	tcase_add_test(tc, damage_is_left_out);
	tcase_add_test(tc, sums_beyond_all_reason_stay_within_64_bits);
	tcase_add_test(tc, profile_without_memory_is_none);
	tcase_add_test(tc, readers_get_what_go_would_give_them);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
