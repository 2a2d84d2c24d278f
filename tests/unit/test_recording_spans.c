/*
 * Opening recordings with spans: as a killed process leaves them, and damaged. What
 * points astray loses what it points to and is counted; sums that cannot be are
 * refused.
 */
#include "test_span_fixture.h"

#include <check.h>

static char folder[64];
static struct sp_recording written, opened;
static char error[256];
static uint32_t callsite, outer, inner, label_set, span_index;
static struct sp_span *span;

static void setup_spans(void)
{
	ck_assert(test_make_folder(folder, sizeof(folder)));
	ck_assert_int_eq(
		test_recording_make(&written, folder, SP_RECORDING_BYTES_MIN * 8), 0);
	ck_assert(written.is_file);
	test_spans_begin(&written);
	ck_assert_int_eq(test_drain(&written), 0);
	callsite = test_callsite(&written, "query", "db", "db.c", 7);
	outer = test_named_path(&written, "request", 0);
	inner = test_path(&written, callsite, outer + 1);
	label_set = test_label_set(&written, inner);
	test_label(&written, label_set, 0, "user", "me");
	atomic_store(&test_path_at(&written, inner)->busy_ticks, 1000);
	span_index = test_span(&written, inner, 100);
	span = test_span_at(&written, span_index);
	test_span_stay(span, 500);
	atomic_store(&span->allocations, 3);
	atomic_store(&span->entered, 1);
	test_span_close(span, 700);
	opened.header = NULL;
}

static void teardown(void)
{
	sp_recording_close(&opened);
	sp_recording_detach(&written);
	test_remove_folder(folder);
}

/* Opens and drains; 0, or why it was refused. */
static int examine(void)
{
	int err;

	sp_recording_close(&opened);
	error[0] = '\0';
	err = sp_recording_open(&opened, written.path, error, sizeof(error));
	if (!err)
		err = test_drain(&opened);
	if (!err)
		err = sp_recording_check_sums(&opened, error, sizeof(error));
	if (!err)
		err = test_spans_examine(&opened);
	return err;
}

static uint64_t damaged(void)
{
	return sp_atomic_value(&opened.header->losses[SP_LOSS_DAMAGED]);
}

static struct sp_callsite *callsite_at(uint32_t index)
{
	return sp_recording_item(&written, SP_SECTION_CALLSITES, index);
}

START_TEST(spans_of_a_killed_process_are_in_the_sums)
{
	const struct sp_span_path *path;

	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 0);
	path = test_path_at(&opened, inner);
	ck_assert_uint_eq(sp_atomic_value(&path->busy_ticks), 1500);
	ck_assert_uint_eq(sp_atomic_value(&path->idle_ticks), 100);
	ck_assert_uint_eq(sp_atomic_value(&path->allocations), 3);
	ck_assert_uint_eq(sp_atomic_value(&path->spans), 1);
	ck_assert_str_eq(sp_recording_span_name(&opened, inner + 1), "query");
}
END_TEST

START_TEST(what_was_being_made_is_no_damage)
{
	struct sp_section *texts = &written.header->sections[SP_SECTION_SPAN_TEXT];

	/* A text that is not written yet, items that are not filled, a span that is
	 * being created. */
	atomic_fetch_add(&texts->used_items, 40);
	callsite_at(test_callsite(&written, "new", "", "", 0))->name = UINT32_MAX;
	atomic_store(&callsite_at(callsite + 2)->is_filled, 0);
	test_path_at(&written, test_path(&written, UINT32_MAX, 0))->parent = UINT32_MAX;
	atomic_store(&test_path_at(&written, inner + 1)->is_filled, 0);
	atomic_store(&test_span_at(&written, test_span(&written, 12345, 0))->state,
		     SP_SPAN_CLAIMED);
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 0);
	ck_assert_uint_eq(atomic_load(&test_span_at(&opened, span_index + 1)->state),
			  SP_SPAN_FREE);
}
END_TEST

/* --- what points astray --- */

START_TEST(last_text_ends_with_its_section)
{
	uint64_t used = sp_recording_used(&written, SP_SECTION_SPAN_TEXT);
	char *last = sp_recording_item(&written, SP_SECTION_SPAN_TEXT, used - 1);

	*last = 'x';
	ck_assert_int_eq(examine(), 0);
	last = sp_recording_item(&opened, SP_SECTION_SPAN_TEXT, used - 1);
	ck_assert_int_eq(*last, '\0');
}
END_TEST

START_TEST(callsite_with_texts_astray_has_none)
{
	callsite_at(callsite)->name = UINT32_MAX;
	callsite_at(callsite)->file =
		(uint32_t)sp_recording_used(&written, SP_SECTION_SPAN_TEXT);
	callsite_at(callsite)->source = SP_SPAN_SOURCE_COUNT;
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 1);
	ck_assert_str_eq(sp_recording_span_name(&opened, inner + 1), "");
	ck_assert_uint_eq(sp_recording_callsite(&opened, callsite)->file, 0);
	ck_assert_str_eq(
		sp_recording_span_text(&opened,
				       sp_recording_callsite(&opened, callsite)->target),
		"db");
}
END_TEST

START_TEST(path_inside_itself_or_a_later_one_is_an_outermost_one)
{
	const uint32_t parents[] = {outer + 1, inner + 1, UINT32_MAX};

	for (size_t i = 0; i < SP_ARRAY_COUNT(parents); i++) {
		test_path_at(&written, outer)->parent = parents[i];
		ck_assert_int_eq(examine(), 0);
		ck_assert_uint_eq(damaged(), 1);
		ck_assert_uint_eq(test_path_at(&opened, outer)->parent, 0);
		ck_assert_uint_eq(test_path_at(&opened, inner)->parent, outer + 1);
		ck_assert_uint_eq(test_path_at(&opened, inner)->depth, 2);
	}
}
END_TEST

START_TEST(path_inside_one_that_is_not_filled_is_an_outermost_one)
{
	atomic_store(&test_path_at(&written, outer)->is_filled, 0);
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 1);
	ck_assert_uint_eq(test_path_at(&opened, inner)->parent, 0);
}
END_TEST

START_TEST(path_without_its_callsite_keeps_its_sums)
{
	test_path_at(&written, inner)->callsite = UINT32_MAX;
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 1);
	ck_assert_ptr_null(sp_recording_span_name(&opened, inner + 1));
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(&opened, inner)->busy_ticks),
			  1500);
}
END_TEST

START_TEST(label_set_astray_is_empty)
{
	struct sp_label_set *set = test_label_set_at(&written, label_set);
	struct sp_view_sample sample = {.label_count = 0};
	struct sp_profile_ids ids;

	set->path = UINT32_MAX;
	set->labels[1] = UINT32_MAX;
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 1);
	sp_profile_add_labels(&opened, label_set, &ids, &sample);
	ck_assert_uint_eq(sample.label_count, 0);
}
END_TEST

START_TEST(span_without_its_path_is_left_out)
{
	span->path = UINT32_MAX;
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 1);
	ck_assert_uint_eq(atomic_load(&test_span_at(&opened, span_index)->state),
			  SP_SPAN_FREE);
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(&opened, inner)->busy_ticks),
			  1000);
}
END_TEST

START_TEST(span_in_no_known_state_is_left_out)
{
	atomic_store(&span->state, SP_SPAN_HELD + 1);
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 1);
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(&opened, inner)->spans), 0);
}
END_TEST

/* Not even with a few threads more or less in it. */
START_TEST(stays_that_make_no_sense_are_left_out)
{
	atomic_store(&span->stay_ticks, UINT64_MAX / 2);
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 1);
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(&opened, inner)->busy_ticks),
			  1000);
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(&opened, inner)->spans), 1);
}
END_TEST

/* Nor does it idle meanwhile. */
START_TEST(span_with_such_stays_idles_no_longer_than_was_known)
{
	atomic_store(&span->stay_ticks, UINT64_MAX / 2);
	atomic_fetch_add(&span->use, 1);
	atomic_store(&span->idle_ticks, 100);
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 1);
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(&opened, inner)->idle_ticks), 0);
}
END_TEST

/* --- what cannot be --- */

static void busy_is_for_ever(void)
{
	atomic_store(&span->stay_ticks, (UINT64_C(1) << 62) + 1);
	atomic_store(&span->absorbed_busy_ticks, UINT64_C(1) << 62);
}

static void sums_of_paths_are_too_large(void)
{
	atomic_store(&test_path_at(&written, inner)->cpu_ns, UINT64_C(1) << 62);
	atomic_store(&test_path_at(&written, outer)->cpu_ns, UINT64_C(1) << 62);
}

static void bytes_are_all_there_are(void)
{
	atomic_store(&span->alloc_bytes, UINT64_MAX);
}

static void clock_is_too_slow(void)
{
	atomic_store(&written.header->span_ticks_per_second, 1);
}

static void clock_is_too_fast(void)
{
	atomic_store(&written.header->span_ticks_per_second, UINT64_MAX);
}

static void probability_is_above_one(void)
{
	written.header->span_probability_millionths = 1000001;
}

static const struct {
	void (*damage)(void);
	const char *words;
} refused[] = {
	{busy_is_for_ever, "span sums"},
	{sums_of_paths_are_too_large, "span sums"},
	{bytes_are_all_there_are, "span sums"},
	{clock_is_too_slow, "clock"},
	{clock_is_too_fast, "clock"},
	{probability_is_above_one, "part of spans"},
};

START_TEST(what_cannot_be_is_refused)
{
	refused[_i].damage();
	ck_assert_int_eq(examine(), -EINVAL);
	ck_assert_msg(strstr(error, refused[_i].words) != NULL, "%s", error);
}
END_TEST

START_TEST(sums_of_spans_that_are_not_there_do_not_count)
{
	busy_is_for_ever();
	atomic_store(&span->state, SP_SPAN_FREE);
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 0);
}
END_TEST

/* As many spans idle at once, for long, as can be. */
START_TEST(idle_time_is_cut_where_it_is_shown)
{
	struct sp_span_profile *profile;
	const struct sp_profile_view *view;
	struct sp_view_sample sample;

	atomic_store(&test_path_at(&written, inner)->idle_ticks, UINT64_MAX);
	ck_assert_int_eq(examine(), 0);
	profile = sp_span_profile_create(&opened, NULL);
	view = sp_span_profile_view(profile);
	while (view->next_sample(view->cursor, &sample) == 1)
		for (uint32_t i = 0; i < view->value_type_count; i++)
			ck_assert_int_ge(sample.values[i], 0);
	sp_span_profile_destroy(profile);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("recording_spans");
	TCase *tc = tcase_create("recording_spans");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup_spans, teardown);
	tcase_add_test(tc, spans_of_a_killed_process_are_in_the_sums);
	tcase_add_test(tc, what_was_being_made_is_no_damage);
	tcase_add_test(tc, stays_that_make_no_sense_are_left_out);
	tcase_add_test(tc, span_with_such_stays_idles_no_longer_than_was_known);
	tcase_add_test(tc, last_text_ends_with_its_section);
	tcase_add_test(tc, callsite_with_texts_astray_has_none);
	tcase_add_test(tc, path_inside_itself_or_a_later_one_is_an_outermost_one);
	tcase_add_test(tc, path_inside_one_that_is_not_filled_is_an_outermost_one);
	tcase_add_test(tc, path_without_its_callsite_keeps_its_sums);
	tcase_add_test(tc, label_set_astray_is_empty);
	tcase_add_test(tc, span_without_its_path_is_left_out);
	tcase_add_test(tc, span_in_no_known_state_is_left_out);
	tcase_add_loop_test(tc, what_cannot_be_is_refused, 0,
			    (int)SP_ARRAY_COUNT(refused));
	tcase_add_test(tc, sums_of_spans_that_are_not_there_do_not_count);
	tcase_add_test(tc, idle_time_is_cut_where_it_is_shown);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
