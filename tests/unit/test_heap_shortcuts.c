/*
 * Shortcuts from a stack to its cell: what they give is what a walk gives, for every
 * stack, size class and label set; and stacks that are met over and over are not walked.
 */
#include "test_heap_capture_fixture.h"
#include "unwind_fixture.h"

#define CLASS_BYTES UINT64_C(64)
/* Each call on the way is of one of two functions. */
#define CALLS 7
#define PATHS (1U << CALLS)

static struct announced announced;
static struct sp_modules *modules;
static struct sp_unwind_stack bounds;
static const struct sp_unwind_snapshot *from; /* NULL: the one that is published */

/* What is asked for at the end of the calls, and the answer. */
static uint64_t class_bytes;
static uint32_t label_set;
static uint32_t cell;
static bool is_by_shortcut;

static void setup_stacks(void)
{
	setup();
	sp_unwind_cache_open();
	/* Ids start anew when the tests run in one process. */
	sp_unwind_cache_reset();
	modules = sp_modules_create(announce, &announced);
	ck_assert_ptr_nonnull(modules);
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	bounds = own_stack();
	class_bytes = CLASS_BYTES;
	label_set = 0;
	from = NULL;
	sp_heap_self->memo = sp_unwind_memo_create(sp_capture.depth_frames_max);
	ck_assert_ptr_nonnull(sp_heap_self->memo);
}

static void teardown_stacks(void)
{
	sp_modules_destroy(modules);
	announced.count = 0;
	teardown();
}

/* As a hook does it. Always from the same address: its stack is its callers'. */
static SP_NOINLINE void ask(void)
{
	struct sp_unwind_memo *memo = sp_heap_self->memo;
	struct sp_unwind_memo_result result;
	struct sp_heap_place place;

	place.snapshot = from ? from : snapshot();
	sp_unwind_regs_here(&place.regs);
	place.stack = bounds;
	place.stack.low = place.regs.value[SP_DWARF_RSP];
	cell = sp_heap_shortcut_find(sp_heap_self, &place, class_bytes, label_set);
	is_by_shortcut = cell != SP_HEAP_CELL_DROPPED;
	if (is_by_shortcut)
		return;
	result = sp_unwind_memo_walk(memo, place.snapshot, &place.regs, &place.stack);
	cell = sp_heap_cell_of(sp_heap_self, memo, result.hash, class_bytes, label_set);
	ck_assert_uint_ne(cell, SP_HEAP_CELL_DROPPED);
	sp_heap_shortcut_keep(sp_heap_self, &place, result.hash, class_bytes, label_set,
			      cell);
}

static SP_NOINLINE void even(uint32_t path, uint32_t left);

static SP_NOINLINE void odd(uint32_t path, uint32_t left)
{
	if (left == 0)
		ask();
	else if (path & 1)
		odd(path >> 1, left - 1);
	else
		even(path >> 1, left - 1);
	/* Else a compiler makes one function of the two. */
	__asm__ volatile("# odd" : : : "memory");
}

static SP_NOINLINE void even(uint32_t path, uint32_t left)
{
	if (left == 0)
		ask();
	else if (path & 1)
		odd(path >> 1, left - 1);
	else
		even(path >> 1, left - 1);
	__asm__ volatile("# even" : : : "memory");
}

/* One call, whoever wants it: nothing but the path tells stacks apart. */
static SP_NOINLINE void ask_by(uint32_t path)
{
	odd(path, CALLS);
	__asm__ volatile("" : : : "memory");
}

START_TEST(stack_that_was_met_twice_has_a_shortcut)
{
	uint32_t first;

	for (volatile unsigned int i = 0; i < 6; i++) {
		ask_by(5);
		if (i == 0)
			first = cell;
		ck_assert_uint_eq(cell, first);
		ck_assert_int_eq(is_by_shortcut, i >= 2);
	}
}
END_TEST

START_TEST(every_stack_keeps_its_own_cell)
{
	uint32_t cells[PATHS];

	for (volatile unsigned int round = 0; round < 5; round++)
		for (uint32_t path = 0; path < PATHS; path++) {
			/* More than there is room for; those met again at once are by
			 * shortcut, however many there were before. */
			for (volatile unsigned int i = 0; i < 4; i++) {
				ask_by(path);
				if (round == 0 && i == 0)
					cells[path] = cell;
				ck_assert_uint_eq(cell, cells[path]);
			}
			ck_assert(is_by_shortcut);
		}
	for (uint32_t path = 1; path < PATHS; path++)
		for (uint32_t other = 0; other < path; other++)
			ck_assert_uint_ne(cells[path], cells[other]);
}
END_TEST

START_TEST(sizes_and_labels_of_one_stack_have_cells_of_their_own)
{
	static const struct {
		uint64_t class_bytes;
		uint32_t label_set;
	} kinds[] = {{16, 0}, {16, 3}, {1024, 0}, {1024, 3}};
	uint32_t cells[SP_ARRAY_COUNT(kinds)];

	for (volatile unsigned int round = 0; round < 5; round++)
		for (volatile unsigned int i = 0; i < SP_ARRAY_COUNT(kinds); i++) {
			class_bytes = kinds[i].class_bytes;
			label_set = kinds[i].label_set;
			ask_by(9);
			if (round == 0)
				cells[i] = cell;
			ck_assert_uint_eq(cell, cells[i]);
			/* Its cell was there before. */
			ck_assert(is_by_shortcut || round < 2);
		}
	for (unsigned int i = 1; i < SP_ARRAY_COUNT(kinds); i++)
		for (unsigned int other = 0; other < i; other++)
			ck_assert_uint_ne(cells[i], cells[other]);
}
END_TEST

START_TEST(shortcut_is_for_the_modules_that_it_was_made_with)
{
	const struct sp_unwind_snapshot *now = snapshot();
	size_t size_bytes = sizeof(*now) + now->count * sizeof(now->modules[0]);
	struct sp_unwind_snapshot *later = malloc(size_bytes);

	ck_assert_ptr_nonnull(later);
	memcpy(later, now, size_bytes);
	later->generation = UINT64_MAX;
	for (volatile unsigned int i = 0; i < 6; i++) {
		from = i < 3 ? NULL : later;
		ask_by(1);
		/* Of those that came later the stack is met anew, which it was before. */
		ck_assert_int_eq(is_by_shortcut, i == 2 || i > 3);
	}
	free(later);
}
END_TEST

START_TEST(stack_without_bounds_has_none)
{
	bounds.is_guarded = true;
	for (volatile unsigned int i = 0; i < 4; i++) {
		ask_by(2);
		ck_assert(!is_by_shortcut);
	}
	bounds.is_guarded = false;
	for (volatile unsigned int i = 0; i < 2; i++)
		ask_by(2);
	bounds.is_guarded = true;
	ask_by(2);
	ck_assert(!is_by_shortcut);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("shortcuts");

	tcase_add_checked_fixture(tests, setup_stacks, teardown_stacks);
	tcase_add_test(tests, stack_that_was_met_twice_has_a_shortcut);
	tcase_add_test(tests, every_stack_keeps_its_own_cell);
	tcase_add_test(tests, sizes_and_labels_of_one_stack_have_cells_of_their_own);
	tcase_add_test(tests, shortcut_is_for_the_modules_that_it_was_made_with);
	tcase_add_test(tests, stack_without_bounds_has_none);
	return run_tests("heap shortcuts", tests);
}
