/*
 * Walks with a memo against walks without, on stacks of random calls, and that most
 * frames are not stepped over at all.
 */
#include "unwind_tester.h"

#include <alloca.h>

/* --- random calls -------------------------------------------------------------- */

static SP_NOINLINE long grow(uint32_t left);

/* Frames of the same size, so that one finds itself where the other was. */
#define TWIN(name)                                                                       \
	static SP_NOINLINE long name(uint32_t left)                                      \
	{                                                                                \
		long below = grow(left - 1);                                             \
                                                                                         \
		compare_here();                                                          \
		return below + leaf(left) + __COUNTER__;                                 \
	}

TWIN(first_twin)
TWIN(second_twin)
TWIN(third_twin)

static SP_NOINLINE long with_alloca(uint32_t left)
{
	size_t size_bytes = 16 + 16 * random_below(20);
	char *memory = alloca(size_bytes);
	long below;

	use(memory, size_bytes);
	below = grow(left - 1);
	use(memory, size_bytes);
	return below;
}

/* Nothing is written to what it takes: stale frames stay where they were. */
static SP_NOINLINE long over_stale_frames(uint32_t left)
{
	char *memory = alloca(16 + 16 * random_below(200));

	__asm__ volatile("" : : "r"(memory) : "memory");
	compare_here();
	return grow(left / 2) + leaf(left);
}

static SP_NOINLINE long with_aligned_locals(uint32_t left)
{
	char aligned[128] __attribute__((aligned(64)));
	char *memory = alloca(16 * (1 + random_below(4)));
	long below;

	use(aligned, sizeof(aligned));
	use(memory, 16);
	below = grow(left - 1);
	use(aligned, sizeof(aligned));
	return below;
}

static SP_NOINLINE long with_many_values(uint32_t left)
{
	unsigned long a = (unsigned long)sink, b = a + left, c = b * 3, d = c ^ a;
	unsigned long e = d - b, f = e + c;

	for (uint32_t i = 0; i < 1 + random_below(3); i++) {
		a += (unsigned long)grow(left - 1);
		b ^= a + c;
		compare_here();
		c += d * e + f;
	}
	return (long)((a + b + c + d + e + f) & 0xffff);
}

static _Thread_local uint32_t left_in_callback;

static int grow_in_callback(const void *a, const void *b)
{
	uint32_t left = left_in_callback;

	left_in_callback = 1;
	sink += grow(left);
	return *(const int *)a - *(const int *)b;
}

static SP_NOINLINE long through_libc(uint32_t left)
{
	int values[] = {3, 1, 2};

	left_in_callback = left - 1;
	qsort(values, SP_ARRAY_COUNT(values), sizeof(values[0]), grow_in_callback);
	return values[0];
}

static void on_signal(int number, siginfo_t *info, void *ucontext)
{
	struct sp_unwind_regs regs;

	(void)number;
	(void)info;
	sp_unwind_regs_from_ucontext(&regs, ucontext);
	compare(&regs);
	compare_here();
	compare(&regs);
}

static _Thread_local uint32_t left_in_jit;

static void grow_in_jit(void)
{
	sink += grow(left_in_jit);
}

static SP_NOINLINE long through_jit(uint32_t left)
{
	left_in_jit = left - 1;
	((void (*)(void (*)(void)))jit_area)(grow_in_jit);
	return leaf(left);
}

static SP_NOINLINE long grow(uint32_t left)
{
	static long (*const kinds[])(uint32_t) = {
		first_twin,	   second_twin,	     third_twin,   with_alloca,
		over_stale_frames, with_many_values, through_libc, with_aligned_locals,
	};
	uint32_t action = random_below(64);

	if (action % 4 == 0)
		compare_here();
	if (left == 0 || action == 1)
		return leaf(left);
	if (action == 2)
		raise(SIGUSR2);
	if (action == 3 && jit_area)
		return through_jit(left);
	if (action < 12)
		return with_value_in_rbp(self->random_state, first_twin, left);
	return kinds[random_below(action < 15 ? 8 : 7)](left);
}

static void grow_until(uint64_t compared)
{
	while (self->compared < compared)
		sink += grow(4 + random_below(40));
}

START_TEST(random_calls_are_walked_as_without_a_memo)
{
	struct tester tester;

	handle_signal(SIGUSR2, on_signal, 0);
	begin_tester(&tester, MEMO_FRAMES_MAX);
	grow_until(150000);
	check_tester(&tester, 150000);
	ck_assert_uint_gt(tester.whole, tester.compared / 10 * 9);
	/* Two thirds of the frames are left out, though rarely is the whole stack the
	 * same, and some functions have frames by the rarer rules. */
	ck_assert_uint_gt(tester.spliced, 2 * tester.stepped);
	ck_assert_uint_gt(tester.held, 1000);
	end_tester(&tester);
}
END_TEST

START_TEST(stacks_around_the_limit_are_walked_as_without_a_memo)
{
	struct tester tester;

	handle_signal(SIGUSR2, on_signal, 0);
	begin_tester(&tester, 24);
	grow_until(50000);
	check_tester(&tester, 50000);
	/* Both kinds came up. */
	ck_assert_uint_gt(tester.whole, 5000);
	ck_assert_uint_gt(tester.compared - tester.whole, 5000);
	ck_assert_uint_gt(tester.spliced, 0);
	end_tester(&tester);
}
END_TEST

START_TEST(generated_code_is_walked_as_without_a_memo)
{
	struct tester tester;

	map_jit();
	handle_signal(SIGUSR2, on_signal, 0);
	begin_tester(&tester, MEMO_FRAMES_MAX);
	grow_until(20000);
	/* Known to the last scan, too. */
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	grow_until(50000);
	check_tester(&tester, 50000);
	end_tester(&tester);
	jit_area = NULL;
}
END_TEST

static void *grow_in_thread(void *tester)
{
	begin_tester(tester, MEMO_FRAMES_MAX);
	self->random_state = (uint64_t)(uintptr_t)tester;
	grow_until(20000);
	self = NULL;
	return NULL;
}

START_TEST(threads_walk_with_memos_of_their_own)
{
	struct tester testers[3];
	pthread_t threads[3];

	handle_signal(SIGUSR2, on_signal, 0);
	for (size_t i = 0; i < SP_ARRAY_COUNT(threads); i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, grow_in_thread, &testers[i]),
			0);
	for (size_t i = 0; i < SP_ARRAY_COUNT(threads); i++) {
		pthread_join(threads[i], NULL);
		check_tester(&testers[i], 20000);
		end_tester(&testers[i]);
	}
}
END_TEST

static SP_NOINLINE long grow_small(uint32_t left)
{
	static long (*const kinds[])(uint64_t, long (*)(uint32_t), uint32_t) = {
		with_value_in_rbp, with_late_save, with_frame_in_rbp, with_frame_in_rbp};

	if (left == 0 || random_below(6) == 0)
		compare_here();
	return left ? kinds[random_below(4)](16 * random_below(4), grow_small, left - 1)
		    : 0;
}

START_TEST(small_frames_that_often_coincide_are_walked_as_without_a_memo)
{
	struct tester tester;

	begin_tester(&tester, MEMO_FRAMES_MAX);
	while (tester.compared < 100000)
		grow_small(7);
	check_tester(&tester, 100000);
	ck_assert_uint_gt(tester.spliced, tester.stepped);
	ck_assert_uint_gt(tester.held, 1000);
	end_tester(&tester);
}
END_TEST

static ucontext_t main_context, other_context;

static void coroutine(void)
{
	for (;;) {
		sink += grow(random_below(10));
		swapcontext(&other_context, &main_context);
	}
}

START_TEST(stacks_may_take_turns)
{
	static char memory[1 << 18] __attribute__((aligned(64)));
	struct sp_unwind_stack main_stack, other_stack;
	struct tester tester;

	begin_tester(&tester, MEMO_FRAMES_MAX);
	handle_signal(SIGUSR2, on_signal, 0);
	main_stack = other_stack = tester.stack;
	other_stack.low = (uint64_t)(uintptr_t)memory;
	other_stack.high = other_stack.low + sizeof(memory);
	ck_assert_int_eq(getcontext(&other_context), 0);
	other_context.uc_stack.ss_sp = memory;
	other_context.uc_stack.ss_size = sizeof(memory);
	makecontext(&other_context, coroutine, 0);
	while (tester.compared < 20000) {
		/* Of known bounds, of unknown ones, and of wrong ones. */
		tester.stack = random_below(3) ? other_stack : main_stack;
		tester.stack.is_guarded = random_below(3) == 0;
		swapcontext(&main_context, &other_context);
		tester.stack = main_stack;
		sink += grow(random_below(10));
	}
	check_tester(&tester, 20000);
	end_tester(&tester);
}
END_TEST

START_TEST(frames_of_the_agent_are_left_out_of_stacks_and_hashes)
{
	struct sp_unwind_snapshot *copy = copy_snapshot();
	struct tester tester;

	module_in(copy, (void *)(uintptr_t)&qsort)->is_agent = true;
	copy->generation = UINT64_MAX;
	from = copy;
	handle_signal(SIGUSR2, on_signal, 0);
	begin_tester(&tester, MEMO_FRAMES_MAX);
	grow_until(30000);
	/* Now even what called main() is the agent's. */
	module_in(copy, &announced)->is_agent = true;
	copy->generation--;
	grow_until(60000);
	check_tester(&tester, 60000);
	end_tester(&tester);
	from = NULL;
	free(copy);
}
END_TEST

/* --- what is left out ------------------------------------------------------------ */

START_TEST(same_stack_is_not_stepped_over_again)
{
	struct sp_unwind_regs regs;
	struct tester tester;

	begin_tester(&tester, MEMO_FRAMES_MAX);
	sp_unwind_regs_here(&regs);
	compare(&regs);
	ck_assert_uint_eq(tester.last.spliced_frames, 0);
	ck_assert_uint_gt(tester.last.stepped_frames, 4);
	compare(&regs);
	ck_assert_uint_gt(tester.last.spliced_frames, 4);
	ck_assert_uint_eq(tester.last.stepped_frames, 0);
	check_tester(&tester, 2);
	end_tester(&tester);
}
END_TEST

START_TEST(value_in_rbp_that_no_step_needs_may_change)
{
	static volatile uint32_t rounds = 100;
	struct tester tester;

	begin_tester(&tester, MEMO_FRAMES_MAX);
	while (rounds-- > 0)
		with_value_in_rbp(rounds, compare_below, 10);
	check_tester(&tester, 100);
	/* All but the first. */
	ck_assert_uint_gt(tester.spliced, 90 * tester.last.spliced_frames);
	ck_assert_uint_gt(tester.last.spliced_frames, 12);
	end_tester(&tester);
}
END_TEST

/* --- proofs ---------------------------------------------------------------------- */

static SP_NOINLINE void check_proof_here(bool is_made, bool holds)
{
	static struct sp_unwind_proof proof;
	struct sp_unwind_stack bounds = self->stack;
	struct sp_unwind_regs regs;

	sp_unwind_regs_here(&regs);
	bounds.low = regs.value[SP_DWARF_RSP];
	ck_assert_int_eq(sp_unwind_proof_holds(&proof, snapshot(), &regs, &bounds),
			 holds);
	sp_unwind_memo_walk(self->memo, snapshot(), &regs, &bounds);
	ck_assert_int_eq(sp_unwind_memo_prove(self->memo, &proof), is_made);
	ck_assert_int_eq(sp_unwind_proof_holds(&proof, snapshot(), &regs, &bounds),
			 is_made);
	bounds.is_guarded = true;
	ck_assert(!sp_unwind_proof_holds(&proof, snapshot(), &regs, &bounds));
}

static SP_NOINLINE long prove_below(uint32_t left, bool is_made, bool holds)
{
	if (left == 0)
		check_proof_here(is_made, holds);
	else
		prove_below(left - 1, is_made, holds);
	return leaf(left);
}

START_TEST(proof_holds_where_the_stack_is_the_same_again)
{
	static volatile int rounds = 3;
	struct tester tester;

	begin_tester(&tester, MEMO_FRAMES_MAX);
	/* One call, however often. */
	for (int i = 0; i < rounds; i++)
		prove_below(10, true, i > 0);
	/* The same frames from another call. */
	prove_below(10, true, false);
	prove_below(9, true, false);
	end_tester(&tester);
}
END_TEST

START_TEST(stack_that_was_not_walked_to_its_end_has_no_proof)
{
	struct tester tester;

	begin_tester(&tester, 24);
	prove_below(30, false, false);
	prove_below(30, false, false);
	end_tester(&tester);
}
END_TEST

static SP_NOINLINE long compare_often_below(uint32_t left)
{
	if (left > 0)
		return compare_often_below(left - 1) + leaf(left);
	for (int i = 0; i < 10; i++)
		compare_here();
	return leaf(left);
}

static void compare_often_in_jit(void)
{
	sink = compare_often_below(10);
}

START_TEST(frames_of_scanned_generated_code_are_left_out)
{
	struct tester tester;

	map_jit();
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	begin_tester(&tester, MEMO_FRAMES_MAX);
	((void (*)(void (*)(void)))jit_area)(compare_often_in_jit);
	check_tester(&tester, 10);
	ck_assert_uint_gt(tester.last.spliced_frames, 12);
	end_tester(&tester);
	jit_area = NULL;
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("memo");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, random_calls_are_walked_as_without_a_memo);
	tcase_add_test(tc, stacks_around_the_limit_are_walked_as_without_a_memo);
	tcase_add_test(tc, small_frames_that_often_coincide_are_walked_as_without_a_memo);
	tcase_add_test(tc, generated_code_is_walked_as_without_a_memo);
	tcase_add_test(tc, threads_walk_with_memos_of_their_own);
	tcase_add_test(tc, stacks_may_take_turns);
	tcase_add_test(tc, frames_of_the_agent_are_left_out_of_stacks_and_hashes);
	tcase_add_test(tc, same_stack_is_not_stepped_over_again);
	tcase_add_test(tc, value_in_rbp_that_no_step_needs_may_change);
	tcase_add_test(tc, frames_of_scanned_generated_code_are_left_out);
	tcase_add_test(tc, proof_holds_where_the_stack_is_the_same_again);
	tcase_add_test(tc, stack_that_was_not_walked_to_its_end_has_no_proof);
	return run_suite("unwind_memo", tc);
}
