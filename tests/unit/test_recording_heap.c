/*
 * Opening recordings with a heap: as a killed process leaves them, damaged, and while
 * their program goes on. What points astray ends in [dropped] and is counted; sums
 * that cannot be are refused.
 */
#include "test_heap_fixture.h"

#include "sp_clock.h"

#include <check.h>
#include <math.h>
#include <pthread.h>

static char folder[64];
static struct sp_recording written, opened;
static char error[256];

enum { FIRST = 1, SECOND, THIRD };

static const struct test_block small = {.cell = FIRST, .size_bytes = 100};
static const struct test_block large = {.cell = SECOND, .size_bytes = 9000};

static void setup_heap(void)
{
	ck_assert(test_make_folder(folder, sizeof(folder)));
	ck_assert_int_eq(test_recording_make(&written, folder, UINT64_C(64) << 20), 0);
	ck_assert(written.is_file);
	test_heap_begin(&written);
	ck_assert_int_eq(test_drain(&written), 0);
	for (uint32_t i = FIRST; i <= THIRD; i++)
		ck_assert_uint_eq(test_heap_add_cell(&written), i);
	test_heap_live(test_heap_entry(&written, 0), &small, 0x1000);
	test_heap_freed(test_heap_entry(&written, 1), &small);
	test_heap_freed(test_heap_entry(&written, 2), &large);
	opened.header = NULL;
}

static void teardown(void)
{
	sp_recording_close(&opened);
	sp_recording_detach(&written);
	test_remove_folder(folder);
}

static int open_written(void)
{
	sp_recording_close(&opened);
	error[0] = '\0';
	return sp_recording_open(&opened, written.path, error, sizeof(error));
}

/* Opens and drains; 0, or why it was refused. */
static int examine(void)
{
	int err = open_written();

	if (!err)
		err = test_drain(&opened);
	if (!err)
		err = sp_recording_check_sums(&opened, error, sizeof(error));
	if (!err)
		err = test_heap_examine(&opened);
	return err;
}

static uint64_t damaged(void)
{
	return sp_atomic_value(&opened.header->losses[SP_LOSS_DAMAGED]);
}

static uint64_t freed_samples(uint32_t cell)
{
	return sp_atomic_value(&test_heap_cell(&opened, cell)->freed_samples);
}

/* --- of a killed process --- */

START_TEST(blocks_and_sums_are_read_back)
{
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(freed_samples(FIRST), 1);
	ck_assert_uint_eq(freed_samples(SECOND), 1);
	ck_assert_uint_eq(sp_atomic_value(&test_heap_entry(&opened, 0)->word),
			  0x1000 << 2 | SP_LIVE_LIVE);
	ck_assert_uint_eq(sp_atomic_value(&test_heap_entry(&opened, 1)->word), 0);
	ck_assert_uint_eq(damaged(), 0);
}
END_TEST

START_TEST(what_was_being_made_is_no_damage)
{
	struct sp_section *stacks = &written.header->sections[SP_SECTION_HEAP_STACKS];

	/* A cell that is not filled, words that nobody refers to, an entry that is being
	 * written. */
	atomic_store(&test_heap_cell(&written, THIRD)->is_filled, 0);
	test_heap_cell(&written, THIRD)->stack = UINT32_MAX;
	atomic_fetch_add(&stacks->used_items, 700);
	test_heap_entry(&written, 9)->cell = 12345;
	atomic_store(&test_heap_entry(&written, 9)->word, SP_LIVE_CLAIMED);
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 0);
	ck_assert_uint_eq(freed_samples(FIRST), 1);
}
END_TEST

START_TEST(process_that_was_killed_before_its_first_cell_has_an_empty_heap)
{
	atomic_store(&written.header->sections[SP_SECTION_HEAP_CELLS].used_items, 0);
	memset(test_heap_entry(&written, 0), 0, 3 * sizeof(struct sp_live_block));
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(sp_recording_used(&opened, SP_SECTION_HEAP_CELLS), 1);
	ck_assert_uint_eq(damaged(), 0);
}
END_TEST

START_TEST(recording_without_a_heap_is_not_looked_at)
{
	written.header->heap_rate_bytes = 0;
	test_heap_cell(&written, SP_HEAP_CELL_DROPPED)->stack = 77777;
	atomic_store(&test_heap_cell(&written, FIRST)->freed_bytes, UINT64_MAX);
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(damaged(), 0);
}
END_TEST

/* --- what points astray --- */

static void check_stack_is_dropped(uint32_t index)
{
	const struct sp_heap_cell *cell = test_heap_cell(&opened, index);

	ck_assert_uint_eq(cell->stack, 0);
	ck_assert_uint_ne(atomic_load(&cell->is_filled), 0);
}

static struct sp_heap_stack *stack_of(uint32_t cell)
{
	return sp_recording_item(&written, SP_SECTION_HEAP_STACKS,
				 test_heap_cell(&written, cell)->stack);
}

static void stack_is_astray(void)
{
	test_heap_cell(&written, FIRST)->stack = UINT32_MAX;
}

static void stack_is_just_behind_the_end(void)
{
	test_heap_cell(&written, FIRST)->stack =
		(uint32_t)sp_recording_used(&written, SP_SECTION_HEAP_STACKS);
}

static void stack_has_half_a_head(void)
{
	test_heap_cell(&written, FIRST)->stack =
		(uint32_t)sp_recording_used(&written, SP_SECTION_HEAP_STACKS) - 1;
}

static void stack_is_empty(void)
{
	stack_of(FIRST)->frame_count = 0;
}

static void use_stack_words(uint64_t words)
{
	ck_assert_int_eq(sp_recording_reserve(&written, SP_SECTION_HEAP_STACKS, words),
			 0);
	atomic_store(&written.header->sections[SP_SECTION_HEAP_STACKS].used_items, words);
}

static void stack_is_too_deep(void)
{
	use_stack_words(8192);
	stack_of(FIRST)->frame_count = SP_STACK_FRAMES_MAX + 1;
}

static void stack_goes_beyond_the_end(void)
{
	const struct sp_heap_stack *last = stack_of(THIRD);

	test_heap_cell(&written, FIRST)->stack = test_heap_cell(&written, THIRD)->stack;
	atomic_store(&test_heap_cell(&written, THIRD)->is_filled, 0);
	stack_of(THIRD)->frame_count = last->frame_count + 1;
}

static void (*const bad_stacks[])(void) = {
	stack_is_astray,       stack_is_just_behind_the_end,
	stack_has_half_a_head, stack_is_empty,
	stack_is_too_deep,     stack_goes_beyond_the_end,
};

START_TEST(cell_without_its_stack_keeps_its_sums_under_dropped)
{
	bad_stacks[_i]();
	ck_assert_int_eq(examine(), 0);
	check_stack_is_dropped(FIRST);
	ck_assert_uint_eq(freed_samples(FIRST), 1);
	ck_assert_uint_eq(damaged(), 1);
}
END_TEST

START_TEST(deepest_stack_is_read)
{
	use_stack_words(8192);
	stack_of(FIRST)->frame_count = SP_STACK_FRAMES_MAX;
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_ne(test_heap_cell(&opened, FIRST)->stack, 0);
	ck_assert_uint_eq(damaged(), 0);
}
END_TEST

START_TEST(blocks_without_their_cell_go_to_dropped)
{
	test_heap_entry(&written, 0)->cell = THIRD + 1;
	test_heap_entry(&written, 1)->cell = UINT32_MAX;
	atomic_store(&test_heap_cell(&written, SECOND)->is_filled, 0);
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(test_heap_entry(&opened, 0)->cell, SP_HEAP_CELL_DROPPED);
	ck_assert_uint_eq(freed_samples(SP_HEAP_CELL_DROPPED), 2);
	ck_assert_uint_eq(freed_samples(FIRST), 0);
	/* Each once, though the absorber looks again. */
	ck_assert_uint_eq(damaged(), 3);
}
END_TEST

/* --- what is refused --- */

static void first_stack_is_another(void)
{
	((struct sp_heap_stack *)sp_recording_item(&written, SP_SECTION_HEAP_STACKS, 0))
		->frames[0]++;
}

static void first_stack_is_deeper(void)
{
	((struct sp_heap_stack *)sp_recording_item(&written, SP_SECTION_HEAP_STACKS, 0))
		->frame_count = 2;
}

static void no_stacks(void)
{
	atomic_store(&written.header->sections[SP_SECTION_HEAP_STACKS].used_items, 0);
}

static void first_cell_is_not_filled(void)
{
	atomic_store(&test_heap_cell(&written, SP_HEAP_CELL_DROPPED)->is_filled, 0);
}

static void first_cell_is_another(void)
{
	test_heap_cell(&written, SP_HEAP_CELL_DROPPED)->stack = 3;
}

static void absurd_rate(void)
{
	written.header->heap_rate_bytes = UINT64_C(1) << 50;
}

static void stack_table_is_wrong(void)
{
	struct sp_section *section = &written.header->sections[SP_SECTION_HEAP_STACKS];

	atomic_store(&section->used_items, sp_atomic_value(&section->reserved_items) + 1);
}

static const struct {
	void (*damage)(void);
	const char *words;
} refused[] = {
	{first_stack_is_another, "heap tables begin wrong"},
	{first_stack_is_deeper, "heap tables begin wrong"},
	{no_stacks, "heap tables begin wrong"},
	{first_cell_is_not_filled, "heap tables begin wrong"},
	{first_cell_is_another, "heap tables begin wrong"},
	{absurd_rate, "sampling rate"},
	{stack_table_is_wrong, "section table"},
};

START_TEST(damage_is_called_by_its_name)
{
	refused[_i].damage();
	ck_assert_int_eq(open_written(), -EINVAL);
	ck_assert_msg(strstr(error, refused[_i].words) != NULL, "\"%s\" lacks \"%s\"",
		      error, refused[_i].words);
}
END_TEST

/* The words of a cell, a slot or the header that hold sums, and which are doubles. */
struct sum_word {
	size_t offset;
	bool is_double;
};

#define CELL_SUM(member, is_double)                                                      \
	{                                                                                \
		offsetof(struct sp_heap_cell, member), is_double                         \
	}
static const struct sum_word cell_sums[] = {
	CELL_SUM(freed_samples, false),	  CELL_SUM(freed_objects, true),
	CELL_SUM(freed_bytes, true),	  CELL_SUM(age_cycles, true),
	CELL_SUM(short_objects, true),	  CELL_SUM(short_bytes, true),
	CELL_SUM(cross_objects, true),	  CELL_SUM(peak_objects, true),
	CELL_SUM(peak_bytes, true),	  CELL_SUM(untracked_objects_q8, false),
	CELL_SUM(untracked_bytes, false),
};

#define SLOT_SUM(member, is_double)                                                      \
	{                                                                                \
		offsetof(struct sp_slot, member), is_double                              \
	}
static const struct sum_word slot_sums[] = {
	SLOT_SUM(heap_allocations, false), SLOT_SUM(heap_frees, false),
	SLOT_SUM(heap_bytes, false),	   SLOT_SUM(heap_variance, true),
	SLOT_SUM(heap_cost_cycles, false),
};

#define HEADER_SUM(member, is_double)                                                    \
	{                                                                                \
		offsetof(struct sp_recording_header, member), is_double                  \
	}
static const struct sum_word header_sums[] = {
	HEADER_SUM(ended_heap_allocations, false),
	HEADER_SUM(ended_heap_frees, false),
	HEADER_SUM(ended_heap_bytes, false),
	HEADER_SUM(ended_heap_variance, true),
	HEADER_SUM(orphan_heap_allocations, false),
	HEADER_SUM(orphan_heap_frees, false),
	HEADER_SUM(orphan_heap_bytes, false),
	HEADER_SUM(ended_heap_cost_cycles, false),
	HEADER_SUM(orphan_heap_cost_cycles, false),
};

static void check_refused(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t before = sp_atomic_value(word);

	atomic_store(word, value);
	ck_assert_msg(examine() == -EINVAL, "%llx was read", (unsigned long long)value);
	ck_assert_str_eq(error, "damaged: its heap sums make no sense");
	atomic_store(word, before);
}

static void check_read(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t before = sp_atomic_value(word);

	atomic_store(word, value);
	ck_assert_msg(examine() == 0, "%llx was refused: %s", (unsigned long long)value,
		      error);
	atomic_store(word, before);
}

static void check_sums(void *item, const struct sum_word *words, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		_Atomic uint64_t *word = (void *)((char *)item + words[i].offset);

		if (words[i].is_double) {
			check_refused(word, sp_double_to_bits((double)NAN));
			check_refused(word, sp_double_to_bits((double)INFINITY));
			check_refused(word, sp_double_to_bits(-1.0));
			check_refused(word, sp_double_to_bits(1e40));
			check_refused(word, UINT64_MAX);
			check_read(word, sp_double_to_bits(1e18));
		} else {
			check_refused(word, UINT64_MAX);
			check_refused(word, (UINT64_C(1) << 62) + 4096);
			check_read(word, UINT64_C(1) << 60);
		}
	}
}

START_TEST(sums_that_cannot_be_are_refused)
{
	struct sp_slot *slot = test_thread(&written, 1, false);

	check_sums(test_heap_cell(&written, FIRST), cell_sums, SP_ARRAY_COUNT(cell_sums));
	check_sums(test_heap_cell(&written, SP_HEAP_CELL_DROPPED), cell_sums,
		   SP_ARRAY_COUNT(cell_sums));
	check_sums(slot, slot_sums, SP_ARRAY_COUNT(slot_sums));
	check_sums(written.header, header_sums, SP_ARRAY_COUNT(header_sums));
	check_refused((_Atomic uint64_t *)&written.header->heap_live_bytes,
		      (uint64_t)INT64_MIN);
	/* A little below 0 is no wonder. */
	check_read((_Atomic uint64_t *)&written.header->heap_live_bytes,
		   (uint64_t)INT64_C(-70000));
}
END_TEST

START_TEST(sums_are_refused_when_only_all_of_them_are_too_much)
{
	for (uint32_t i = FIRST; i <= THIRD; i++)
		atomic_store(&test_heap_cell(&written, i)->freed_bytes,
			     sp_double_to_bits(0x1p61));
	ck_assert_int_eq(examine(), -EINVAL);
}
END_TEST

/* Each is within the limit, and what is still to be absorbed is not. */
START_TEST(sums_are_looked_at_again_when_all_is_absorbed)
{
	uint64_t entries = test_heap_entries(&written);

	written.header->heap_rate_bytes = SP_HEAP_SIZE_MASK;
	for (uint64_t i = 0; i < entries; i++)
		test_heap_freed(test_heap_entry(&written, i), &small);
	atomic_store(&test_heap_cell(&written, FIRST)->freed_bytes,
		     sp_double_to_bits(0x1p62 - 0x1p57));
	ck_assert_int_eq(open_written(), 0);
	ck_assert_int_eq(examine(), -EINVAL);
	ck_assert_str_eq(error, "damaged: its sums make no sense");
}
END_TEST

START_TEST(sums_of_what_is_not_filled_do_not_count)
{
	atomic_store(&test_heap_cell(&written, THIRD)->freed_bytes, UINT64_MAX);
	ck_assert_int_eq(examine(), -EINVAL);
	atomic_store(&test_heap_cell(&written, THIRD)->is_filled, 0);
	ck_assert_int_eq(examine(), 0);
}
END_TEST

/* --- while its program goes on --- */

#define CELLS_MAX 40000U
#define CELLS_BEFORE_GROWTH 20000U
#define OPENS 80U

static _Atomic bool is_enough;

static void spin_ns(uint64_t ns)
{
	uint64_t start_ns = sp_clock_monotonic_ns();

	while (sp_clock_monotonic_ns() - start_ns < ns)
		;
}

/* A stack, its cell, a block; entries are used again and again. */
static void *add_for_a_while(void *argument)
{
	uint64_t entries = test_heap_entries(&written);

	(void)argument;
	for (uint32_t i = 0; i < CELLS_MAX && !atomic_load(&is_enough); i++) {
		struct sp_live_block *entry = test_heap_entry(&written, i % entries);
		struct test_block block = {.size_bytes = 100};

		block.cell = test_heap_add_cell(&written);
		if (!block.cell)
			break;
		atomic_store(&entry->word, SP_LIVE_CLAIMED);
		test_heap_live(entry, &block, 0x1000 + i);
		spin_ns(3000);
	}
	return NULL;
}

static void check_every_block_has_its_stack(void)
{
	uint64_t entries = test_heap_entries(&opened);

	for (uint64_t i = 0; i < entries; i++) {
		const struct sp_live_block *entry = test_heap_entry(&opened, i);
		const struct sp_heap_cell *cell;
		const struct sp_heap_stack *stack;
		uint64_t frames[TEST_FRAMES_MAX];

		if ((sp_atomic_value(&entry->word) & SP_LIVE_STATE_MASK) != SP_LIVE_LIVE)
			continue;
		ck_assert_uint_ne(entry->cell, SP_HEAP_CELL_DROPPED);
		cell = test_heap_cell(&opened, entry->cell);
		stack = sp_recording_item(&opened, SP_SECTION_HEAP_STACKS, cell->stack);
		ck_assert_uint_eq(stack->frame_count, test_stack(entry->cell, frames));
		ck_assert_mem_eq(stack->frames, frames,
				 stack->frame_count * sizeof(frames[0]));
	}
}

START_TEST(copy_of_a_living_recording_points_to_nothing_that_it_lacks)
{
	uint64_t cells = 0;
	pthread_t thread;

	ck_assert_int_eq(sp_recording_reserve(&written, SP_SECTION_HEAP_STACKS,
					      CELLS_BEFORE_GROWTH * UINT64_C(6)),
			 0);
	ck_assert_int_eq(sp_recording_reserve(&written, SP_SECTION_HEAP_CELLS,
					      CELLS_BEFORE_GROWTH),
			 0);
	atomic_store(&is_enough, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, add_for_a_while, NULL), 0);
	for (unsigned int i = 0; i < OPENS; i++) {
		ck_assert_msg(open_written() == 0, "%s", error);
		ck_assert_uint_eq(damaged(), 0);
		check_every_block_has_its_stack();
		ck_assert_uint_ge(sp_recording_used(&opened, SP_SECTION_HEAP_CELLS),
				  cells);
		cells = sp_recording_used(&opened, SP_SECTION_HEAP_CELLS);
	}
	atomic_store(&is_enough, true);
	pthread_join(thread, NULL);
	ck_assert_uint_gt(cells, THIRD + 1);
	ck_assert_int_eq(examine(), 0);
	ck_assert_uint_eq(sp_recording_used(&opened, SP_SECTION_HEAP_CELLS),
			  sp_recording_used(&written, SP_SECTION_HEAP_CELLS));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("recording_heap");
	TCase *tc = tcase_create("recording_heap");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup_heap, teardown);
	tcase_add_test(tc, blocks_and_sums_are_read_back);
	tcase_add_test(tc, what_was_being_made_is_no_damage);
	tcase_add_test(tc,
		       process_that_was_killed_before_its_first_cell_has_an_empty_heap);
	tcase_add_test(tc, recording_without_a_heap_is_not_looked_at);
	tcase_add_loop_test(tc, cell_without_its_stack_keeps_its_sums_under_dropped, 0,
			    SP_ARRAY_COUNT(bad_stacks));
	tcase_add_test(tc, deepest_stack_is_read);
	tcase_add_test(tc, blocks_without_their_cell_go_to_dropped);
	tcase_add_loop_test(tc, damage_is_called_by_its_name, 0, SP_ARRAY_COUNT(refused));
	tcase_add_test(tc, sums_that_cannot_be_are_refused);
	tcase_add_test(tc, sums_are_refused_when_only_all_of_them_are_too_much);
	tcase_add_test(tc, sums_are_looked_at_again_when_all_is_absorbed);
	tcase_add_test(tc, sums_of_what_is_not_filled_do_not_count);
	tcase_add_test(tc, copy_of_a_living_recording_points_to_nothing_that_it_lacks);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
