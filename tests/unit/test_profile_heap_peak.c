/*
 * The profile of a heap's peak: what lived at the last high-water mark.
 */
#include "test_profile_heap_fixture.h"

#include <stdlib.h>

START_TEST(peak_is_what_lived_at_the_last_mark)
{
	make_past_peak(5);
	assert_values(SP_HEAP_VIEW_PEAK, first_leaf, 3 + 3, 640 + 1 + 4 + 32);
	ck_assert_uint_eq(sample_of(SP_HEAP_VIEW_PEAK, second_leaf).frame_count, 0);
	ck_assert(!sp_heap_profile_values(profile)->totals.is_peak_now);
	ck_assert(has_comment(SP_HEAP_VIEW_PEAK,
			      "peak: 677 bytes in use at high-water mark number 5"));
}
END_TEST

static uint64_t moves_left;

/* All blocks of before are of the new mark, but for those that died. */
static void move_mark(const char *step)
{
	struct sp_heap_cell *cell = test_heap_cell(&recording, first);

	if (strcmp(step, "heap values: blocks taken") != 0 || !moves_left)
		return;
	moves_left--;
	set_mark(sp_heap_mark_epoch(atomic_load(&recording.header->heap_mark)) + 1,
		 200000);
	atomic_fetch_add(&cell->peak_epoch, 1);
	store(&cell->peak_objects, 7);
	store(&cell->peak_bytes, 7000);
}

START_TEST(peak_that_moves_meanwhile_is_the_new_one)
{
	make_past_peak(5);
	moves_left = 1;
	sp_absorber_testpoint = move_mark;
	/* The second live block came between, and one died later. */
	assert_values(SP_HEAP_VIEW_PEAK, first_leaf, 7 + 3, 7000 + 1 + 2 + 32);
	ck_assert_uint_eq(moves_left, 0);
	ck_assert(!sp_heap_profile_values(profile)->totals.is_peak_now);
}
END_TEST

START_TEST(peak_that_moves_all_the_time_is_now)
{
	make_past_peak(5);
	moves_left = UINT64_MAX;
	sp_absorber_testpoint = move_mark;
	assert_values(SP_HEAP_VIEW_PEAK, first_leaf, 2, 3);
	ck_assert(sp_heap_profile_values(profile)->totals.is_peak_now);
}
END_TEST

START_TEST(peak_is_now_if_more_lives_than_ever)
{
	make_past_peak(5);
	add_live(second, 100000, 5);
	assert_values(SP_HEAP_VIEW_PEAK, first_leaf, 2, 3);
	assert_values(SP_HEAP_VIEW_PEAK, second_leaf, 1, 100000);
	ck_assert(sp_heap_profile_values(profile)->totals.is_peak_now);
	ck_assert(has_comment(SP_HEAP_VIEW_PEAK, "in use now"));
}
END_TEST

START_TEST(peak_lies_between_births)
{
	add_born(first, CYCLES(1000000), 0);
	add_born(first, CYCLES(3000000), 0);
	add_born(first, CYCLES(6000000), 1);
	add_born(first, CYCLES(4000000), 1);
	set_mark(1, 1000);
	view_of(SP_HEAP_VIEW_PEAK);
	ck_assert(has_comment(SP_HEAP_VIEW_PEAK,
			      "later than 1.536 s and before 2.048 s from the start"));
}
END_TEST

/* 100 samples of 1,000 bytes, and what is sampled in any case. */
static void make_sampled_peak(uint64_t mark_bytes)
{
	struct sp_heap_cell *cell = test_heap_cell(&recording, first);
	double weight = sp_poisson_weight(1000, RATE);

	sampled();
	set_mark(5, mark_bytes);
	atomic_store(&cell->peak_epoch, 5);
	store(&cell->peak_objects, 100 * weight);
	store(&cell->peak_bytes, 100 * 1000 * weight);
	cell = test_heap_cell(&recording, second);
	atomic_store(&cell->peak_epoch, 5);
	store(&cell->peak_objects, 1);
	store(&cell->peak_bytes, RATE * 1000);
}

START_TEST(error_of_the_peak_is_that_of_its_samples)
{
	double weight = sp_poisson_weight(1000, RATE);
	double variance = 100 * 1000 * weight * 1000 * (weight - 1);

	make_sampled_peak(UINT64_C(1) << 30);
	view_of(SP_HEAP_VIEW_PEAK);
	ck_assert_double_eq_tol(sp_heap_profile_values(profile)->totals.peak_error_bytes,
				sqrt(variance), 1e-3);
	ck_assert(has_comment(SP_HEAP_VIEW_PEAK, "is 5242879 bytes (0.91 %); the highest "
						 "of many is too high"));
}
END_TEST

START_TEST(exact_peak_has_no_error)
{
	make_past_peak(5);
	view_of(SP_HEAP_VIEW_PEAK);
	ck_assert(sp_heap_profile_values(profile)->totals.peak_error_bytes == 0);
	ck_assert(!has_comment(SP_HEAP_VIEW_PEAK, "peak error"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("profile_heap_peak");
	TCase *tc = tcase_create("profile_heap_peak");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, peak_is_what_lived_at_the_last_mark);
	tcase_add_test(tc, peak_that_moves_meanwhile_is_the_new_one);
	tcase_add_test(tc, peak_that_moves_all_the_time_is_now);
	tcase_add_test(tc, peak_is_now_if_more_lives_than_ever);
	tcase_add_test(tc, peak_lies_between_births);
	tcase_add_test(tc, error_of_the_peak_is_that_of_its_samples);
	tcase_add_test(tc, exact_peak_has_no_error);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
