/*
 * What reporters of events are told of real spans. The rules of each call are the
 * recorder's (event_recorder.h); here is what must have been told in the end.
 */
#include "test_span_reporters_fixture.h"

#include "span_names.h"

#include <pthread.h>

/* --- life of a span --- */

START_TEST(span_is_created_has_its_time_and_is_destroyed)
{
	uint64_t id = create("span", SP_SPAN_NONE), busy_ticks, life_ticks;
	const struct recorded_span *span;

	spend_ticks();
	sp_span_enter(id, 0);
	spend_ticks();
	sp_span_exit(id);
	sp_span_close(id);
	busy_ticks = busy_of(id);
	life_ticks =
		sp_atomic_value(&span_of(id)->closed_ticks) - span_of(id)->created_ticks;
	go_round();
	span = event_recorder_span(recorder, id);
	ck_assert_ptr_nonnull(span);
	ck_assert_str_eq(span->name, "span");
	ck_assert_uint_ne(span->destroyed_at, 0);
	ck_assert_uint_eq(span->busy_ns, ns_of(busy_ticks));
	ck_assert_uint_eq(span->idle_ns, ns_of(life_ticks - busy_ticks));
	ck_assert_uint_gt(span->user_ns + span->system_ns, 0);
	ck_assert_uint_eq(span->allocation_calls, 0);
	ck_assert_uint_eq(span->heap_calls, 0);
	ck_assert_uint_eq(recorder->flushes, 1);
}
END_TEST

START_TEST(deltas_of_an_open_span_add_up)
{
	uint64_t id = create("span", SP_SPAN_NONE);
	static struct sp_heap_thread heap;
	const struct recorded_span *span;

	sp_heap_self = &heap;
	for (unsigned int i = 1; i <= 5; i++) {
		sp_span_enter(id, 0);
		heap.allocations += i;
		heap.bytes += 100 * i;
		spend_ticks();
		sp_span_exit(id);
		go_round();
		span = event_recorder_span(recorder, id);
		ck_assert_uint_eq(span->cpu_calls, i);
		ck_assert_uint_eq(span->allocation_calls, i);
		ck_assert_uint_eq(span->busy_ns, ns_of(busy_of(id)));
		ck_assert_uint_eq(span->user_ns + span->system_ns,
				  sp_atomic_value(&span_of(id)->cpu_ns));
		ck_assert_uint_eq(span->allocations, i * (i + 1) / 2);
		ck_assert_uint_eq(span->alloc_bytes, 50 * i * (i + 1));
		ck_assert_uint_eq(span->destroyed_at, 0);
	}
}
END_TEST

START_TEST(without_news_nothing_is_told)
{
	uint64_t id = open_with_nothing_to_tell();
	unsigned int calls;

	go_round();
	calls = recorder->calls;
	ck_assert_uint_eq(calls, 1); /* created */
	go_round();
	ck_assert_uint_eq(recorder->calls, calls);
	ck_assert_uint_eq(recorder->flushes, 1);
	sp_span_exit(id);
}
END_TEST

START_TEST(stay_is_told_while_it_lasts)
{
	uint64_t id = create("span", SP_SPAN_NONE), told_ns = 0;
	const struct recorded_span *span;

	sp_span_enter(id, 0);
	for (unsigned int i = 1; i <= 3; i++) {
		spend_ticks();
		go_round();
		span = event_recorder_span(recorder, id);
		ck_assert_uint_ge(span->busy_ns, told_ns + ns_of(4000));
		told_ns = span->busy_ns;
	}
	sp_span_exit(id);
	sp_span_close(id);
	go_round();
	span = event_recorder_span(recorder, id);
	ck_assert_uint_gt(span->busy_ns, told_ns);
	ck_assert_uint_eq(span->busy_ns, ns_of(busy_of(id)));
}
END_TEST

START_TEST(metadata_say_all_that_is_known)
{
	const struct sp_span_site site = {
		.name = "name", .target = "target", .file = "file.c", .line = 17};
	const struct sp_span_context remote = {.trace_id = {1, 2, 3}};
	uint64_t cause = create("cause", SP_SPAN_NONE);
	uint64_t id = sp_span_create(sp_span_callsite(&site), SP_SPAN_NONE, &remote);
	const struct sp_span_info *info;
	uint64_t real_ns = sp_clock_realtime_ns();

	/* The true rate, as the time of creation depends on it. */
	atomic_store(&recorded()->header->span_ticks_per_second, 0);
	recorded()->header->start_realtime_ns = real_ns;
	sp_clock_read_both(&recorded()->header->start_monotonic_ns,
			   &recorded()->header->start_cycles);
	sp_span_label(id, "user", "me");
	sp_span_follows(id, cause);
	go_round();
	info = event_recorder_span(recorder, id)->info;
	ck_assert_str_eq(info->name, "name");
	ck_assert_str_eq(info->target, "target");
	ck_assert_str_eq(info->file, "file.c");
	ck_assert_uint_eq(info->line, 17);
	ck_assert_uint_eq(info->follows, cause);
	ck_assert_mem_eq(info->trace_id, remote.trace_id, 16);
	ck_assert_uint_eq(info->span_id, span_of(id)->span_id);
	ck_assert_uint_eq(info->label_count, 1);
	ck_assert_str_eq(info->labels[0].key, "user");
	ck_assert_str_eq(info->labels[0].str, "me");
	ck_assert_int_lt(info->created_ns, (int64_t)real_ns + 1000000);
	ck_assert_int_gt(info->created_ns, (int64_t)real_ns - 1000000000);
	ck_assert_str_eq(event_recorder_span(recorder, cause)->info->target, "");
}
END_TEST

static void check_labels(uint64_t id, const char *labels, unsigned int calls)
{
	const struct recorded_span *span = event_recorder_span(recorder, id);

	ck_assert_str_eq(span->labels, labels);
	ck_assert_uint_eq(span->label_calls, calls);
}

START_TEST(labels_that_come_late_are_told_too)
{
	uint64_t open = create("open", SP_SPAN_NONE);
	uint64_t closed = create("closed", SP_SPAN_NONE);
	uint64_t bare = create("bare", SP_SPAN_NONE);

	sp_span_label(open, "user", "me");
	go_round();
	check_labels(open, "user=me,", 0);
	check_labels(closed, "", 0);
	/* It is told of in the same round for the last time. */
	sp_span_label(closed, "user", "you");
	sp_span_close(closed);
	sp_span_label(open, "user", "you");
	sp_span_label(open, "unwanted", "text");
	go_round();
	check_labels(open, "user=you,", 1);
	check_labels(closed, "user=you,", 1);
	ck_assert_uint_ne(event_recorder_span(recorder, closed)->destroyed_at, 0);
	go_round();
	/* Once, and nothing for what is not recorded, or as it was. */
	sp_span_label(open, "unwanted", "other");
	sp_span_label(open, "user", "you");
	go_round();
	check_labels(open, "user=you,", 1);
	check_labels(bare, "", 0);
}
END_TEST

/* --- scope --- */

START_TEST(spans_around_come_first)
{
	uint64_t outer = create("outer", SP_SPAN_NONE), middle, inner;
	const struct recorded_span *span;

	/* Nobody leaves these, so that they have nothing to tell. */
	sp_span_enter(outer, 0);
	middle = create("middle", SP_SPAN_CURRENT);
	sp_span_enter(middle, 0);
	inner = create("inner", SP_SPAN_CURRENT);
	sp_span_close(inner);
	go_round();
	span = event_recorder_span(recorder, inner);
	ck_assert_uint_eq(span->scope_count, 2);
	ck_assert_uint_eq(span->scope[0], middle);
	ck_assert_uint_eq(span->scope[1], outer);
	ck_assert_uint_eq(event_recorder_span(recorder, middle)->scope_count, 1);
	ck_assert_uint_lt(event_recorder_span(recorder, outer)->created_at,
			  event_recorder_span(recorder, middle)->created_at);
	sp_span_exit(middle);
	sp_span_exit(outer);
}
END_TEST

START_TEST(spans_around_come_first_wherever_their_entries_are)
{
	uint64_t ids[3], outer;
	const struct recorded_span *span;

	for (unsigned int i = 0; i < 3; i++)
		ids[i] = create("old", SP_SPAN_NONE);
	outer = create("outer", SP_SPAN_NONE);
	for (unsigned int i = 0; i < 3; i++)
		sp_span_close(ids[i]);
	go_round();
	/* In entries before that of the span around them, which ends at once. */
	ids[0] = create("child", outer);
	ids[1] = create("grandchild", ids[0]);
	ck_assert_uint_lt((uint32_t)ids[1], (uint32_t)outer);
	sp_span_close(ids[1]);
	sp_span_close(ids[0]);
	sp_span_close(outer);
	go_round();
	span = event_recorder_span(recorder, ids[1]);
	ck_assert_uint_eq(span->scope_count, 2);
	ck_assert_uint_eq(span->scope[1], outer);
	ck_assert_uint_ne(span->destroyed_at, 0);
}
END_TEST

START_TEST(span_around_that_is_destroyed_is_not_told)
{
	uint64_t outer = create("outer", SP_SPAN_NONE), inner = create("inner", outer);
	uint64_t later;

	sp_span_close(outer);
	go_round();
	later = create("later", inner);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, inner)->scope_count, 1);
	ck_assert_uint_eq(event_recorder_span(recorder, later)->scope_count, 1);
	ck_assert_uint_eq(event_recorder_span(recorder, later)->scope[0], inner);
}
END_TEST

START_TEST(deep_scope_is_cut)
{
	uint64_t id = SP_SPAN_NONE;

	for (unsigned int i = 0; i < 300; i++)
		id = create("recursion", id);
	go_round();
	ck_assert_uint_eq(recorder->count, 300);
	ck_assert_uint_eq(event_recorder_span(recorder, id)->scope_count,
			  SP_SPAN_SCOPE_MAX);
	ck_assert_uint_eq(recorder->spans[0].scope_count, 0);
}
END_TEST

/* --- nothing is lost --- */

/* One of several: it makes up for parts of nanoseconds of the others. */
static void check_time(uint64_t told_ns, uint64_t ticks)
{
	ck_assert_uint_ge(told_ns + 1, ns_of(ticks));
	ck_assert_uint_le(told_ns, ns_of(ticks) + 1);
}

START_TEST(other_threads_leave_spans_to_the_reporters)
{
	uint64_t ids[20];

	for (unsigned int i = 0; i < 20; i++) {
		ids[i] = create("span", SP_SPAN_NONE);
		sp_span_enter(ids[i], 0);
		spend_ticks();
		sp_span_exit(ids[i]);
		if (i % 2)
			sp_span_close(ids[i]);
		drain_elsewhere();
	}
	ck_assert_uint_eq(recorder->calls, 0);
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->spans), 0);
	go_round();
	ck_assert_uint_eq(recorder->count, 20);
	for (unsigned int i = 0; i < 20; i++) {
		const struct recorded_span *span = event_recorder_span(recorder, ids[i]);

		check_time(span->busy_ns, busy_of(ids[i]));
		ck_assert_uint_eq(span->destroyed_at != 0, i % 2);
	}
}
END_TEST

START_TEST(what_was_absorbed_before_is_told_too)
{
	uint64_t id = create("span", SP_SPAN_NONE);

	sp_span_enter(id, 0);
	spend_ticks();
	sp_span_exit(id);
	drain();
	begin(INTERVAL_NS);
	sp_span_enter(id, 0);
	spend_ticks();
	sp_span_exit(id);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->busy_ns, ns_of(busy_of(id)));
}
END_TEST

START_TEST(clock_that_becomes_known_better_takes_nothing_back)
{
	uint64_t id = create("span", SP_SPAN_NONE), busy_ticks = 0;

	sp_span_enter(id, 0);
	for (unsigned int i = 0; i < 500; i++)
		spend_ticks();
	sp_span_exit(id);
	for (unsigned int i = 0; i < 20; i++) {
		/* Shorter than what the rates differ by. */
		sp_span_enter(id, 0);
		sp_span_exit(id);
		busy_ticks = busy_of(id);
		atomic_store(&recorded()->header->span_ticks_per_second,
			     TEST_TICKS_PER_SECOND + (i % 2 ? 1000000 : 0));
		go_round();
	}
	/* To within the difference of the rates. */
	ck_assert_uint_ge(event_recorder_span(recorder, id)->busy_ns,
			  ns_of(busy_ticks) * 999 / 1000);
	ck_assert_uint_le(event_recorder_span(recorder, id)->busy_ns, ns_of(busy_ticks));
}
END_TEST

/* What all spans came to by the rate that is known now, and what was told of them. */
static uint64_t all_ticks;

static uint64_t told_busy_ns(void)
{
	uint64_t told_ns = 0;

	for (size_t i = 0; i < recorder->count; i++)
		told_ns += recorder->spans[i].busy_ns;
	return told_ns;
}

static void live_by_rate(uint64_t ticks_per_second, unsigned int spans)
{
	atomic_store(&recorded()->header->span_ticks_per_second, ticks_per_second);
	for (unsigned int i = 0; i < spans; i++) {
		uint64_t id = create("span", SP_SPAN_NONE);

		sp_span_enter(id, 0);
		spend_ticks();
		sp_span_exit(id);
		all_ticks += busy_of(id);
		sp_span_close(id);
		go_round();
	}
}

START_TEST(spans_that_ended_by_another_rate_add_up_too)
{
	all_ticks = 0;
	live_by_rate(TEST_TICKS_PER_SECOND - TEST_TICKS_PER_SECOND / 10000, 100);
	live_by_rate(TEST_TICKS_PER_SECOND + TEST_TICKS_PER_SECOND / 10000, 100);
	live_by_rate(TEST_TICKS_PER_SECOND, 100);
	ck_assert_uint_ge(told_busy_ns() + 1, ns_of(all_ticks));
	ck_assert_uint_le(told_busy_ns(), ns_of(all_ticks) + 1);
}
END_TEST

START_TEST(parts_of_nanoseconds_add_up)
{
	all_ticks = 0;
	/* Each of them is between 1333 and 1334 ns. */
	atomic_store(&recorded()->header->span_ticks_per_second, 3000000000U);
	for (unsigned int i = 0; i < 300; i++) {
		uint64_t id = create("span", SP_SPAN_NONE);

		atomic_store(&span_of(id)->stay_ticks, 4001);
		sp_span_close(id);
		go_round();
	}
	ck_assert_uint_ge(told_busy_ns(), 300 * 4001 / 3 - 1);
	ck_assert_uint_le(told_busy_ns(), 300 * 4001 / 3 + 1);
}
END_TEST

/* --- all at once --- */

#define THREADS 4U
#define REQUESTS 150U

static _Atomic unsigned int running;

static void *serve(void *unused)
{
	for (unsigned int i = 0; i < REQUESTS; i++) {
		uint64_t request = create("request", SP_SPAN_NONE), query;

		sp_span_enter(request, 0);
		query = create("query", SP_SPAN_CURRENT);
		sp_span_enter(query, 0);
		spend_ticks();
		sp_span_exit(query);
		sp_span_close(query);
		sp_span_exit(request);
		sp_span_close(request);
	}
	sp_span_thread_end();
	atomic_fetch_sub(&running, 1);
	return unused;
}

static void check_told_of(const char *name, uint32_t path)
{
	const struct sp_span_path *sums = test_path_at(recorded(), path);
	uint64_t busy_ns = 0, cpu_ns = 0, spans = 0;

	for (size_t i = 0; i < recorder->count; i++) {
		const struct recorded_span *span = &recorder->spans[i];

		if (strcmp(span->name, name) != 0)
			continue;
		ck_assert_uint_ne(span->destroyed_at, 0);
		ck_assert_uint_eq(span->scope_count, path);
		busy_ns += span->busy_ns;
		cpu_ns += span->user_ns + span->system_ns;
		spans++;
	}
	ck_assert_uint_eq(spans, THREADS * REQUESTS);
	ck_assert_uint_eq(sp_atomic_value(&sums->spans), spans);
	ck_assert_uint_eq(sp_atomic_value(&sums->cpu_ns), cpu_ns);
	/* Each span's time is a whole number of nanoseconds. */
	ck_assert_uint_ge(busy_ns + spans, ns_of(sp_atomic_value(&sums->busy_ticks)));
	ck_assert_uint_le(busy_ns, ns_of(sp_atomic_value(&sums->busy_ticks)) + spans);
}

START_TEST(spans_of_many_threads_are_all_told)
{
	pthread_t threads[THREADS];

	/* Threads that come upon a new path at once may leave a number unused. */
	ck_assert_uint_eq(sp_span_path(site("request"), 0), 0);
	ck_assert_uint_eq(sp_span_path(site("query"), 1), 1);
	atomic_store(&running, THREADS);
	for (unsigned int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, serve, NULL), 0);
	while (atomic_load(&running)) {
		struct timespec pause = {0, 200000};

		/* A thread without room may be at it. */
		try_round_of(false);
		nanosleep(&pause, NULL);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	go_round();
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_NO_ROOM) + lost(SP_LOSS_SPAN_MISUSE), 0);
	check_told_of("request", 0);
	check_told_of("query", 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_reporters");
	TCase *tc = make_case("one", setup);
	TCase *several = make_case("several", setup_without_reporters);

	tcase_add_test(tc, span_is_created_has_its_time_and_is_destroyed);
	tcase_add_test(tc, deltas_of_an_open_span_add_up);
	tcase_add_test(tc, without_news_nothing_is_told);
	tcase_add_test(tc, stay_is_told_while_it_lasts);
	tcase_add_test(tc, metadata_say_all_that_is_known);
	tcase_add_test(tc, labels_that_come_late_are_told_too);
	tcase_add_test(tc, spans_around_come_first);
	tcase_add_test(tc, spans_around_come_first_wherever_their_entries_are);
	tcase_add_test(tc, span_around_that_is_destroyed_is_not_told);
	tcase_add_test(tc, deep_scope_is_cut);
	tcase_add_test(tc, other_threads_leave_spans_to_the_reporters);
	tcase_add_test(several, what_was_absorbed_before_is_told_too);
	tcase_add_test(tc, clock_that_becomes_known_better_takes_nothing_back);
	tcase_add_test(tc, spans_that_ended_by_another_rate_add_up_too);
	tcase_add_test(tc, parts_of_nanoseconds_add_up);
	tcase_add_test(tc, spans_of_many_threads_are_all_told);
	suite_add_tcase(suite, tc);
	suite_add_tcase(suite, several);
	return run_suite(suite);
}
