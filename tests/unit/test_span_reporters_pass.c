/*
 * What reporters of events are told of spans that threads make, close and put into
 * entries that are free again while the consumer's pass over all entries goes on. The
 * function that gives an entry back is called in its midst, and does what threads do.
 */
#include "test_span_reporters_fixture.h"

/* What other threads do when the pass gives back the first entry. */
static uint64_t reused, inner;

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

/* Its child comes into an entry that the pass has not reached. */
static void take_for_a_parent(uint32_t index)
{
	sp_span_give_back(index);
	if (reused)
		return;
	reused = create("parent", SP_SPAN_NONE);
	inner = create("child", reused);
	sp_span_close(inner);
	sp_span_close(reused);
}

START_TEST(parent_in_an_entry_that_is_taken_at_once_is_around_its_child)
{
	uint64_t id = create("span", SP_SPAN_NONE), last = create("last", SP_SPAN_NONE);
	const struct recorded_span *child;

	sp_span_close(last);
	go_round();
	absorber->give_span_back = take_for_a_parent;
	reused = 0;
	sp_span_close(id);
	go_round();
	ck_assert_uint_eq((uint32_t)reused, (uint32_t)id);
	ck_assert_uint_eq((uint32_t)inner, (uint32_t)last);
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

/* Both, and the pass is past the child alone. */
static void close_child_and_parent(uint32_t index)
{
	absorber->give_span_back = sp_span_give_back;
	inner = create("child", reused);
	sp_span_close(inner);
	sp_span_close(reused);
	sp_span_give_back(index);
}

START_TEST(parent_that_ends_before_its_child_is_seen_is_around_it)
{
	uint64_t ids[2] = {create("old", SP_SPAN_NONE), create("old", SP_SPAN_NONE)};
	const struct recorded_span *child, *parent;

	reused = create("parent", SP_SPAN_NONE);
	sp_span_close(ids[0]);
	go_round();
	absorber->give_span_back = close_child_and_parent;
	sp_span_close(ids[1]);
	go_round();
	ck_assert_uint_eq((uint32_t)inner, (uint32_t)ids[0]);
	child = event_recorder_span(recorder, inner);
	parent = event_recorder_span(recorder, reused);
	ck_assert_ptr_nonnull(child);
	ck_assert_uint_eq(child->scope_count, 1);
	ck_assert_uint_eq(child->scope[0], reused);
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

int main(void)
{
	Suite *suite = suite_create("span_reporters_pass");
	TCase *tc = make_case("one", setup);

	tcase_add_test(tc, entry_that_is_taken_at_once_tells_of_both_spans);
	tcase_add_test(tc, parent_in_an_entry_that_is_taken_at_once_is_around_its_child);
	tcase_add_test(tc, parent_that_is_closed_behind_a_pass_is_around_its_child);
	tcase_add_test(tc, parent_that_ends_before_its_child_is_seen_is_around_it);
	tcase_add_test(tc, all_spans_that_an_entry_has_had_are_told);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
