/*
 * What reporters of events are told of spans that threads make, close and put into
 * entries that are free again while the consumer's pass over all entries goes on: what
 * threads do is done where it has absorbed a span, or gives an entry back.
 */
#include "test_span_reporters_fixture.h"

static uint64_t reused, inner;
static void (*act_of_threads)(void);

static void act_once(const char *step)
{
	void (*act)(void) = act_of_threads;

	if (!act || strcmp(step, "span: absorbed") != 0)
		return;
	act_of_threads = NULL;
	act();
}

/* When the pass has absorbed the first span. */
static void go_round_with(void (*act)(void))
{
	act_of_threads = act;
	sp_absorber_testpoint = act_once;
	go_round();
	sp_absorber_testpoint = NULL;
	ck_assert_msg(!act_of_threads, "nothing was absorbed");
}

static void take_at_once(uint32_t index)
{
	sp_span_give_back(index);
	if (!reused)
		reused = create("next", SP_SPAN_NONE);
}

START_TEST(entry_that_is_taken_at_once_tells_of_both_spans)
{
	uint64_t id = create("span", SP_SPAN_NONE);

	absorber->give_span_back = take_at_once;
	reused = 0;
	sp_span_close(id);
	go_round();
	ck_assert_uint_eq((uint32_t)reused, (uint32_t)id);
	ck_assert_uint_ne(event_recorder_span(recorder, id)->destroyed_at, 0);
	ck_assert_ptr_nonnull(event_recorder_span(recorder, reused));
	ck_assert_uint_eq(event_recorder_span(recorder, reused)->destroyed_at, 0);
	sp_span_close(reused);
	go_round();
	ck_assert_uint_ne(event_recorder_span(recorder, reused)->destroyed_at, 0);
}
END_TEST

static void make_parent_and_child(void)
{
	reused = create("parent", SP_SPAN_NONE);
	inner = create("child", reused);
	sp_span_close(inner);
	sp_span_close(reused);
}

/* It is seen in the next pass only, its child in this one. */
START_TEST(parent_in_an_entry_that_the_pass_is_past_is_around_its_child)
{
	uint64_t ids[3];
	const struct recorded_span *child;

	for (unsigned int i = 0; i < 3; i++)
		ids[i] = create("span", SP_SPAN_NONE);
	sp_span_close(ids[0]);
	sp_span_close(ids[1]);
	go_round();
	sp_span_close(ids[2]);
	go_round_with(make_parent_and_child);
	ck_assert_uint_lt((uint32_t)reused, (uint32_t)ids[2]);
	ck_assert_uint_lt((uint32_t)inner, (uint32_t)ids[2]);
	child = event_recorder_span(recorder, inner);
	ck_assert_ptr_nonnull(child);
	ck_assert_uint_ne(child->destroyed_at, 0);
	ck_assert_uint_eq(child->scope_count, 1);
	ck_assert_uint_eq(child->scope[0], reused);
	ck_assert_uint_eq(event_recorder_span(recorder, reused)->destroyed_at, 0);
	go_round();
	ck_assert_uint_ne(event_recorder_span(recorder, reused)->destroyed_at, 0);
}
END_TEST

/* Closed before anybody looks, which its child is not. */
static void close_a_parent(uint32_t index)
{
	if (!reused) {
		reused = create("parent", SP_SPAN_NONE);
		inner = create("child", reused);
		sp_span_close(reused);
	}
	sp_span_give_back(index);
}

START_TEST(parent_that_is_closed_behind_a_pass_is_around_its_child)
{
	uint64_t first = create("span", SP_SPAN_NONE), id = create("span", SP_SPAN_NONE);
	const struct recorded_span *child;

	sp_span_close(first);
	go_round();
	absorber->give_span_back = close_a_parent;
	reused = 0;
	sp_span_close(id);
	go_round();
	ck_assert_uint_eq((uint32_t)reused, (uint32_t)first);
	child = event_recorder_span(recorder, inner);
	ck_assert_ptr_nonnull(child);
	ck_assert_uint_eq(child->scope_count, 1);
	ck_assert_uint_eq(child->scope[0], reused);
	go_round();
	ck_assert_uint_ne(event_recorder_span(recorder, reused)->destroyed_at, 0);
	ck_assert_uint_eq(child->destroyed_at, 0);
}
END_TEST

/* Both, and the pass is past the child's entry alone. */
static void close_child_and_parent(void)
{
	inner = create("child", reused);
	sp_span_close(inner);
	sp_span_close(reused);
}

START_TEST(parent_that_ends_before_its_child_is_seen_is_around_it)
{
	uint64_t ids[2] = {create("old", SP_SPAN_NONE), create("old", SP_SPAN_NONE)};
	const struct recorded_span *child, *parent;

	reused = create("parent", SP_SPAN_NONE);
	sp_span_close(ids[0]);
	go_round();
	sp_span_close(ids[1]);
	go_round_with(close_child_and_parent);
	ck_assert_uint_eq((uint32_t)inner, (uint32_t)ids[0]);
	child = event_recorder_span(recorder, inner);
	parent = event_recorder_span(recorder, reused);
	ck_assert_ptr_nonnull(child);
	ck_assert_uint_eq(child->scope_count, 1);
	ck_assert_uint_eq(child->scope[0], reused);
	ck_assert_uint_ne(parent->destroyed_at, 0);
	ck_assert_uint_lt(child->created_at, parent->destroyed_at);
	go_round();
	ck_assert_uint_ne(child->destroyed_at, 0);
}
END_TEST

#define PASSES 5U

START_TEST(all_spans_that_an_entry_has_had_are_told)
{
	uint64_t ids[PASSES];

	for (unsigned int i = 0; i < PASSES; i++) {
		ids[i] = create("span", SP_SPAN_NONE);
		ck_assert_uint_eq((uint32_t)ids[i], (uint32_t)ids[0]);
		if (i == PASSES - 1)
			break;
		sp_span_enter(ids[i], 0);
		sp_span_exit(ids[i]);
		sp_span_close(ids[i]);
		drain();
	}
	ck_assert_uint_eq(recorder->calls, 0);
	go_round();
	ck_assert_uint_eq(recorder->count, PASSES);
	for (unsigned int i = 0; i < PASSES; i++) {
		const struct recorded_span *span = event_recorder_span(recorder, ids[i]);

		ck_assert_uint_eq(span->destroyed_at != 0, i < PASSES - 1);
		ck_assert_uint_eq(span->cpu_calls, i < PASSES - 1);
	}
	sp_span_close(ids[PASSES - 1]);
	go_round();
	ck_assert_uint_ne(event_recorder_span(recorder, ids[PASSES - 1])->destroyed_at,
			  0);
}
END_TEST

/* --- times that contain others --- */

#define STAY_TICKS UINT64_C(1000000)

static uint64_t outer;

/* As another thread that leaves both does it. */
static void add_stays(void)
{
	if (!inner)
		inner = create("child", outer);
	atomic_fetch_add(&span_of(inner)->stay_ticks, STAY_TICKS);
	atomic_fetch_add(&span_of(outer)->stay_ticks, STAY_TICKS);
}

static uint64_t told_ns(uint64_t id)
{
	return event_recorder_span(recorder, id)->busy_ns;
}

/* The pass first meets a span that has something to tell, whose entry is between those
 * of the child and of the span around it. */
static void check_outer_is_told_with_its_child(bool is_there_before)
{
	uint64_t ids[3], first;

	for (unsigned int i = 0; i < 3; i++)
		ids[i] = create("old", SP_SPAN_NONE);
	outer = create("outer", SP_SPAN_NONE);
	for (unsigned int i = 0; i < 3; i++)
		sp_span_close(ids[i]);
	go_round();
	first = create("first", SP_SPAN_NONE);
	inner = is_there_before ? create("child", outer) : 0;
	atomic_store(&span_of(first)->stay_ticks, STAY_TICKS);
	go_round_with(add_stays);
	ck_assert_uint_lt((uint32_t)inner, (uint32_t)first);
	ck_assert_uint_lt((uint32_t)first, (uint32_t)outer);
	ck_assert_uint_eq(told_ns(outer), ns_of(STAY_TICKS));
	ck_assert_uint_eq(told_ns(inner), told_ns(outer));
}

START_TEST(time_of_a_span_is_told_with_that_of_those_inside)
{
	check_outer_is_told_with_its_child(true);
}
END_TEST

START_TEST(time_of_a_span_is_told_with_that_of_those_that_come_behind_the_pass)
{
	check_outer_is_told_with_its_child(false);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_reporters_pass");
	TCase *tc = make_case("one", setup);

	tcase_add_test(tc, entry_that_is_taken_at_once_tells_of_both_spans);
	tcase_add_test(tc, parent_in_an_entry_that_the_pass_is_past_is_around_its_child);
	tcase_add_test(tc, parent_that_is_closed_behind_a_pass_is_around_its_child);
	tcase_add_test(tc, parent_that_ends_before_its_child_is_seen_is_around_it);
	tcase_add_test(tc, all_spans_that_an_entry_has_had_are_told);
	tcase_add_test(tc, time_of_a_span_is_told_with_that_of_those_inside);
	tcase_add_test(
		tc, time_of_a_span_is_told_with_that_of_those_that_come_behind_the_pass);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
