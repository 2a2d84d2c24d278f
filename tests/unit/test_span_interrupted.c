/*
 * Spans whose changes are interrupted at any instruction: by another who closes the span,
 * or by a handler of the program that jumps away.
 */
#include "test_span_interrupted_fixture.h"

#include <setjmp.h>

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
