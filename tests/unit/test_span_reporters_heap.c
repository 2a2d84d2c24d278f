/*
 * What reporters of events are told of the memory of spans, and when.
 */
#include "test_span_reporters_fixture.h"

#include "sp_poisson.h"

/* --- memory --- */

static void add_block(uint64_t number, uint32_t mark, uint64_t size_bytes)
{
	const struct test_block block = {.size_bytes = size_bytes};
	struct sp_live_block *entry = test_heap_entry(recorded(), number);

	test_heap_live(entry, &block, 0x1000 * (number + 1));
	entry->span = mark;
	sp_span_add_live(mark, 1, (int64_t)size_bytes);
}

static void free_block(uint64_t number)
{
	struct sp_live_block *entry = test_heap_entry(recorded(), number);

	sp_span_add_live(entry->span, -1,
			 -(int64_t)(entry->size_and_thread & SP_HEAP_SIZE_MASK));
	atomic_store(&entry->word, SP_LIVE_FREE);
}

static uint32_t mark_in(uint64_t id)
{
	uint32_t mark;

	sp_span_enter(id, 0);
	mark = sp_span_mark().span;
	sp_span_exit(id);
	return mark;
}

START_TEST(memory_is_told_as_totals)
{
	uint64_t id = create("span", SP_SPAN_NONE), other = create("other", SP_SPAN_NONE);
	uint32_t mark = mark_in(id);
	const struct recorded_span *span;

	add_block(0, mark, 100);
	add_block(1, mark, 50);
	add_block(2, mark_in(other), 7);
	add_block(3, 0, 1000);
	go_round();
	span = event_recorder_span(recorder, id);
	ck_assert_uint_eq(span->heap_bytes, 150);
	ck_assert_uint_eq(span->heap_count, 2);
	ck_assert_uint_eq(event_recorder_span(recorder, other)->heap_bytes, 7);
	free_block(0);
	go_round();
	span = event_recorder_span(recorder, id);
	ck_assert_uint_eq(span->heap_bytes, 50);
	ck_assert_uint_eq(span->heap_calls, 2);
	/* Nothing left is told once. */
	free_block(1);
	go_round();
	go_round();
	span = event_recorder_span(recorder, id);
	ck_assert_uint_eq(span->heap_bytes, 0);
	ck_assert_uint_eq(span->heap_count, 0);
	ck_assert_uint_eq(span->heap_calls, 3);
	ck_assert_uint_eq(event_recorder_span(recorder, other)->heap_calls, 4);
}
END_TEST

START_TEST(closed_span_lasts_as_long_as_its_memory)
{
	uint64_t id = create("span", SP_SPAN_NONE);

	add_block(0, mark_in(id), 100);
	sp_span_close(id);
	go_round();
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->destroyed_at, 0);
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_calls, 2);
	free_block(0);
	go_round();
	ck_assert_uint_ne(event_recorder_span(recorder, id)->destroyed_at, 0);
}
END_TEST

START_TEST(evicted_span_is_destroyed_and_its_memory_nobodys)
{
	uint64_t id = create("span", SP_SPAN_NONE), next;

	absorber->held_spans_max = 0;
	add_block(0, mark_in(id), 100);
	sp_span_close(id);
	go_round();
	ck_assert_uint_ne(event_recorder_span(recorder, id)->destroyed_at, 0);
	next = create("next", SP_SPAN_NONE);
	ck_assert_uint_eq((uint32_t)next, (uint32_t)id);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, next)->heap_calls, 0);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_EVICTED), 1);
}
END_TEST

START_TEST(totals_keep_their_distance)
{
	uint64_t id = create("span", SP_SPAN_NONE);

	add_block(0, mark_in(id), 100);
	go_round();
	for (unsigned int i = 0; i < 10; i++) {
		now_ns -= INTERVAL_NS; /* no time goes by */
		go_round();
	}
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_calls, 1);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_calls, 2);
}
END_TEST

START_TEST(memory_of_a_short_life_is_told_at_its_end)
{
	uint64_t id = create("span", SP_SPAN_NONE);

	now_ns -= INTERVAL_NS;
	add_block(0, mark_in(id), 100);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_calls, 0);
	now_ns -= INTERVAL_NS;
	go_last_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_bytes, 100);
	/* Not twice within the interval. */
	now_ns -= INTERVAL_NS;
	go_last_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_calls, 1);
}
END_TEST

START_TEST(what_all_spans_are_told_to_have_is_what_there_is)
{
	const uint64_t spans = 50, size_bytes = 1300, rate_bytes = 1000;
	double weight = sp_poisson_weight(size_bytes, rate_bytes); /* 1.37 */
	uint64_t ids[50], count = 0;

	recorded()->header->heap_rate_bytes = rate_bytes;
	for (uint64_t i = 0; i < spans; i++) {
		ids[i] = create("span", SP_SPAN_NONE);
		add_block(i, mark_in(ids[i]), size_bytes);
	}
	go_round();
	for (uint64_t i = 0; i < spans; i++)
		count += event_recorder_span(recorder, ids[i])->heap_count;
	ck_assert_double_eq_tol((double)count, (double)spans * weight, 1);
}
END_TEST

START_TEST(sampled_memory_is_told_as_what_it_stands_for)
{
	uint64_t id = create("span", SP_SPAN_NONE);
	double weight = sp_poisson_weight(4096, UINT64_C(512) << 10);

	recorded()->header->heap_rate_bytes = UINT64_C(512) << 10;
	add_block(0, mark_in(id), 4096);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_count,
			  (uint64_t)(weight + 0.5));
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_bytes,
			  (uint64_t)(weight * 4096 + 0.5));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_reporters_heap");
	TCase *tc = make_case("one", setup);

	tcase_add_test(tc, memory_is_told_as_totals);
	tcase_add_test(tc, closed_span_lasts_as_long_as_its_memory);
	tcase_add_test(tc, evicted_span_is_destroyed_and_its_memory_nobodys);
	tcase_add_test(tc, totals_keep_their_distance);
	tcase_add_test(tc, memory_of_a_short_life_is_told_at_its_end);
	tcase_add_test(tc, what_all_spans_are_told_to_have_is_what_there_is);
	tcase_add_test(tc, sampled_memory_is_told_as_what_it_stands_for);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
