/*
 * From spans to the sums of their paths: what of which span arrives when, what is kept,
 * and what is told to those who want to know.
 */
#include "sp_clock.h"
#include "span_absorb.h"
#include "test_span_fixture.h"

#include <check.h>

static struct sp_recording recording;
static struct sp_absorber *absorber;
static uint32_t path, other;
static uint64_t now_ticks;

/* --- who is told --- */

#define TOLD_MAX 64U
#define GIVEN_MAX 32768U

static struct {
	const struct sp_span *changed[TOLD_MAX], *ended[TOLD_MAX];
	struct sp_span_delta deltas[TOLD_MAX];
	unsigned int changes, ends;
	uint32_t given[GIVEN_MAX];
	unsigned int given_count;
} told;

static void note_changed(void *context, const struct sp_span *span,
			 const struct sp_span_delta *delta)
{
	ck_assert_ptr_eq(context, &told);
	ck_assert_uint_lt(told.changes, TOLD_MAX);
	told.changed[told.changes] = span;
	told.deltas[told.changes++] = *delta;
}

static void note_ended(void *context, const struct sp_span *span)
{
	ck_assert_ptr_eq(context, &told);
	/* It is still itself. */
	ck_assert_uint_ne(atomic_load(&span->state), SP_SPAN_FREE);
	ck_assert_uint_lt(told.ends, TOLD_MAX);
	told.ended[told.ends++] = span;
}

static void note_given(uint32_t index)
{
	ck_assert_uint_eq(atomic_load(&test_span_at(&recording, index)->state),
			  SP_SPAN_FREE);
	ck_assert_uint_lt(told.given_count, GIVEN_MAX);
	told.given[told.given_count++] = index;
}

static uint64_t read_now(void)
{
	return now_ticks;
}

static void setup(void)
{
	ck_assert_int_eq(test_recording_make(&recording, "/proc/nonexistent",
					     SP_RECORDING_BYTES_MIN * 32),
			 0);
	test_spans_begin(&recording);
	absorber = calloc(1, sizeof(*absorber));
	ck_assert_ptr_nonnull(absorber);
	ck_assert_int_eq(sp_absorber_init(absorber, &recording), 0);
	absorber->give_span_back = note_given;
	absorber->now_ticks = read_now;
	absorber->held_spans_max = 1000;
	absorber->context = &told;
	memset(&told, 0, sizeof(told));
	now_ticks = 0;
	path = test_named_path(&recording, "path", 0);
	other = test_named_path(&recording, "other", 0);
}

static void teardown(void)
{
	sp_absorber_fini(absorber);
	free(absorber);
	sp_recording_detach(&recording);
}

static struct sp_span *make_span(uint32_t of_path, uint64_t created_ticks)
{
	return test_span_at(&recording, test_span(&recording, of_path, created_ticks));
}

static void do_something(struct sp_span *span, uint64_t times)
{
	test_span_stay(span, 100 * times);
	atomic_fetch_add(&span->cpu_ns, 10 * times);
	atomic_fetch_add(&span->allocations, times);
	atomic_fetch_add(&span->alloc_bytes, 64 * times);
	atomic_fetch_add(&span->entered, times);
}

static void check_path(uint32_t index, uint64_t times, uint64_t idle_ticks,
		       uint64_t spans)
{
	const struct sp_span_path *sums = test_path_at(&recording, index);

	ck_assert_uint_eq(sp_atomic_value(&sums->busy_ticks), 100 * times);
	ck_assert_uint_eq(sp_atomic_value(&sums->cpu_ns), 10 * times);
	ck_assert_uint_eq(sp_atomic_value(&sums->allocations), times);
	ck_assert_uint_eq(sp_atomic_value(&sums->alloc_bytes), 64 * times);
	ck_assert_uint_eq(sp_atomic_value(&sums->entered), times);
	ck_assert_uint_eq(sp_atomic_value(&sums->idle_ticks), idle_ticks);
	ck_assert_uint_eq(sp_atomic_value(&sums->spans), spans);
}

static uint64_t busy_ticks_of(uint32_t index)
{
	return sp_atomic_value(&test_path_at(&recording, index)->busy_ticks);
}

static uint64_t idle_ticks_of(uint32_t index)
{
	return sp_atomic_value(&test_path_at(&recording, index)->idle_ticks);
}

static uint32_t state_of(const struct sp_span *span)
{
	return atomic_load(&span->state);
}

/* --- sums --- */

START_TEST(closed_span_is_in_the_sums_of_its_path)
{
	struct sp_span *span = make_span(path, 1000);

	do_something(span, 3);
	test_span_close(span, 1700);
	ck_assert_uint_eq(sp_span_absorb(absorber), 1);
	check_path(path, 3, 400, 1);
	check_path(other, 0, 0, 0);
	ck_assert_uint_eq(state_of(span), SP_SPAN_FREE);
	ck_assert_uint_eq(told.given_count, 1);
	/* Once. */
	ck_assert_uint_eq(sp_span_absorb(absorber), 0);
	check_path(path, 3, 400, 1);
}
END_TEST

START_TEST(open_span_arrives_bit_by_bit)
{
	struct sp_span *span = make_span(path, 1000);

	for (uint64_t i = 1; i <= 5; i++) {
		do_something(span, i);
		now_ticks = 1000 + 1000 * i;
		ck_assert_uint_eq(sp_span_absorb(absorber), 0);
		check_path(path, i * (i + 1) / 2, 1000 * i - 100 * (i * (i + 1) / 2), 0);
	}
	do_something(span, 5);
	test_span_close(span, 9000);
	ck_assert_uint_eq(sp_span_absorb(absorber), 1);
	check_path(path, 20, 8000 - 2000, 1);
	ck_assert_uint_eq(told.given_count, 1);
}
END_TEST

START_TEST(stay_arrives_bit_by_bit)
{
	struct sp_span *span = make_span(path, 1000);

	test_span_enter(span, 2000);
	now_ticks = 5000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 3000);
	ck_assert_uint_eq(idle_ticks_of(path), 1000);
	now_ticks = 6000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 4000);
	test_span_exit(span, 6100);
	test_span_close(span, 6300);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 4100);
	ck_assert_uint_eq(idle_ticks_of(path), 1200);
}
END_TEST

START_TEST(stays_of_several_threads_are_all_counted)
{
	struct sp_span *span = make_span(path, 1000);

	for (uint64_t i = 1; i <= 3; i++)
		test_span_enter(span, 1000 + 100 * i);
	now_ticks = 2000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 900 + 800 + 700);
	test_span_exit(span, 2500);
	now_ticks = 3000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 2500 + 2 * 3000 - 3 * 1000 - 600);
}
END_TEST

/* Idle is what nobody was in it, however many were. */
START_TEST(span_idles_while_no_thread_is_in_it)
{
	struct sp_span *span = make_span(path, 1000);

	test_span_enter(span, 1300);
	test_span_enter(span, 1400);
	test_span_exit(span, 1900);
	now_ticks = 1950;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 300);
	test_span_exit(span, 2000);
	now_ticks = 2100;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 400);
	for (unsigned int i = 0; i < 3; i++)
		test_span_enter(span, 2250);
	for (unsigned int i = 0; i < 3; i++)
		test_span_exit(span, 2300);
	now_ticks = 2400;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 300 + 250 + 100);
	test_span_close(span, 2500);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 300 + 250 + 200);
	ck_assert_uint_eq(busy_ticks_of(path), 700 + 500 + 3 * 50);
}
END_TEST

/* A pass has read its clock before: what it then finds is later than that. */
START_TEST(idle_time_is_never_more_than_there_was)
{
	struct sp_span *span = make_span(path, 1000);

	test_span_enter(span, 1600);
	now_ticks = 1500;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 500);
	test_span_exit(span, 1700);
	now_ticks = 1650;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 550);
	/* By another processor's clock. */
	test_span_close(span, 1690);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(path), 590);
	ck_assert_uint_eq(idle_ticks_of(other), 0);
	test_span_close(make_span(other, 2000), 1900);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(idle_ticks_of(other), 0);
}
END_TEST

/* The count of those inside and their stays are two words. */
START_TEST(thread_in_the_midst_of_a_change_is_counted_once)
{
	struct sp_span *span = make_span(path, 1000);
	struct sp_span_use use = sp_span_use_guess(span);

	/* It is about to be in it, when the pass comes late. */
	ck_assert(sp_span_use_change(span, &use, sp_span_use_with(use, 1500)));
	now_ticks = 5000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 0);
	ck_assert_uint_eq(idle_ticks_of(path), 500);
	sp_span_stay_begin(span, 1500);
	now_ticks = 6000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 4500);
	ck_assert_uint_eq(idle_ticks_of(path), 500);
	/* It is about to be out of it. */
	sp_span_stay_end(span, 6500);
	now_ticks = 8000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 5000);
	ck_assert_uint_eq(idle_ticks_of(path), 500);
	use = sp_span_use_guess(span);
	ck_assert(sp_span_use_change(span, &use, sp_span_use_without(use, 6500)));
	now_ticks = 9000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 5000);
	ck_assert_uint_eq(idle_ticks_of(path), 3000);
}
END_TEST

/* Of two words that change at once a change sees both. */
START_TEST(change_of_what_has_changed_is_refused)
{
	struct sp_span *span = make_span(path, 1000);
	struct sp_span_use use = sp_span_use_guess(span), before = use;

	test_span_enter(span, 1500);
	test_span_exit(span, 1600);
	ck_assert(!sp_span_use_change(span, &use, sp_span_use_with(use, 1700)));
	ck_assert_uint_eq(use.word, before.word | SP_SPAN_USE_ENTERED);
	ck_assert_uint_eq(use.idle_ticks, before.idle_ticks - 100);
	ck_assert(sp_span_use_change(span, &use, sp_span_use_with(use, 1700)));
	ck_assert_uint_eq(sp_span_entered_now(span), 1);
}
END_TEST

/* As a handler that jumps away can leave it. */
START_TEST(stay_that_nobody_ends_lasts_until_its_span_is_closed)
{
	struct sp_span *span = make_span(path, 1000);
	struct sp_span_use use;

	test_span_enter(span, 2000);
	use = sp_span_use_guess(span);
	ck_assert(sp_span_use_change(span, &use, sp_span_use_without(use, 2500)));
	now_ticks = 3000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 1000);
	test_span_close(span, 5000);
	now_ticks = 8000;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 3000);
	ck_assert_uint_eq(idle_ticks_of(path), 1000 + 2500);
}
END_TEST

/* Clocks as of a machine that has been up for years, and of one that has just begun. */
START_TEST(stays_are_known_at_any_time)
{
	static const uint64_t clocks[] = {0, 1, UINT64_C(1) << 40, UINT64_C(1) << 58};
	struct sp_span *span = make_span(path, clocks[_i]);
	uint64_t idle_ticks = 0, last_ticks = clocks[_i];

	for (uint32_t inside = 1; inside <= 10000; inside *= 10) {
		uint64_t before = busy_ticks_of(path);

		for (uint32_t i = 0; i < inside; i++)
			test_span_enter(span, clocks[_i] + 20 * inside);
		idle_ticks += clocks[_i] + 20 * inside - last_ticks;
		now_ticks = last_ticks = clocks[_i] + 29 * inside;
		sp_span_absorb(absorber);
		ck_assert_uint_eq(busy_ticks_of(path) - before, inside * 9 * inside);
		ck_assert_uint_eq(idle_ticks_of(path), idle_ticks);
		for (uint32_t i = 0; i < inside; i++)
			test_span_exit(span, now_ticks);
	}
}
END_TEST

/* Killed, with one in it and one about to be. */
START_TEST(stays_of_a_killed_process_last_until_its_last_sign_of_life)
{
	struct sp_span *span = make_span(path, 1000);

	absorber->now_ticks = NULL;
	absorber->give_span_back = NULL;
	atomic_store(&recording.header->span_last_ticks, 1500);
	test_span_close(make_span(other, 1000), 4000);
	make_span(other, UINT64_MAX);
	test_span_enter(span, 2000);
	atomic_fetch_add(&span->use, 1);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 2000);
	ck_assert_uint_eq(idle_ticks_of(path), 1000);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 2000);
}
END_TEST

/* But no sign from so far beyond: that is damage. */
START_TEST(stays_of_a_killed_process_last_until_a_thread_was_seen_last)
{
	struct sp_span *span = make_span(path, 1000);
	struct sp_slot *seen = test_thread(&recording, 0, false);
	struct sp_slot *damaged = test_thread(&recording, 0, false);

	ck_assert_ptr_nonnull(seen);
	ck_assert_ptr_nonnull(damaged);
	absorber->now_ticks = NULL;
	absorber->give_span_back = NULL;
	atomic_store(&recording.header->span_last_ticks, 1500);
	atomic_store(&seen->span_seen_ticks, 4500);
	atomic_store(&damaged->span_seen_ticks, UINT64_C(1) << 60);
	test_span_enter(span, 2000);
	atomic_fetch_add(&span->use, 1);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(busy_ticks_of(path), 2500);
	ck_assert_uint_eq(idle_ticks_of(path), 1000);
}
END_TEST

START_TEST(many_spans_add_up)
{
	uint64_t times[2] = {0, 0}, spans[2] = {0, 0};

	for (uint64_t i = 0; i < 3000; i++) {
		struct sp_span *span = make_span(i % 3 ? path : other, 0);

		do_something(span, i);
		times[i % 3 != 0] += i;
		if (i % 4 == 0)
			continue;
		test_span_close(span, 100 * i);
		spans[i % 3 != 0]++;
	}
	ck_assert_uint_eq(sp_span_absorb(absorber), 2250);
	check_path(other, times[0], 0, spans[0]);
	check_path(path, times[1], 0, spans[1]);
	ck_assert_uint_eq(told.given_count, 2250);
	ck_assert_uint_eq(absorber->spans_in_use, 750);
}
END_TEST

START_TEST(span_that_is_being_created_is_left_alone)
{
	struct sp_span *span = make_span(path, 1000);

	do_something(span, 1);
	atomic_store(&span->state, SP_SPAN_CLAIMED);
	ck_assert_uint_eq(sp_span_absorb(absorber), 0);
	check_path(path, 0, 0, 0);
	ck_assert_uint_eq(state_of(span), SP_SPAN_CLAIMED);
	ck_assert_uint_eq(absorber->spans_in_use, 1);
}
END_TEST

START_TEST(drain_absorbs_spans_too)
{
	test_span_close(make_span(path, 1000), 1500);
	ck_assert_uint_eq(sp_absorber_drain(absorber), 1);
	check_path(path, 0, 500, 1);
}
END_TEST

/* As the command does it: nobody tells what time it is. */
START_TEST(open_span_of_a_killed_process_has_no_idle_time)
{
	struct sp_span *span = make_span(path, 1000);

	absorber->now_ticks = NULL;
	absorber->give_span_back = NULL;
	do_something(span, 2);
	sp_span_absorb(absorber);
	check_path(path, 2, 0, 0);
}
END_TEST

/* --- memory --- */

START_TEST(closed_span_is_held_until_its_memory_is_gone)
{
	struct sp_span *span = make_span(path, 1000);

	do_something(span, 1);
	atomic_store(&span->live_blocks, 2);
	test_span_close(span, 1100);
	ck_assert_uint_eq(sp_span_absorb(absorber), 1);
	check_path(path, 1, 0, 1);
	ck_assert_uint_eq(state_of(span), SP_SPAN_HELD);
	ck_assert_uint_eq(absorber->spans_in_use, 1);
	atomic_store(&span->live_blocks, 1);
	ck_assert_uint_eq(sp_span_absorb(absorber), 0);
	ck_assert_uint_eq(state_of(span), SP_SPAN_HELD);
	atomic_store(&span->live_blocks, 0);
	ck_assert_uint_eq(sp_span_absorb(absorber), 0);
	ck_assert_uint_eq(state_of(span), SP_SPAN_FREE);
	ck_assert_uint_eq(told.given_count, 1);
	check_path(path, 1, 0, 1);
}
END_TEST

static void hold(uint64_t closed_ticks)
{
	struct sp_span *span = make_span(path, 0);

	atomic_store(&span->live_blocks, 1);
	test_span_close(span, closed_ticks);
}

static uint64_t evicted(void)
{
	return sp_atomic_value(&recording.header->losses[SP_LOSS_SPAN_EVICTED]);
}

START_TEST(those_that_were_closed_first_go_when_too_many_are_held)
{
	static const uint64_t closed_ticks[] = {500, 100, 900, 300, 700, 200, 800, 400};

	absorber->held_spans_max = 5;
	for (size_t i = 0; i < SP_ARRAY_COUNT(closed_ticks); i++)
		hold(closed_ticks[i] << 32);
	ck_assert_uint_eq(sp_span_absorb(absorber), SP_ARRAY_COUNT(closed_ticks));
	ck_assert_uint_eq(evicted(), 3);
	ck_assert_uint_eq(told.given_count, 3);
	for (uint32_t i = 0; i < SP_ARRAY_COUNT(closed_ticks); i++)
		ck_assert_uint_eq(state_of(test_span_at(&recording, i)),
				  closed_ticks[i] <= 300 ? SP_SPAN_FREE : SP_SPAN_HELD);
	ck_assert_uint_eq(absorber->spans_in_use, 5);
	/* As many as may be stay. */
	sp_span_absorb(absorber);
	ck_assert_uint_eq(evicted(), 3);
}
END_TEST

START_TEST(spans_closed_at_one_moment_go_by_number)
{
	absorber->held_spans_max = 5;
	for (unsigned int i = 0; i < 12; i++)
		hold(1000);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(evicted(), 7);
	absorber->held_spans_max = 0;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(evicted(), 12);
	ck_assert_uint_eq(absorber->spans_in_use, 0);
}
END_TEST

/* Of a program that forgets what every request allocates. */
START_TEST(very_many_go_at_once)
{
	uint64_t count = 0;
	uint64_t start_ns;

	absorber->held_spans_max = 10;
	while (count < 30000 && test_span(&recording, path, 0) != UINT32_MAX) {
		struct sp_span *span = test_span_at(&recording, count);

		atomic_store(&span->live_blocks, 1);
		test_span_close(span, count++);
	}
	ck_assert_uint_gt(count, 20000);
	start_ns = sp_clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
	sp_span_absorb(absorber);
	ck_assert_uint_lt(sp_clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) - start_ns,
			  SP_NS_PER_SECOND / 2);
	ck_assert_uint_eq(evicted(), count - 10);
	ck_assert_uint_eq(told.given_count, count - 10);
	/* The last 10 are among the youngest 64th. */
	for (uint64_t i = 0; i < count - count / 64 - 1; i++)
		ck_assert_uint_eq(state_of(test_span_at(&recording, i)), SP_SPAN_FREE);
}
END_TEST

START_TEST(command_evicts_nothing)
{
	absorber->held_spans_max = 0;
	absorber->give_span_back = NULL;
	hold(1000);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(evicted(), 0);
	ck_assert_uint_eq(state_of(test_span_at(&recording, 0)), SP_SPAN_HELD);
}
END_TEST

/* --- telling --- */

START_TEST(changes_are_told_and_then_the_end)
{
	struct sp_span *span = make_span(path, 1000);
	uint64_t busy_ticks = 0, idle_ticks = 0, allocations = 0;

	absorber->span_changed = note_changed;
	absorber->span_ended = note_ended;
	do_something(span, 2);
	now_ticks = 1500;
	sp_span_absorb(absorber);
	ck_assert_uint_eq(told.changes, 1);
	/* Nothing new: nothing is told. */
	sp_span_absorb(absorber);
	ck_assert_uint_eq(told.changes, 1);
	do_something(span, 3);
	atomic_store(&span->live_blocks, 1);
	test_span_close(span, 2000);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(told.changes, 2);
	ck_assert_uint_eq(told.ends, 0);
	atomic_store(&span->live_blocks, 0);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(told.changes, 2);
	ck_assert_uint_eq(told.ends, 1);
	ck_assert_ptr_eq(told.ended[0], span);
	for (unsigned int i = 0; i < told.changes; i++) {
		ck_assert_ptr_eq(told.changed[i], span);
		busy_ticks += told.deltas[i].busy_ticks;
		idle_ticks += told.deltas[i].idle_ticks;
		allocations += told.deltas[i].allocations;
	}
	ck_assert_uint_eq(busy_ticks, 500);
	ck_assert_uint_eq(idle_ticks, 500);
	ck_assert_uint_eq(allocations, 5);
}
END_TEST

START_TEST(span_that_did_nothing_has_an_end_too)
{
	absorber->span_changed = note_changed;
	absorber->span_ended = note_ended;
	test_span_close(make_span(path, 1000), 1000);
	sp_span_absorb(absorber);
	ck_assert_uint_eq(told.changes, 1);
	ck_assert_uint_eq(told.ends, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_absorb");
	TCase *tc = tcase_create("span_absorb");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, closed_span_is_in_the_sums_of_its_path);
	tcase_add_test(tc, open_span_arrives_bit_by_bit);
	tcase_add_test(tc, stay_arrives_bit_by_bit);
	tcase_add_test(tc, stays_of_several_threads_are_all_counted);
	tcase_add_test(tc, span_idles_while_no_thread_is_in_it);
	tcase_add_test(tc, idle_time_is_never_more_than_there_was);
	tcase_add_test(tc, thread_in_the_midst_of_a_change_is_counted_once);
	tcase_add_test(tc, change_of_what_has_changed_is_refused);
	tcase_add_test(tc, stay_that_nobody_ends_lasts_until_its_span_is_closed);
	tcase_add_loop_test(tc, stays_are_known_at_any_time, 0, 4);
	tcase_add_test(tc, stays_of_a_killed_process_last_until_its_last_sign_of_life);
	tcase_add_test(tc, stays_of_a_killed_process_last_until_a_thread_was_seen_last);
	tcase_add_test(tc, many_spans_add_up);
	tcase_add_test(tc, span_that_is_being_created_is_left_alone);
	tcase_add_test(tc, drain_absorbs_spans_too);
	tcase_add_test(tc, open_span_of_a_killed_process_has_no_idle_time);
	tcase_add_test(tc, closed_span_is_held_until_its_memory_is_gone);
	tcase_add_test(tc, those_that_were_closed_first_go_when_too_many_are_held);
	tcase_add_test(tc, spans_closed_at_one_moment_go_by_number);
	tcase_add_test(tc, very_many_go_at_once);
	tcase_add_test(tc, command_evicts_nothing);
	tcase_add_test(tc, changes_are_told_and_then_the_end);
	tcase_add_test(tc, span_that_did_nothing_has_an_end_too);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
