/*
 * Several reporters of events at once, those that fail, and what they are told besides
 * spans: samples.
 */
#include "test_span_reporters_fixture.h"

/* --- several reporters --- */

static struct event_recorder *others[2];

static void begin_three(void)
{
	const struct sp_reporter_ops *list[4] = {&sp_reporter_pprof, &recorder->ops};
	const struct sp_reporter_config config = config_of(INTERVAL_NS);

	for (unsigned int i = 0; i < 2; i++) {
		if (!others[i])
			others[i] = event_recorder_create(i + 1);
		list[i + 2] = &others[i]->ops;
	}
	reporters = sp_span_reporters_create(absorber, list, 4, &config, now_ns);
}

static void end_others(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		event_recorder_destroy(others[i]);
		others[i] = NULL;
	}
}

static void live_a_while(void)
{
	for (unsigned int i = 0; i < 10; i++) {
		uint64_t id = create("span", SP_SPAN_NONE);

		sp_span_enter(id, 0);
		spend_ticks();
		sp_span_exit(id);
		sp_span_close(id);
		go_round();
	}
}

START_TEST(all_reporters_are_told_the_same)
{
	begin_three();
	live_a_while();
	for (unsigned int i = 0; i < 2; i++) {
		ck_assert_uint_eq(others[i]->calls, recorder->calls);
		ck_assert_uint_eq(others[i]->flushes, recorder->flushes);
		for (size_t span = 0; span < recorder->count; span++)
			ck_assert_uint_eq(others[i]->spans[span].busy_ns,
					  recorder->spans[span].busy_ns);
	}
	sp_span_reporters_destroy(reporters);
	reporters = NULL;
	ck_assert_uint_eq(others[0]->finis, 1);
	end_others();
}
END_TEST

START_TEST(reporter_that_fails_is_the_only_one_switched_off)
{
	begin_three();
	others[0]->fails_at = 7;
	live_a_while();
	ck_assert_uint_eq(others[0]->calls, 7);
	ck_assert_uint_eq(others[0]->finis, 1);
	ck_assert_uint_eq(others[1]->calls, recorder->calls);
	ck_assert_uint_gt(recorder->calls, 30);
	sp_span_reporters_destroy(reporters);
	reporters = NULL;
	ck_assert_uint_eq(others[0]->finis, 1);
	end_others();
}
END_TEST

START_TEST(reporter_that_does_not_start_is_not_called)
{
	others[0] = event_recorder_create(1);
	others[0]->error = -EACCES;
	begin_three();
	live_a_while();
	ck_assert_uint_eq(others[0]->calls + others[0]->finis, 0);
	ck_assert_uint_eq(others[1]->calls, recorder->calls);
	sp_span_reporters_destroy(reporters);
	reporters = NULL;
	end_others();
}
END_TEST

static void check_nobody_is_told(void)
{
	uint64_t id = create("span", SP_SPAN_NONE);

	ck_assert_uint_eq(absorber->telling_tid, 0);
	ck_assert_ptr_null(absorber->span_changed);
	sp_span_close(id);
	drain_elsewhere();
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->spans), 1);
}

START_TEST(where_none_starts_spans_are_anybodys)
{
	const struct sp_reporter_ops *list[] = {&recorder->ops};
	const struct sp_reporter_config config = config_of(0);

	recorder->error = -EACCES;
	ck_assert_ptr_null(sp_span_reporters_create(absorber, list, 1, &config, now_ns));
	check_nobody_is_told();
}
END_TEST

START_TEST(reporters_of_profiles_want_no_events)
{
	const struct sp_reporter_ops *list[] = {&sp_reporter_pprof};
	const struct sp_reporter_config config = config_of(0);

	ck_assert_ptr_null(sp_span_reporters_create(absorber, list, 1, &config, now_ns));
	check_nobody_is_told();
}
END_TEST

START_TEST(spans_wait_for_reporters_that_are_about_to_begin)
{
	const struct sp_reporter_ops *pprof[] = {&sp_reporter_pprof};
	const struct sp_reporter_ops *list[] = {&recorder->ops};
	uint64_t id = create("span", SP_SPAN_NONE);

	ck_assert(!sp_span_reporters_await(absorber, pprof, 1));
	ck_assert_uint_eq(absorber->telling_tid, 0);
	ck_assert(sp_span_reporters_await(absorber, list, 1));
	sp_span_close(id);
	drain_elsewhere();
	drain();
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->spans), 0);
	begin(INTERVAL_NS);
	go_round();
	ck_assert_uint_ne(event_recorder_span(recorder, id)->destroyed_at, 0);
}
END_TEST

START_TEST(reporters_that_do_not_begin_leave_spans_to_anybody)
{
	const struct sp_reporter_ops *list[] = {&recorder->ops};
	const struct sp_reporter_config config = config_of(0);

	ck_assert(sp_span_reporters_await(absorber, list, 1));
	recorder->error = -EACCES;
	ck_assert_ptr_null(sp_span_reporters_create(absorber, list, 1, &config, now_ns));
	check_nobody_is_told();
}
END_TEST

START_TEST(after_their_end_spans_are_anybodys_again)
{
	sp_span_reporters_destroy(reporters);
	reporters = NULL;
	ck_assert_uint_eq(recorder->finis, 1);
	check_nobody_is_told();
}
END_TEST

START_TEST(interest_in_one_call_is_enough)
{
	uint64_t id;

	recorder->ops.span_cpu = NULL;
	recorder->ops.span_heap = NULL;
	recorder->ops.samples = NULL;
	recorder->ops.flush = NULL;
	begin(INTERVAL_NS);
	id = create("span", SP_SPAN_NONE);
	sp_span_enter(id, 0);
	spend_ticks();
	sp_span_exit(id);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->cpu_calls, 0);
	ck_assert_uint_eq(event_recorder_span(recorder, id)->wall_calls, 1);
	recorder->unflushed_calls = 0;
}
END_TEST

START_TEST(flush_that_fails_loses_what_there_was_and_no_more)
{
	begin_three();
	others[0]->flush_error = -ENOSPC;
	live_a_while();
	ck_assert_uint_eq(others[0]->calls, recorder->calls);
	ck_assert_uint_eq(others[0]->flushes, recorder->flushes);
	ck_assert_uint_gt(recorder->flushes, 5);
	ck_assert_uint_eq(others[0]->finis, 0);
	sp_span_reporters_destroy(reporters);
	reporters = NULL;
	ck_assert_uint_eq(others[0]->finis, 1);
	end_others();
}
END_TEST

START_TEST(when_all_have_failed_it_is_told)
{
	begin_three();
	others[0]->fails_at = others[1]->fails_at = 3;
	ck_assert(sp_span_reporters_are_on(reporters));
	recorder->fails_at = 5;
	live_a_while();
	ck_assert(!sp_span_reporters_are_on(reporters));
	sp_span_reporters_destroy(reporters);
	reporters = NULL;
	recorder->unflushed_calls = 0;
	ck_assert_uint_eq(absorber->telling_tid, 0);
	end_others();
}
END_TEST

START_TEST(what_is_not_tracked_is_not_told)
{
	const struct recorded_span *span;
	uint64_t id;

	recorded()->header->span_untracked = SP_UNTRACKED_CPU | SP_UNTRACKED_HEAP;
	begin(0);
	id = create("span", SP_SPAN_NONE);
	sp_span_enter(id, 0);
	spend_ticks();
	sp_span_exit(id);
	go_last_round();
	span = event_recorder_span(recorder, id);
	ck_assert_uint_eq(span->wall_calls, 1);
	ck_assert_uint_eq(span->cpu_calls + span->heap_calls, 0);
}
END_TEST

START_TEST(registry_knows_reporters_by_name)
{
	ck_assert_ptr_eq(sp_reporter_find("pprof"), &sp_reporter_pprof);
	ck_assert_ptr_eq(sp_reporter_find("pyroscope"), &sp_reporter_pyroscope);
	ck_assert_ptr_null(sp_reporter_find("none"));
	ck_assert_ptr_null(sp_reporter_find("pprof,pyroscope"));
	ck_assert_ptr_null(sp_reporter_find(NULL));
}
END_TEST

START_TEST(list_names_reporters_in_its_order)
{
	ck_assert_ptr_eq(sp_reporter_listed("", 0), &sp_reporter_pprof);
	ck_assert_ptr_null(sp_reporter_listed("", 1));
	ck_assert_ptr_eq(sp_reporter_listed("pyroscope,pprof", 0),
			 &sp_reporter_pyroscope);
	ck_assert_ptr_eq(sp_reporter_listed("pyroscope,pprof", 1), &sp_reporter_pprof);
	ck_assert_ptr_null(sp_reporter_listed("pyroscope,pprof", 2));
	ck_assert(sp_reporter_is_listed("pyroscope,pprof", &sp_reporter_pprof));
	ck_assert(!sp_reporter_is_listed("pyroscope", &sp_reporter_pprof));
	ck_assert(sp_reporter_is_listed("", &sp_reporter_pprof));
}
END_TEST

START_TEST(unknown_reporter_is_told_with_those_there_are)
{
	char error[128];

	ck_assert(sp_reporter_list_check("", error, sizeof(error)));
	ck_assert(sp_reporter_list_check("pprof,pyroscope", error, sizeof(error)));
	ck_assert(!sp_reporter_list_check("pprof,pyro", error, sizeof(error)));
	ck_assert_str_eq(error, "\"pyro\" is no reporter; there are pprof, pyroscope");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_reporters_several");
	TCase *tc = make_case("one", setup);
	TCase *several = make_case("several", setup_without_reporters);

	tcase_add_test(several, all_reporters_are_told_the_same);
	tcase_add_test(several, reporter_that_fails_is_the_only_one_switched_off);
	tcase_add_test(several, reporter_that_does_not_start_is_not_called);
	tcase_add_test(several, where_none_starts_spans_are_anybodys);
	tcase_add_test(several, reporters_of_profiles_want_no_events);
	tcase_add_test(several, spans_wait_for_reporters_that_are_about_to_begin);
	tcase_add_test(several, reporters_that_do_not_begin_leave_spans_to_anybody);
	tcase_add_test(tc, after_their_end_spans_are_anybodys_again);
	tcase_add_test(several, interest_in_one_call_is_enough);
	tcase_add_test(several, flush_that_fails_loses_what_there_was_and_no_more);
	tcase_add_test(several, when_all_have_failed_it_is_told);
	tcase_add_test(several, what_is_not_tracked_is_not_told);
	tcase_add_test(several, registry_knows_reporters_by_name);
	tcase_add_test(several, list_names_reporters_in_its_order);
	tcase_add_test(several, unknown_reporter_is_told_with_those_there_are);
	suite_add_tcase(suite, tc);
	suite_add_tcase(suite, several);
	return run_suite(suite);
}
