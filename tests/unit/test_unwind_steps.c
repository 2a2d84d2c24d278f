/*
 * Walks from every instruction of real code, one single step after the other, held
 * against libunwind's.
 */
#include "unwind_capture.h"

#include <alloca.h>
#include <wchar.h>

#define TRAP_FLAG 0x100

struct comparison {
	uint64_t compared, incomplete, different;
	uint64_t ours[FRAMES_MAX], theirs[FRAMES_MAX]; /* of the first difference */
	uint32_t our_depth, their_depth;
};

static struct comparison comparison;

static void compare(const void *ucontext)
{
	struct sp_unwind_result ours, theirs;
	uint64_t our_frames[FRAMES_MAX], their_frames[FRAMES_MAX];
	struct sp_unwind_regs regs;

	sp_unwind_regs_from_ucontext(&regs, ucontext);
	ours = sp_unwind(snapshot(), &regs, &stack, our_frames, FRAMES_MAX);
	theirs =
		sp_unwind_libunwind(snapshot(), ucontext, true, their_frames, FRAMES_MAX);
	comparison.compared++;
	comparison.incomplete += ours.end != SP_UNWIND_OUTERMOST;
	if (ours.depth_frames == theirs.depth_frames &&
	    memcmp(our_frames, their_frames, ours.depth_frames * sizeof(uint64_t)) == 0)
		return;
	if (comparison.different++ > 0)
		return;
	comparison.our_depth = ours.depth_frames;
	comparison.their_depth = theirs.depth_frames;
	memcpy(comparison.ours, our_frames, sizeof(our_frames));
	memcpy(comparison.theirs, their_frames, sizeof(their_frames));
}

/* The handler ends the stepping: code that does it would have to move the stack
 * pointer behind the compiler's back. */
static volatile bool is_stepping;

static bool goes_on_stepping(void *ucontext)
{
	if (!is_stepping)
		((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	return is_stepping;
}

static void on_trap(int number, siginfo_t *info, void *ucontext)
{
	(void)number;
	(void)info;
	if (goes_on_stepping(ucontext))
		compare(ucontext);
}

static inline void set_trap_flag(void)
{
	__asm__ volatile("pushfq; orl %0, (%%rsp); popfq"
			 :
			 : "i"(TRAP_FLAG)
			 : "memory", "cc");
}

/* Runs a function and compares the walks at each of its instructions. */
static void step_through(void (*function)(void), uint64_t at_least)
{
	memset(&comparison, 0, sizeof(comparison));
	handle_signal(SIGTRAP, on_trap, 0);
	is_stepping = true;
	set_trap_flag();
	function();
	is_stepping = false;
	for (uint32_t i = 0; comparison.different && i < 16 &&
			     (i < comparison.our_depth || i < comparison.their_depth);
	     i++)
		fprintf(stderr, "%2u ours %016llx theirs %016llx\n", i,
			i < comparison.our_depth ? (unsigned long long)comparison.ours[i]
						 : 0,
			i < comparison.their_depth
				? (unsigned long long)comparison.theirs[i]
				: 0);
	ck_assert_uint_ge(comparison.compared, at_least);
	ck_assert_uint_eq(comparison.different, 0);
	ck_assert_uint_eq(comparison.incomplete, 0);
}

/* --- code worth walking ------------------------------------------------------ */

static SP_NOINLINE long recurse(long n)
{
	long below = n > 0 ? recurse(n - 1) : leaf(n);

	return below + n + leaf(below);
}

static void deep(void)
{
	sink = recurse(60);
}

static SP_NOINLINE void with_alloca(size_t size_bytes)
{
	char *memory = alloca(size_bytes);

	memory[0] = 1;
	use(memory, size_bytes);
	sink += leaf(memory[0]);
}

static SP_NOINLINE void with_aligned_locals(size_t size_bytes)
{
	char aligned[256] __attribute__((aligned(64)));
	char *memory = alloca(size_bytes);

	use(aligned, sizeof(aligned));
	use(memory, size_bytes);
	with_alloca(size_bytes);
	use(aligned, sizeof(aligned));
}

__attribute__((force_align_arg_pointer)) static SP_NOINLINE void
realigned(size_t size_bytes)
{
	use(&size_bytes, size_bytes);
	with_alloca(size_bytes);
}

static SP_NOINLINE void with_large_frame(void)
{
	char large[100000];

	use(large, sizeof(large));
}

static SP_NOINLINE long with_many_arguments(long a, long b, long c, long d, long e,
					    long f, long g, long h, long i, long j)
{
	return leaf(a) + leaf(b) + leaf(c) + leaf(d) + leaf(e) + leaf(f) + leaf(g) +
	       leaf(h) + leaf(i) + leaf(j);
}

static void odd_frames(void)
{
	with_alloca(100);
	with_aligned_locals(200);
	realigned(300);
	with_large_frame();
	sink = with_many_arguments(1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
}

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void through_libc(void)
{
	int values[] = {9, 3, 7, 1, 8, 2, 6, 5, 4, 0, 12, 11, 10};
	char text[200];
	double number;

	qsort(values, SP_ARRAY_COUNT(values), sizeof(values[0]), by_value);
	snprintf(text, sizeof(text), "%d %s %f", values[3], "text", 3.25);
	number = strtod(text, NULL);
	sink = (long)number + (long)strlen(text);
	free(malloc(1000));
	memset(text, 1, sizeof(text));
}

static atomic_int signals_handled;

static void on_user_signal(int number, siginfo_t *info, void *ucontext)
{
	(void)number;
	(void)info;
	(void)ucontext;
	/* The kernel takes the flag away for the handler. */
	set_trap_flag();
	sink += recurse(3);
	atomic_fetch_add(&signals_handled, 1);
}

static void through_a_signal_frame(void)
{
	handle_signal(SIGUSR1, on_user_signal, 0);
	raise(SIGUSR1);
	leaf(1);
}

static void first_calls(void)
{
	/* Not called before: bound by the loader's stub now. */
	sink += strverscmp(sink ? "a1" : "a2", "a3");
	sink += (long)getpgrp() + wctob((wint_t)sink);
}

static void through_vfork(void)
{
	/* Its return address is in a register while the child runs. */
	pid_t child = vfork();

	if (child == 0)
		_exit(0);
	sink = child;
}

static void on_alternate_stack(int number, siginfo_t *info, void *ucontext)
{
	on_user_signal(number, info, ucontext);
}

static void through_an_alternate_stack(void)
{
	static char memory[65536];
	stack_t alternate = {.ss_sp = memory, .ss_size = sizeof(memory)};

	sigaltstack(&alternate, NULL);
	handle_signal(SIGUSR1, on_alternate_stack, SA_ONSTACK);
	raise(SIGUSR1);
	leaf(1);
}

START_TEST(deep_recursion_is_walked_at_every_instruction)
{
	step_through(deep, 300);
}
END_TEST

START_TEST(odd_frames_are_walked_at_every_instruction)
{
	step_through(odd_frames, 200);
}
END_TEST

START_TEST(callbacks_through_libc_are_walked_at_every_instruction)
{
	step_through(through_libc, 1000);
}
END_TEST

START_TEST(signal_frames_are_walked_at_every_instruction)
{
	step_through(through_a_signal_frame, 100);
	ck_assert_int_eq(atomic_exchange(&signals_handled, 0), 1);
}
END_TEST

START_TEST(vfork_is_walked_at_every_instruction)
{
	step_through(through_vfork, 10);
	ck_assert_int_eq(waitpid((pid_t)sink, NULL, 0), (pid_t)sink);
}
END_TEST

START_TEST(handlers_on_an_alternate_stack_are_walked_at_every_instruction)
{
	/* Nobody told us where that stack is. */
	stack.is_guarded = true;
	step_through(through_an_alternate_stack, 100);
	stack.is_guarded = false;
	ck_assert_int_eq(atomic_exchange(&signals_handled, 0), 1);
}
END_TEST

START_TEST(lazy_binding_is_walked_at_every_instruction)
{
	step_through(first_calls, 50);
}
END_TEST

/* --- generated code ------------------------------------------------------------ */

static uint64_t jit_wrong, jit_steps;

static SP_NOINLINE void jit_callee(void)
{
	sink++;
}

/* Above every instruction of generated code there is the function that called it. */
static void on_jit_trap(int number, siginfo_t *info, void *ucontext)
{
	uint64_t start = (uint64_t)(uintptr_t)jit_area;
	struct sp_unwind_result result;
	uint64_t frames[FRAMES_MAX];
	struct sp_unwind_regs regs;
	uint64_t leaf_address;

	(void)number;
	(void)info;
	if (!goes_on_stepping(ucontext))
		return;
	sp_unwind_regs_from_ucontext(&regs, ucontext);
	leaf_address = regs.value[SP_DWARF_RA];
	result = sp_unwind(snapshot(), &regs, &stack, frames, FRAMES_MAX);
	if (leaf_address < start || leaf_address >= start + 4096)
		return;
	jit_steps++;
	if (result.end != SP_UNWIND_OUTERMOST || result.depth_frames < 4 ||
	    frames[0] != sp_frame_make(SP_MODULE_NONE, leaf_address) ||
	    sp_frame_module(frames[1]) == SP_MODULE_NONE)
		jit_wrong++;
}

static SP_NOINLINE void call_jit(void)
{
	((void (*)(void (*)(void)))jit_area)(jit_callee);
	__asm__ volatile("" : : : "memory");
}

START_TEST(generated_code_is_stepped_over_at_every_instruction)
{
	map_jit();
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	handle_signal(SIGTRAP, on_jit_trap, 0);
	is_stepping = true;
	set_trap_flag();
	call_jit();
	is_stepping = false;
	ck_assert_uint_eq(jit_steps, 6);
	ck_assert_uint_eq(jit_wrong, 0);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("walks");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, deep_recursion_is_walked_at_every_instruction);
	tcase_add_test(tc, odd_frames_are_walked_at_every_instruction);
	tcase_add_test(tc, callbacks_through_libc_are_walked_at_every_instruction);
	tcase_add_test(tc, signal_frames_are_walked_at_every_instruction);
	/* A sanitizer's own vfork() says nothing about its frame. */
	if (!IS_SANITIZED)
		tcase_add_test(tc, vfork_is_walked_at_every_instruction);
	tcase_add_test(tc,
		       handlers_on_an_alternate_stack_are_walked_at_every_instruction);
	tcase_add_test(tc, lazy_binding_is_walked_at_every_instruction);
	tcase_add_test(tc, generated_code_is_stepped_over_at_every_instruction);
	return run_suite("unwind_steps", tc);
}
