/*
 * Samples of threads that another library says the span of: within the thread's own, and
 * what was found for one is never taken for another.
 */
#include "test_span_capture_fixture.h"

#include "sp_collector.h"

static struct sp_span_settings settings;
static struct sp_span_context said;
static bool has_context;

static bool read_said(struct sp_span_context *context)
{
	*context = said;
	return has_context;
}

static void begin(bool has_ids)
{
	static const struct sp_span_site outside = {.name = "outside"};

	settings = (struct sp_span_settings){
		.probability_millionths = 1000000, .has_ids = has_ids, .labels = "user"};
	begin_spans(&settings, UINT64_C(16) << 20);
	sp_span_set_outside(read_said, &outside);
}

static void setup(void)
{
	begin(false);
	has_context = true;
	said = (struct sp_span_context){.trace_id = {1}, .span_id = {2}};
}

static const struct sp_label_set *current_set(void)
{
	return sp_recording_label_set(recorded(), sp_span_mark().label_set);
}

/* That of the span around the current one; NULL: none. */
static const char *outer_name(void)
{
	uint32_t parent = test_path_at(recorded(), current_set()->path - 1)->parent;

	return parent ? sp_recording_span_name(recorded(), parent) : NULL;
}

static void with_ids(void)
{
	end_spans();
	begin(true);
}

START_TEST(span_outside_is_within_the_threads_own)
{
	uint64_t one = create("one", SP_SPAN_NONE), other = create("other", SP_SPAN_NONE);

	for (unsigned int i = 0; i < 3; i++) {
		ck_assert_str_eq(current_name(), "outside");
		ck_assert_ptr_null(outer_name());
		sp_span_enter(one, 0);
		ck_assert_str_eq(current_name(), "outside");
		ck_assert_str_eq(outer_name(), "one");
		sp_span_enter(other, 0);
		ck_assert_str_eq(outer_name(), "other");
		has_context = false;
		ck_assert_str_eq(current_name(), "other");
		has_context = true;
		sp_span_exit(other);
		ck_assert_str_eq(outer_name(), "one");
		sp_span_exit(one);
	}
	has_context = false;
	ck_assert_ptr_null(current_name());
}
END_TEST

START_TEST(labels_of_the_threads_own_span_stay)
{
	uint64_t span = create("span", SP_SPAN_NONE);

	sp_span_enter(span, 0);
	ck_assert_uint_eq(current_set()->labels[0], 0);
	sp_span_label(SP_SPAN_NONE, "user", "me");
	for (unsigned int i = 0; i < 3; i++) {
		ck_assert_str_eq(current_name(), "outside");
		ck_assert_str_eq(
			sp_recording_span_text(recorded(), current_set()->labels[1]),
			"me");
	}
	sp_span_exit(span);
}
END_TEST

START_TEST(ids_are_those_said_at_the_moment)
{
	with_ids();
	for (unsigned int i = 0; i < 32; i++) {
		said.trace_id[15] = i / 4 % 2;
		said.span_id[0] = i / 2 % 2;
		said.span_id[7] = i / 8 % 2;
		ck_assert_mem_eq(current_set()->trace_id, said.trace_id, 16);
		ck_assert_mem_eq(current_set()->span_id, said.span_id, 8);
		ck_assert_str_eq(current_name(), "outside");
	}
}
END_TEST

START_TEST(nothing_is_known_in_another_recording)
{
	uint32_t known = sp_span_mark().label_set;
	uint64_t span;

	end_spans();
	begin(false);
	span = create("span", SP_SPAN_NONE);
	/* What it was before is something else here. */
	ck_assert_uint_eq(span_of(span)->label_set, known);
	ck_assert_str_eq(current_name(), "outside");
	ck_assert_ptr_null(outer_name());
}
END_TEST

/* Threads of a fork child may look before its sources of spans have begun. */
START_TEST(callsite_is_not_another_recordings)
{
	ck_assert_str_eq(current_name(), "outside");
	end_spans();
	begin_spans(&settings, UINT64_C(16) << 20);
	create("span", SP_SPAN_NONE);
	ck_assert_str_eq(current_name(), "outside");
}
END_TEST

START_TEST(each_look_without_room_is_counted)
{
	uint64_t capacity, looks = 10, before;

	with_ids();
	capacity = recorded()->header->sections[SP_SECTION_LABEL_SETS].capacity_items;
	for (uint64_t i = 0; i < capacity; i++) {
		memcpy(said.span_id, &i, sizeof(i));
		sp_span_mark();
	}
	before = lost(SP_LOSS_SPAN_LABELS);
	ck_assert_uint_gt(before, 0);
	for (uint64_t i = 0; i < looks; i++)
		ck_assert_str_eq(current_name(), "outside");
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_LABELS), before + looks);
}
END_TEST

/* Of a program without such spans no part of the recording is used for them. */
START_TEST(callsite_is_made_with_the_first)
{
	has_context = false;
	ck_assert_ptr_null(current_name());
	ck_assert_uint_eq(sp_recording_used(recorded(), SP_SECTION_CALLSITES), 0);
	has_context = true;
	for (unsigned int i = 0; i < 3; i++) {
		ck_assert_str_eq(current_name(), "outside");
		ck_assert_uint_eq(sp_recording_used(recorded(), SP_SECTION_CALLSITES), 1);
	}
}
END_TEST

START_TEST(reporter_thread_makes_no_haste_without_a_span)
{
	const struct sp_collector collector = {
		.recording = recorded(),
		.round_period_ns = SP_NS_PER_SECOND,
	};

	ck_assert_uint_eq(sp_collector_pace_ns(&collector), SP_NS_PER_SECOND);
	ck_assert_str_eq(current_name(), "outside");
	ck_assert_uint_lt(sp_collector_pace_ns(&collector), SP_NS_PER_SECOND);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_outside");
	TCase *tc = tcase_create("span_outside");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, end_spans);
	tcase_add_test(tc, span_outside_is_within_the_threads_own);
	tcase_add_test(tc, labels_of_the_threads_own_span_stay);
	tcase_add_test(tc, ids_are_those_said_at_the_moment);
	tcase_add_test(tc, nothing_is_known_in_another_recording);
	tcase_add_test(tc, callsite_is_not_another_recordings);
	tcase_add_test(tc, each_look_without_room_is_counted);
	tcase_add_test(tc, callsite_is_made_with_the_first);
	tcase_add_test(tc, reporter_thread_makes_no_haste_without_a_span);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
