/*
 * What a memo compares before it leaves frames out: every word of the stack that a walk
 * reads, the modules, the snapshot.
 */
#include "unwind_tester.h"

#include <alloca.h>
#include <dlfcn.h>

/* --- changed words --------------------------------------------------------------- */

/* Looks at a stack as it is, which sanitizers would take for a mistake. */
#define RAW __attribute__((no_sanitize("address")))

struct changer {
	struct tester tester;
	struct sp_unwind_regs regs;
	uint64_t changed;
};

RAW static uint64_t replacement(const uint64_t *word, const uint64_t *end, uint32_t kind)
{
	switch (kind) {
	case 0:
		return 0;
	case 1:
		return *word + 8;
	case 2:
		return (uint64_t)(uintptr_t)(word + 2 + random_below(16));
	default: /* something that is on this stack elsewhere */
		return word[random_below((uint32_t)(end - word))];
	}
}

/* Its words are another thread's, which waits. */
RAW static void *change_words(void *argument)
{
	struct changer *changer = argument;
	uint64_t *word = (uint64_t *)(uintptr_t)changer->regs.value[SP_DWARF_RSP];
	uint64_t *end = (uint64_t *)(uintptr_t)changer->tester.stack.high;

	self = &changer->tester;
	if (end - word > 3000)
		end = word + 3000;
	compare(&changer->regs);
	for (; word < end; word++) {
		uint64_t before = *word;

		for (uint32_t kind = 0; kind < 6; kind++) {
			uint64_t value = replacement(word, end, kind);

			__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
			compare(&changer->regs);
			__atomic_store_n(word, before, __ATOMIC_SEQ_CST);
			compare(&changer->regs);
			changer->changed++;
		}
	}
	return NULL;
}

static SP_NOINLINE long change_below(uint32_t left);

static SP_NOINLINE long change_with_aligned_locals(uint32_t left)
{
	char aligned[64] __attribute__((aligned(64)));
	char *memory = alloca(16);
	long below;

	use(aligned, sizeof(aligned));
	use(memory, 16);
	below = change_below(left);
	use(aligned, sizeof(aligned));
	return below;
}

static void on_change(int number)
{
	(void)number;
	sink += change_below(3);
}

static SP_NOINLINE long change_with_alloca(uint32_t left)
{
	char *memory = alloca(16 * (1 + left % 5));
	long below;

	use(memory, 16);
	below = change_below(left);
	use(memory, 16);
	return below;
}

static struct changer changer;

static SP_NOINLINE long change_below(uint32_t left)
{
	pthread_t thread;

	if (left == 12)
		return change_with_aligned_locals(left - 1) + leaf(left);
	if (left == 8)
		return raise(SIGUSR2) + leaf(left);
	if (left > 0)
		return (left % 2 ? change_with_alloca : change_below)(left - 1) +
		       leaf(left);
	sp_unwind_regs_here(&changer.regs);
	ck_assert_int_eq(pthread_create(&thread, NULL, change_words, &changer), 0);
	pthread_join(thread, NULL);
	return leaf(left);
}

START_TEST(any_word_may_change)
{
	struct sigaction action = {.sa_handler = on_change};

	ck_assert_int_eq(sigaction(SIGUSR2, &action, NULL), 0);
	begin_tester(&changer.tester, FRAMES_MAX - 1);
	with_value_in_rbp(4711, change_below, 70);
	check_tester(&changer.tester, 10000);
	/* Words that no step reads change nothing: those stacks were left out. */
	ck_assert_uint_gt(changer.tester.spliced, changer.tester.stepped);
	/* And others do. */
	ck_assert_uint_lt(changer.tester.whole, changer.tester.compared);
	end_tester(&changer.tester);
}
END_TEST

/* --- the end of a stack --------------------------------------------------------------
 */

static ucontext_t main_context, other_context;

/* As makecontext() calls it, but for the return address, which is 0. */
long without_caller(void);
FUNCTION(without_caller, "pushq $0\n"
			 ".cfi_def_cfa_offset 16\n"
			 "pushq $0\n"
			 ".cfi_def_cfa_offset 24\n"
			 "jmp change_the_end\n");

void change_the_end(void);
__attribute__((used)) void change_the_end(void)
{
	uint64_t *end = (uint64_t *)__builtin_dwarf_cfa() - 1;
	uint32_t depths[3];

	ck_assert_uint_eq(*end, 0);
	for (volatile int i = 0; i < 6; i++) {
		*end = i % 3 == 2 ? (uint64_t)(uintptr_t)&leaf + 1 : 0;
		compare_below(5);
		*end = 0;
		depths[i % 3] = sp_unwind_memo_depth_frames(self->memo);
		if (i % 3 == 1)
			ck_assert_uint_gt(self->last.spliced_frames, 5);
	}
	ck_assert_uint_eq(depths[0], depths[1]);
	ck_assert_uint_gt(depths[2], depths[1]);
	swapcontext(&other_context, &main_context);
}

START_TEST(return_address_of_nobody_may_change)
{
	static char memory[1 << 18] __attribute__((aligned(64)));
	struct tester tester;

	begin_tester(&tester, MEMO_FRAMES_MAX);
	tester.stack.low = (uint64_t)(uintptr_t)memory;
	tester.stack.high = tester.stack.low + sizeof(memory);
	ck_assert_int_eq(getcontext(&other_context), 0);
	other_context.uc_stack.ss_sp = memory;
	other_context.uc_stack.ss_size = sizeof(memory);
	makecontext(&other_context, (void (*)(void))(uintptr_t)&without_caller, 0);
	ck_assert_int_eq(swapcontext(&main_context, &other_context), 0);
	check_tester(&tester, 6);
	end_tester(&tester);
}
END_TEST

/* --- modules --------------------------------------------------------------------------
 */

static const char callback_source[] =
	"int twice(int (*call)(int), int n) { return call(n) + call(n + 1); }\n";

static int compare_in_callback(int n)
{
	compare_here();
	return n;
}

static int (*twice)(int (*)(int), int);

static void load_library(void)
{
	char library[64];
	void *handle;

	snprintf(library, sizeof(library), "/tmp/sp_test_memo_%d.so", (int)getpid());
	ck_assert(compile_library(callback_source, "-O1", library));
	handle = dlopen(library, RTLD_NOW);
	unlink(library);
	ck_assert_ptr_nonnull(handle);
	*(void **)&twice = dlsym(handle, "twice");
}

START_TEST(module_that_may_be_unloaded_is_asked_for)
{
	struct sp_unwind_snapshot *copy = NULL;
	const void *link_map = NULL;
	struct tester tester;

	load_library();
	begin_tester(&tester, MEMO_FRAMES_MAX);
	for (volatile int i = 0; i < 6; i++) {
		if (i == 1) /* in no snapshot before */
			ck_assert_int_eq(sp_modules_refresh(modules), 0);
		if (i == 3) {
			copy = copy_snapshot();
			link_map = module_in(copy, *(void **)&twice)->link_map;
			from = copy;
		}
		if (i == 4) /* another one has taken its place, nobody has noticed */
			module_in(copy, *(void **)&twice)->link_map = &tester;
		if (i == 5)
			module_in(copy, *(void **)&twice)->link_map = link_map;
		/* From one place: the stack is the same each time. */
		twice(compare_in_callback, 1);
		ck_assert_int_eq(tester.last.end, i == 0 || i == 4 ? SP_UNWIND_NO_MODULE
								   : SP_UNWIND_OUTERMOST);
		if (i == 2 || i == 3)
			ck_assert_uint_gt(tester.last.spliced_frames, 4);
	}
	check_tester(&tester, 12);
	end_tester(&tester);
	from = NULL;
	free(copy);
}
END_TEST

START_TEST(stack_of_our_own_frames_has_a_leaf_at_least)
{
	struct sp_unwind_snapshot *copy;
	struct tester tester;

	load_library();
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	copy = copy_snapshot();
	copy->generation = UINT64_MAX;
	module_in(copy, &announced)->is_agent = true;
	module_in(copy, (void *)(uintptr_t)&qsort)->is_agent = true;
	from = copy;
	begin_tester(&tester, MEMO_FRAMES_MAX);
	for (volatile int i = 0; i < 6; i++) {
		if (i % 2 == 0)
			twice(compare_in_callback, 1);
		else
			compare_here();
	}
	check_tester(&tester, 9);
	end_tester(&tester);
	from = NULL;
	free(copy);
}
END_TEST

START_TEST(another_snapshot_at_the_same_address_is_another_one)
{
	struct sp_unwind_snapshot *copy = copy_snapshot();
	struct tester tester;

	begin_tester(&tester, MEMO_FRAMES_MAX);
	from = copy;
	compare_below(10);
	for (uint32_t i = 0; i < copy->count; i++)
		copy->modules[i].id = (uint16_t)(copy->modules[i].id + 1000);
	copy->generation = UINT64_MAX;
	compare_below(10);
	ck_assert_uint_eq(tester.last.spliced_frames, 0);
	check_tester(&tester, 2);
	end_tester(&tester);
	from = NULL;
	free(copy);
}
END_TEST

START_TEST(every_snapshot_has_a_generation_of_its_own)
{
	uint64_t before = snapshot()->generation;

	ck_assert_uint_ne(before, 0);
	map_jit();
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	ck_assert_uint_gt(snapshot()->generation, before);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("changes");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, any_word_may_change);
	tcase_add_test(tc, return_address_of_nobody_may_change);
	tcase_add_test(tc, module_that_may_be_unloaded_is_asked_for);
	tcase_add_test(tc, stack_of_our_own_frames_has_a_leaf_at_least);
	tcase_add_test(tc, another_snapshot_at_the_same_address_is_another_one);
	tcase_add_test(tc, every_snapshot_has_a_generation_of_its_own);
	return run_suite("unwind_changes", tc);
}
