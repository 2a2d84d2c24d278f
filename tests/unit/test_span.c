/*
 * Spans on the program's side: what a thread works for, and what a span has taken.
 */
#include "sp_heap_capture.h"
#include "span_names.h"
#include "span_stays.h"
#include "test_span_capture_fixture.h"

static void teardown(void)
{
	sp_heap_self = NULL;
	end_spans();
}

/* --- nesting --- */

START_TEST(samples_belong_to_the_innermost_span)
{
	uint64_t outer = create("outer", SP_SPAN_NONE), inner;

	ck_assert_ptr_null(current_name());
	sp_span_enter(outer, 0);
	ck_assert_str_eq(current_name(), "outer");
	ck_assert_uint_eq(sp_span_current(), outer);
	inner = create("inner", SP_SPAN_CURRENT);
	ck_assert_str_eq(current_name(), "outer");
	sp_span_enter(inner, 0);
	ck_assert_str_eq(current_name(), "inner");
	sp_span_exit(inner);
	ck_assert_str_eq(current_name(), "outer");
	sp_span_exit(outer);
	ck_assert_ptr_null(current_name());
	ck_assert_uint_eq(sp_span_current(), SP_SPAN_NONE);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
}
END_TEST

START_TEST(slot_tells_the_handler_what_it_samples)
{
	struct sp_slot slot;
	uint64_t span = create("span", SP_SPAN_NONE);

	memset(&slot, 0, sizeof(slot));
	sp_span_enter(span, 0);
	sp_span_thread_begin(&slot);
	sp_span_exit(span);
	ck_assert_uint_eq(sp_span_label_set_of(&slot), SP_LABEL_SET_NONE);
	sp_span_enter(span, 0);
	ck_assert_uint_eq(sp_span_label_set_of(&slot), span_of(span)->label_set);
	ck_assert_uint_ne(span_of(span)->label_set, SP_LABEL_SET_NONE);
	sp_span_exit(span);
	ck_assert_uint_eq(sp_span_label_set_of(&slot), SP_LABEL_SET_NONE);
}
END_TEST

START_TEST(paths_are_made_once_for_all_spans_in_one_place)
{
	for (unsigned int i = 0; i < 1000; i++) {
		uint64_t outer = create("outer", SP_SPAN_NONE);
		uint64_t inner = create("inner", outer);

		ck_assert_uint_eq(span_of(inner)->path, 1);
		ck_assert_uint_eq(span_of(inner)->parent, outer);
		sp_span_close(inner);
		sp_span_close(outer);
	}
	ck_assert_uint_eq(sp_recording_used(recorded(), SP_SECTION_CALLSITES), 2);
	ck_assert_uint_eq(sp_recording_used(recorded(), SP_SECTION_SPAN_PATHS), 2);
	ck_assert_uint_eq(sp_recording_used(recorded(), SP_SECTION_LABEL_SETS), 4);
	ck_assert_uint_eq(test_path_at(recorded(), 1)->parent, 1);
	ck_assert_uint_eq(test_path_at(recorded(), 1)->depth, 2);
	drain();
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->spans), 1000);
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 1)->spans), 1000);
}
END_TEST

/* All that a hash could take for each other. */
START_TEST(every_path_is_another)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < 50; i++) {
		char name[8];

		snprintf(name, sizeof(name), "%u", i);
		ck_assert_uint_eq(site(name), i);
	}
	for (uint32_t parent = 0; parent < 50; parent++) {
		for (uint32_t callsite = 0; callsite < 50; callsite++) {
			uint32_t path = sp_span_path(callsite, parent);

			ck_assert_uint_eq(path, count);
			ck_assert_uint_eq(test_path_at(recorded(), path)->parent, parent);
			ck_assert_uint_eq(test_path_at(recorded(), path)->callsite,
					  callsite);
			count++;
		}
	}
	ck_assert_uint_eq(sp_span_path(7, 9), 9 * 50 + 7);
}
END_TEST

START_TEST(callsites_differ_by_everything_they_say)
{
	const struct sp_span_site sites[] = {
		{"name", "target", "file", 1, SP_SPAN_SOURCE_API, false},
		{"other", "target", "file", 1, SP_SPAN_SOURCE_API, false},
		{"name", "other", "file", 1, SP_SPAN_SOURCE_API, false},
		{"name", "target", "other", 1, SP_SPAN_SOURCE_API, false},
		{"name", "target", "file", 2, SP_SPAN_SOURCE_API, false},
		{"name", "target", "file", 1, SP_SPAN_SOURCE_ENVIRONMENT, false},
		{"name", NULL, NULL, 0, SP_SPAN_SOURCE_API, false},
	};

	for (uint32_t i = 0; i < SP_ARRAY_COUNT(sites); i++)
		ck_assert_uint_eq(sp_span_callsite(&sites[i]), i);
	for (uint32_t i = 0; i < SP_ARRAY_COUNT(sites); i++)
		ck_assert_uint_eq(sp_span_callsite(&sites[i]), i);
}
END_TEST

START_TEST(ten_thousand_deep_is_deep_but_no_harm)
{
	static uint64_t handles[10000];

	for (size_t i = 0; i < SP_ARRAY_COUNT(handles); i++) {
		handles[i] = create("recursion", SP_SPAN_CURRENT);
		ck_assert_uint_ne(handles[i], SP_SPAN_NONE);
		sp_span_enter(handles[i], 0);
	}
	for (size_t i = SP_ARRAY_COUNT(handles); i-- > 0;) {
		ck_assert_uint_eq(sp_span_current(), handles[i]);
		sp_span_exit(handles[i]);
		sp_span_close(handles[i]);
	}
	/* Time nests. */
	for (size_t i = 1; i < SP_ARRAY_COUNT(handles); i++)
		ck_assert_uint_ge(busy_of(handles[i - 1]), busy_of(handles[i]));
	ck_assert_ptr_null(current_name());
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE) + lost(SP_LOSS_SPAN_NO_ROOM), 0);
}
END_TEST

static uint64_t cpu_of(uint64_t handle)
{
	return sp_atomic_value(&span_of(handle)->cpu_ns);
}

static uint64_t stay_so_far(uint64_t handle)
{
	uint64_t busy_ticks = 0;

	ck_assert(sp_span_stays_at(span_of(handle), sp_clock_ticks(), &busy_ticks));
	return busy_ticks;
}

START_TEST(stay_is_known_while_it_lasts)
{
	uint64_t span = create("span", SP_SPAN_NONE), so_far, before;

	ck_assert_uint_eq(stay_so_far(span), 0);
	before = sp_clock_ticks();
	sp_span_enter(span, 0);
	spend_ticks();
	so_far = stay_so_far(span);
	ck_assert_uint_ge(so_far, 4000);
	ck_assert_uint_le(so_far, sp_clock_ticks() - before);
	sp_span_enter(span, 0);
	spend_ticks();
	ck_assert_uint_ge(stay_so_far(span), so_far + 8000);
	sp_span_exit(span);
	sp_span_exit(span);
	ck_assert_uint_eq(stay_so_far(span), busy_of(span));
	ck_assert_uint_ge(busy_of(span), 12000);
}
END_TEST

START_TEST(stays_beyond_all_depth_are_counted)
{
	const uint64_t stays = 200000;
	uint64_t span = create("again", SP_SPAN_NONE), refused;

	for (uint64_t i = 0; i < stays; i++)
		sp_span_enter(span, 0);
	refused = lost(SP_LOSS_SPAN_NO_ROOM);
	ck_assert_uint_gt(refused, 0);
	ck_assert_uint_lt(refused, stays - 65536);
	ck_assert_uint_eq(entered_now(span), 1);
	for (uint64_t i = 0; i < stays; i++)
		sp_span_exit(span);
	ck_assert_uint_eq(entered_now(span), 0);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), refused);
	ck_assert_ptr_null(current_name());
}
END_TEST

/* --- what it takes --- */

START_TEST(busy_time_is_that_of_all_stays)
{
	uint64_t span = create("span", SP_SPAN_NONE);
	uint64_t least = 0, most = 0;

	for (unsigned int i = 0; i < 100; i++) {
		uint64_t before = sp_clock_ticks(), in, out;

		sp_span_enter(span, 0);
		in = sp_clock_ticks();
		spend_ticks();
		out = sp_clock_ticks();
		sp_span_exit(span);
		least += out - in;
		most += sp_clock_ticks() - before;
	}
	ck_assert_uint_ge(busy_of(span), least);
	ck_assert_uint_le(busy_of(span), most);
	ck_assert_uint_eq(sp_atomic_value(&span_of(span)->entered), 1);
	ck_assert_uint_gt(sp_atomic_value(&span_of(span)->cpu_ns), 0);
}
END_TEST

/* As when the context of a span is handed on to whoever runs on the same thread. */
START_TEST(time_in_a_span_that_is_entered_again_counts_once)
{
	uint64_t span = create("span", SP_SPAN_NONE), other = create("other", span);
	uint64_t before_ns = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
	uint64_t before = sp_clock_ticks(), most, most_ns;

	sp_span_enter(span, 0);
	sp_span_enter(span, 0);
	sp_span_enter(other, 0);
	sp_span_enter(span, 0);
	ck_assert_str_eq(current_name(), "span");
	ck_assert_uint_eq(entered_now(span), 1);
	for (unsigned int i = 0; i < 10; i++)
		spend_ticks();
	sp_span_exit(span);
	ck_assert_str_eq(current_name(), "other");
	sp_span_exit(other);
	sp_span_exit(span);
	ck_assert_str_eq(current_name(), "span");
	sp_span_exit(span);
	ck_assert_ptr_null(current_name());
	most = sp_clock_ticks() - before;
	most_ns = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - before_ns;
	ck_assert_uint_eq(entered_now(span), 0);
	ck_assert_uint_ge(busy_of(span), 40000);
	ck_assert_uint_le(busy_of(span), most);
	ck_assert_uint_gt(sp_atomic_value(&span_of(span)->cpu_ns), 0);
	ck_assert_uint_le(sp_atomic_value(&span_of(span)->cpu_ns), most_ns);
	sp_span_close(span);
	ck_assert_uint_eq(state_of(span), SP_SPAN_CLOSED);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
	/* It may not be entered again once it is to be closed. */
	sp_span_enter(other, 0);
	sp_span_close(other);
	sp_span_enter(other, 0);
	sp_span_exit(other);
	sp_span_exit(other);
	ck_assert_uint_eq(state_of(other), SP_SPAN_CLOSED);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 3);
}
END_TEST

START_TEST(cpu_time_is_the_threads_own)
{
	uint64_t span = create("span", SP_SPAN_NONE);
	struct timespec pause = {0, 20000000};
	uint64_t before = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID), least, in;

	sp_span_enter(span, 0);
	in = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
	spend_ticks();
	nanosleep(&pause, NULL);
	least = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - in;
	sp_span_exit(span);
	ck_assert_uint_ge(sp_atomic_value(&span_of(span)->cpu_ns), least);
	ck_assert_uint_le(sp_atomic_value(&span_of(span)->cpu_ns),
			  sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - before);
}
END_TEST

/* Of most stays: some are interrupted. */
START_TEST(reading_the_clock_is_no_cpu_time_of_a_stay)
{
	uint64_t span = create("span", SP_SPAN_NONE), reading_ns = UINT64_MAX;
	unsigned int short_stays = 0;

	for (unsigned int i = 0; i < 1000; i++) {
		uint64_t before = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
		uint64_t took = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - before;

		reading_ns = took < reading_ns ? took : reading_ns;
	}
	for (unsigned int i = 0; i < 1000; i++) {
		uint64_t before = cpu_of(span);

		sp_span_enter(span, 0);
		sp_span_exit(span);
		short_stays += cpu_of(span) - before < reading_ns;
	}
	ck_assert_uint_ge(short_stays, 500);
}
END_TEST

START_TEST(clock_of_cpu_time_is_only_read_when_wanted)
{
	const struct sp_span_settings settings = {.probability_millionths = 1000000,
						  .labels = ""};
	uint64_t span;

	sp_span_capture_init(&settings);
	span = create("span", SP_SPAN_NONE);
	sp_span_enter(span, 0);
	spend_ticks();
	sp_span_exit(span);
	ck_assert_uint_eq(sp_atomic_value(&span_of(span)->cpu_ns), 0);
	ck_assert_uint_ge(busy_of(span), 2000);
}
END_TEST

static void allocate(uint64_t times)
{
	sp_heap_self->allocations += times;
	sp_heap_self->bytes += 100 * times;
}

static void check_allocations(uint64_t handle, uint64_t times)
{
	ck_assert_uint_eq(sp_atomic_value(&span_of(handle)->allocations), times);
	ck_assert_uint_eq(sp_atomic_value(&span_of(handle)->alloc_bytes), 100 * times);
}

START_TEST(allocations_are_the_innermost_spans)
{
	uint64_t outer = create("outer", SP_SPAN_NONE);
	uint64_t inner = create("inner", outer);
	static struct sp_heap_thread heap;

	heap.allocations = 12345;
	heap.bytes = 6789;
	sp_heap_self = &heap;
	allocate(1000);
	sp_span_enter(outer, 0);
	allocate(1);
	sp_span_enter(inner, 0);
	allocate(20);
	sp_span_exit(inner);
	allocate(300);
	sp_span_exit(outer);
	allocate(1000);
	sp_span_enter(inner, 0);
	allocate(4000);
	sp_span_exit(inner);
	check_allocations(outer, 301);
	check_allocations(inner, 4020);
	sp_span_enter(outer, 0);
	sp_span_enter(outer, 0);
	allocate(5);
	sp_span_exit(outer);
	allocate(10);
	sp_span_exit(outer);
	check_allocations(outer, 316);
}
END_TEST

START_TEST(stays_so_far_can_be_counted_without_an_end)
{
	uint64_t outer = create("outer", SP_SPAN_NONE), inner = create("inner", outer);
	static struct sp_heap_thread heap;
	uint64_t settled_ns;

	sp_heap_self = &heap;
	sp_span_enter(outer, 0);
	sp_span_enter(inner, 0);
	allocate(7);
	spend_ticks();
	sp_span_settle();
	settled_ns = cpu_of(inner);
	ck_assert_uint_gt(settled_ns, 0);
	ck_assert_uint_ge(cpu_of(outer), settled_ns);
	check_allocations(inner, 7);
	ck_assert_str_eq(current_name(), "inner");
	ck_assert_uint_eq(entered_now(inner), 1);
	/* What comes later counts from there. */
	spend_ticks();
	sp_span_exit(inner);
	sp_span_exit(outer);
	ck_assert_uint_gt(cpu_of(inner), settled_ns);
	ck_assert_uint_ge(cpu_of(outer), cpu_of(inner));
	ck_assert_uint_le(cpu_of(outer), sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID));
	sp_span_settle();
	check_allocations(inner, 7);
}
END_TEST

/* --- memory in use --- */

START_TEST(blocks_count_for_the_span_that_they_were_made_in)
{
	uint64_t span = create("span", SP_SPAN_NONE), next;
	uint32_t mark;

	ck_assert_uint_eq(sp_span_mark().span, 0);
	sp_span_enter(span, 0);
	mark = sp_span_mark().span;
	sp_span_add_live(mark, 1, 100);
	sp_span_add_live(mark, 1, 50);
	sp_span_exit(span);
	sp_span_close(span);
	drain();
	ck_assert_uint_eq(state_of(span), SP_SPAN_HELD);
	sp_span_add_live(mark, -1, -50);
	ck_assert_int_eq(atomic_load(&span_of(span)->live_blocks), 1);
	ck_assert_int_eq(atomic_load(&span_of(span)->live_bytes), 100);
	/* Evicted: its blocks are nobody's, least of all those of the next span. */
	absorber->held_spans_max = 0;
	drain();
	next = create("next", SP_SPAN_NONE);
	ck_assert_uint_eq((uint32_t)next, (uint32_t)span);
	sp_span_add_live(mark, -1, -100);
	ck_assert_int_eq(atomic_load(&span_of(next)->live_blocks), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span");
	TCase *tc = tcase_create("span");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, begin_plain_spans, teardown);
	tcase_add_test(tc, samples_belong_to_the_innermost_span);
	tcase_add_test(tc, slot_tells_the_handler_what_it_samples);
	tcase_add_test(tc, paths_are_made_once_for_all_spans_in_one_place);
	tcase_add_test(tc, every_path_is_another);
	tcase_add_test(tc, callsites_differ_by_everything_they_say);
	tcase_add_test(tc, ten_thousand_deep_is_deep_but_no_harm);
	tcase_add_test(tc, stay_is_known_while_it_lasts);
	tcase_add_test(tc, stays_beyond_all_depth_are_counted);
	tcase_add_test(tc, busy_time_is_that_of_all_stays);
	tcase_add_test(tc, time_in_a_span_that_is_entered_again_counts_once);
	tcase_add_test(tc, cpu_time_is_the_threads_own);
	tcase_add_test(tc, reading_the_clock_is_no_cpu_time_of_a_stay);
	tcase_add_test(tc, clock_of_cpu_time_is_only_read_when_wanted);
	tcase_add_test(tc, allocations_are_the_innermost_spans);
	tcase_add_test(tc, stays_so_far_can_be_counted_without_an_end);
	tcase_add_test(tc, blocks_count_for_the_span_that_they_were_made_in);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
