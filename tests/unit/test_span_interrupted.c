/*
 * Spans whose changes are interrupted at any instruction: by another who closes the span,
 * or by a handler of the program that jumps away.
 */
#include "sp_span_change.h"
#include "span_stack.h"
#include "span_stays.h"
#include "test_span_capture_fixture.h"
#include "test_steps_fixture.h"

#include <setjmp.h>

static struct sp_slot slot;
static uint64_t span;
static uint32_t callsite;

static void setup(void)
{
	begin_plain_spans();
	memset(&slot, 0, sizeof(slot));
	atomic_store(&slot.stack_high, UINT64_MAX);
	steps_begin();
	/* Its thread, its names and some entries are there. */
	for (unsigned int i = 0; i < 3; i++) {
		span = create("span", SP_SPAN_NONE);
		sp_span_enter(span, 0);
		sp_span_exit(span);
		sp_span_close(span);
		drain();
	}
	sp_span_thread_begin(&slot);
	callsite = site("span");
}

/* --- changes, all of one span --- */

#define FRAME UINT64_C(0x1000)

static void create_it(void)
{
	span = create("span", SP_SPAN_NONE);
}

static void enter_it(void)
{
	sp_span_enter(span, FRAME);
}

static void exit_it(void)
{
	sp_span_exit(span);
}

static void close_it(void)
{
	sp_span_close(span);
}

/* At once, as a call of a function is one. A change begins in a frame of its own. */
static __attribute__((noinline)) void begin_it(void)
{
	uint64_t before = sp_span_begin_change();

	span = sp_span_begin_within(callsite, FRAME);
	sp_span_end_change(before);
}

static __attribute__((noinline)) void end_it(void)
{
	uint64_t before = sp_span_begin_change();

	sp_span_end_within(span);
	sp_span_end_change(before);
}

static uint64_t spans_closed(void)
{
	return sp_atomic_value(&test_path_at(recorded(), 0)->spans);
}

/* --- somebody closes it --- */

START_TEST(span_that_is_closed_while_it_is_entered_does_not_stay_open)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		uint64_t closed = spans_closed();

		span = create("span", SP_SPAN_NONE);
		if (!interrupt(enter_it, close_it, at))
			close_it();
		exit_it();
		ck_assert_ptr_null(current_name());
		drain();
		ck_assert_msg(spans_closed() == closed + 1,
			      "open when closed at instruction %u", at);
		ck_assert_uint_eq(entered_now(span), 0);
	}
}
END_TEST

START_TEST(span_that_is_closed_while_it_is_left_does_not_stay_open)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		uint64_t closed = spans_closed();

		span = create("span", SP_SPAN_NONE);
		enter_it();
		if (!interrupt(exit_it, close_it, at))
			close_it();
		drain();
		ck_assert_msg(spans_closed() == closed + 1,
			      "open when closed at instruction %u", at);
	}
}
END_TEST

START_TEST(span_that_is_closed_while_it_ends_ends_once)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		uint64_t closed = spans_closed();

		begin_it();
		interrupt(end_it, close_it, at);
		ck_assert_ptr_null(current_name());
		drain();
		ck_assert_msg(spans_closed() == closed + 1,
			      "not closed once at instruction %u", at);
	}
	/* One of the two is always too much. */
	ck_assert_uint_gt(lost(SP_LOSS_SPAN_MISUSE), 0);
}
END_TEST

static uint64_t other;

static void use_other(void)
{
	other = create("other", SP_SPAN_NONE);
	sp_span_enter(other, 0);
	sp_span_exit(other);
}

START_TEST(two_spans_never_get_one_entry)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		if (!interrupt(create_it, use_other, at))
			use_other();
		ck_assert_uint_ne((uint32_t)span, (uint32_t)other);
		sp_span_close(other);
		close_it();
		drain();
	}
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
}
END_TEST

START_TEST(stays_may_begin_and_end_at_any_moment_of_another)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		span = create("span", SP_SPAN_NONE);
		if (interrupt(enter_it, use_other, at))
			sp_span_close(other);
		ck_assert_str_eq(current_name(), "span");
		ck_assert_uint_eq(entered_now(span), 1);
		if (interrupt(exit_it, use_other, at))
			sp_span_close(other);
		ck_assert_ptr_null(current_name());
		ck_assert_uint_eq(entered_now(span), 0);
		close_it();
		drain();
		ck_assert_uint_eq(state_of(span), SP_SPAN_FREE);
	}
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
}
END_TEST

/* --- a kill leaves what there is at that moment --- */

static uint64_t begun_ticks, least_ticks, least_idle_ticks;

/* No more than there has been time for, and no less than there was before; and what it
 * has not been busy for it has idled, but for what the change takes. */
static void check_stays(void)
{
	uint64_t now_ticks = sp_clock_ticks(), busy_ticks = 0, idle_ticks = 0;

	ck_assert(sp_span_stays_at(span_of(span), now_ticks, &busy_ticks));
	ck_assert_uint_ge(busy_ticks, least_ticks);
	ck_assert(sp_span_idle_at(span_of(span), now_ticks, &idle_ticks));
	ck_assert_uint_ge(idle_ticks, least_idle_ticks);
	ck_assert_uint_le(busy_ticks + least_idle_ticks, now_ticks - begun_ticks);
	ck_assert_uint_le(idle_ticks + least_ticks, now_ticks - begun_ticks);
}

START_TEST(time_of_a_stay_is_whole_at_any_moment)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		least_ticks = least_idle_ticks = 0;
		begun_ticks = sp_clock_ticks();
		span = create("span", SP_SPAN_NONE);
		spend_ticks();
		least_idle_ticks = 4000;
		interrupt(enter_it, check_stays, at);
		spend_ticks();
		least_ticks = 4000;
		check_stays();
		interrupt(exit_it, check_stays, at);
		spend_ticks();
		least_idle_ticks = 8000;
		check_stays();
		close_it();
		drain();
	}
}
END_TEST

/* It does not idle from when it begins to when it ends. */
START_TEST(time_of_a_stay_is_whole_when_its_span_ends_with_it)
{
	uint64_t idle_before = sp_atomic_value(&test_path_at(recorded(), 0)->idle_ticks);
	for (uint32_t at = 1; at; at = next_step(at)) {
		least_ticks = least_idle_ticks = 0;
		begun_ticks = sp_clock_ticks();
		begin_it();
		spend_ticks();
		least_ticks = 4000;
		check_stays();
		interrupt(end_it, check_stays, at);
		spend_ticks();
		ck_assert_uint_ge(busy_of(span), least_ticks);
		ck_assert_uint_eq(state_of(span), SP_SPAN_CLOSED);
		drain();
	}
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->idle_ticks),
			  idle_before);
}
END_TEST

/* --- the consumer looks --- */

static uint64_t times_of_path(void)
{
	const struct sp_span_path *sums = test_path_at(recorded(), 0);

	return sp_atomic_value(&sums->busy_ticks) + sp_atomic_value(&sums->idle_ticks);
}

static void look(void)
{
	spend_ticks();
	drain();
}

/* A closed one was busy or idle at any time of its life, which ended at last_ticks or
 * before. */
static void check_life(uint64_t before, uint64_t last_ticks, uint32_t at)
{
	uint64_t life_ticks = span_of(span)->closed_ticks - span_of(span)->created_ticks;

	ck_assert_uint_le(span_of(span)->closed_ticks, last_ticks);
	drain();
	ck_assert_msg(times_of_path() - before == life_ticks,
		      "busy and idle for %ld ticks too long, looked at instruction %u",
		      (long)(times_of_path() - before - life_ticks), at);
}

/* Who looks counts the thread as it is then, be it in the middle of a change. */
START_TEST(no_time_is_counted_twice_when_a_stay_is_looked_at)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		uint64_t before = times_of_path();

		span = create("span", SP_SPAN_NONE);
		spend_ticks();
		interrupt(enter_it, look, at);
		/* Shorter than the look. */
		interrupt(exit_it, look, at);
		close_it();
		check_life(before, sp_clock_ticks(), at);
	}
}
END_TEST

/* One that is found open right before it is made final ends with that look. */
START_TEST(no_time_is_counted_twice_when_an_end_is_looked_at)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		uint64_t before = times_of_path(), begin_ticks, end_ticks;

		begin_it();
		begin_ticks = span_of(span)->created_ticks;
		interrupt(end_it, look, at);
		end_ticks = sp_clock_ticks();
		drain();
		ck_assert_uint_le(times_of_path() - before, end_ticks - begin_ticks);
	}
}
END_TEST

/* --- two leave at once --- */

static uint64_t left_ticks;

/* Another thread that was in it, too, as it goes. */
static void leave_as_another(void)
{
	spend_ticks();
	left_ticks = sp_clock_ticks();
	test_span_exit(span_of(span), left_ticks);
}

/* Who goes last has perhaps read its clock before the other one. */
START_TEST(span_idles_from_when_the_last_thread_has_left)
{
	for (uint32_t at = 1; at; at = next_step(at)) {
		uint64_t idle_ticks = 0, now_ticks;

		begin_it();
		test_span_enter(span_of(span), sp_clock_ticks());
		left_ticks = 0;
		if (!interrupt(exit_it, leave_as_another, at))
			leave_as_another();
		ck_assert_uint_eq(entered_now(span), 0);
		now_ticks = sp_clock_ticks();
		ck_assert(sp_span_idle_at(span_of(span), now_ticks, &idle_ticks));
		ck_assert_msg(idle_ticks <= now_ticks - left_ticks,
			      "idle before the last one left, at instruction %u", at);
		close_it();
		drain();
	}
}
END_TEST

/* --- somebody labels it --- */

static void label_it(void)
{
	sp_span_label(span, "user", "me");
}

static void label_otherwise(void)
{
	sp_span_label(span, "tenant", "other");
}

static uint32_t labels_of_it(void)
{
	const struct sp_label_set *set =
		sp_recording_label_set(recorded(), sp_span_labels_now(span_of(span)));
	uint32_t count = 0;

	while (count < SP_SPAN_LABELS_MAX && set->labels[2 * count])
		count++;
	return count;
}

START_TEST(labels_that_meet_are_both_kept)
{
	const struct sp_span_settings settings = {.probability_millionths = 1000000,
						  .labels = "user,tenant"};

	sp_span_capture_init(&settings);
	for (uint32_t at = 1; at; at = next_step(at)) {
		create_it();
		if (!interrupt(label_it, label_otherwise, at))
			label_otherwise();
		ck_assert_msg(labels_of_it() == 2, "%u labels at %u", labels_of_it(), at);
		close_it();
		drain();
	}
}
END_TEST

/* --- a handler needs more room on the stack of spans --- */

static uint64_t filler, nested;

static void nest(void)
{
	for (unsigned int i = 0; i < 3; i++)
		sp_span_enter(nested, 0);
	for (unsigned int i = 0; i < 3; i++)
		sp_span_exit(nested);
}

/* Of a new thread, with room for one more where the first frames are. */
static void fill_stack(void)
{
	sp_span_stack_forked();
	do
		sp_span_enter(filler, 0);
	while (sp_span_self->depth < SP_SPAN_FRAMES_FIRST - 1);
}

/* All that was entered is left, and nothing is lost. */
static void check_stack(void)
{
	while (sp_span_self->depth)
		sp_span_exit(filler);
	ck_assert_uint_eq(entered_now(span), 0);
	ck_assert_uint_eq(entered_now(nested), 0);
	ck_assert_uint_eq(entered_now(filler), 0);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_NO_ROOM), 0);
}

static void nest_within(void (*begin)(void), void (*end)(void))
{

	filler = create("filler", SP_SPAN_NONE);
	nested = create("nested", SP_SPAN_NONE);
	for (uint32_t at = 1; at; at = next_step(at)) {
		create_it();
		fill_stack();
		interrupt(begin, nest, at);
		ck_assert_uint_eq(entered_now(span), 1);
		end();
		check_stack();
		create_it();
		fill_stack();
		begin();
		interrupt(end, nest, at);
		check_stack();
		drain();
	}
}

START_TEST(handler_may_need_room_while_a_span_is_entered_or_left)
{
	nest_within(enter_it, exit_it);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
}
END_TEST

START_TEST(handler_may_need_room_while_a_span_begins_or_ends)
{
	nest_within(begin_it, end_it);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
}
END_TEST

static void enter_below(void)
{
	enter_it();
	sp_span_enter(filler, 0);
}

START_TEST(handler_may_need_room_while_a_span_within_is_left)
{
	uint64_t cpu_before = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);

	nest_within(enter_below, exit_it);
	ck_assert_uint_le(sp_atomic_value(&test_path_at(recorded(), 0)->cpu_ns),
			  sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_before);
}
END_TEST

/* --- a handler jumps away --- */

static sigjmp_buf target;

static void jump(void)
{
	end_steps();
	siglongjmp(target, 1);
}

/* Of all instructions, how many leave a span open for ever when a jump comes right
 * behind them. */
static uint32_t open_after_jumps(void (*change)(void), bool is_entered)
{
	volatile uint32_t open = 0;
	for (volatile uint32_t at = 1; at; at = next_step(at)) {
		uint64_t closed = spans_closed();

		span = create("span", SP_SPAN_NONE);
		if (is_entered)
			enter_it();
		if (sigsetjmp(target, 1) == 0)
			interrupt(change, jump, at);
		/* As the hook of the jump does. */
		sp_span_before_jump((uint64_t)(uintptr_t)__builtin_frame_address(0));
		ck_assert_ptr_null(current_name());
		close_it();
		drain();
		open += spans_closed() != closed + 1;
		ck_assert_uint_lt(
			sp_atomic_value(&test_path_at(recorded(), 0)->busy_ticks),
			UINT64_C(1) << 50);
	}
	return open;
}

START_TEST(jump_out_of_enter_leaves_next_to_nothing)
{
	/* Behind the one that counts it in. */
	ck_assert_uint_le(open_after_jumps(enter_it, false), 2);
}
END_TEST

START_TEST(jump_out_of_exit_leaves_next_to_nothing)
{
	/* Before the one that counts it out. */
	ck_assert_uint_le(open_after_jumps(exit_it, true), 2);
}
END_TEST

static uint32_t spans_in(enum sp_span_state state)
{
	uint64_t used = sp_recording_used(recorded(), SP_SECTION_SPANS);
	uint32_t count = 0;

	for (uint64_t i = 0; i < used; i++)
		count += atomic_load(&test_span_at(recorded(), i)->state) == state;
	return count;
}

static volatile bool is_on_stack;

static void note_and_jump(void)
{
	is_on_stack = sp_span_current() != SP_SPAN_NONE;
	jump();
}

/* Nobody knows it yet, but for the thread that is in it. */
START_TEST(jump_out_of_begin_leaves_next_to_nothing)
{
	volatile uint32_t claimed = 0, moments = 0;

	for (volatile uint32_t at = 1; at; at = next_step(at)) {
		is_on_stack = false;
		if (sigsetjmp(target, 1) == 0)
			interrupt(begin_it, note_and_jump, at);
		sp_span_before_jump((uint64_t)(uintptr_t)__builtin_frame_address(0));
		ck_assert_ptr_null(current_name());
		drain();
		/* From the moment on that the thread is to enter it, which is where all
		 * the time goes, no entry is lost. */
		if (is_on_stack)
			ck_assert_uint_eq(spans_in(SP_SPAN_CLAIMED), claimed);
		claimed = spans_in(SP_SPAN_CLAIMED);
		moments += is_on_stack;
	}
	ck_assert_uint_gt(moments, 0);
	ck_assert_uint_le(spans_in(SP_SPAN_OPEN), 2);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
}
END_TEST

START_TEST(jump_out_of_end_leaves_next_to_nothing)
{
	for (volatile uint32_t at = 1; at; at = next_step(at)) {
		begin_it();
		if (sigsetjmp(target, 1) == 0)
			interrupt(end_it, jump, at);
		sp_span_before_jump((uint64_t)(uintptr_t)__builtin_frame_address(0));
		ck_assert_ptr_null(current_name());
		drain();
	}
	/* From the one that counts it out, and closes it, to the one that makes it final.
	 */
	ck_assert_uint_le(spans_in(SP_SPAN_OPEN), 30);
	/* Right before the one that counts it out. */
	ck_assert_uint_le(lost(SP_LOSS_SPAN_MISUSE), 1);
}
END_TEST

START_TEST(jump_out_of_close_leaves_next_to_nothing)
{
	/* From the one that closes it to the one that makes it final. */
	ck_assert_uint_le(open_after_jumps(close_it, false), 20);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_interrupted");
	TCase *tc = tcase_create("span_interrupted");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, end_spans);
	tcase_add_test(tc, span_that_is_closed_while_it_is_entered_does_not_stay_open);
	tcase_add_test(tc, span_that_is_closed_while_it_is_left_does_not_stay_open);
	tcase_add_test(tc, span_that_is_closed_while_it_ends_ends_once);
	tcase_add_test(tc, two_spans_never_get_one_entry);
	tcase_add_test(tc, stays_may_begin_and_end_at_any_moment_of_another);
	tcase_add_test(tc, time_of_a_stay_is_whole_at_any_moment);
	tcase_add_test(tc, time_of_a_stay_is_whole_when_its_span_ends_with_it);
	tcase_add_test(tc, no_time_is_counted_twice_when_a_stay_is_looked_at);
	tcase_add_test(tc, no_time_is_counted_twice_when_an_end_is_looked_at);
	tcase_add_test(tc, span_idles_from_when_the_last_thread_has_left);
	tcase_add_test(tc, labels_that_meet_are_both_kept);
	tcase_add_test(tc, handler_may_need_room_while_a_span_is_entered_or_left);
	tcase_add_test(tc, handler_may_need_room_while_a_span_begins_or_ends);
	tcase_add_test(tc, handler_may_need_room_while_a_span_within_is_left);
	tcase_add_test(tc, jump_out_of_enter_leaves_next_to_nothing);
	tcase_add_test(tc, jump_out_of_exit_leaves_next_to_nothing);
	tcase_add_test(tc, jump_out_of_begin_leaves_next_to_nothing);
	tcase_add_test(tc, jump_out_of_end_leaves_next_to_nothing);
	tcase_add_test(tc, jump_out_of_close_leaves_next_to_nothing);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
