/*
 * The list of what is in use at the end, line by line. Frames get their names from a
 * stand-in for the symbol tables: "f<module>_<start>".
 */
#include "leaks.h"
#include "sp_log.h"
#include "test_heap_fixture.h"

/* Last: the names it has for all are used inside of the others, too. */
#include "pprof_fixture.h"

#include <fcntl.h>

static struct sp_recording recording;
static int pipe_fds[2];
static char told[16384];
static const char *lines[32]; /* without "spanprof[pid]: " */
static unsigned int line_count;

static void setup(void)
{
	struct sp_module_record module = {.text_end = UINT64_C(1) << 40};

	ck_assert_int_eq(test_recording_make(&recording, "/proc/nonexistent",
					     SP_RECORDING_BYTES_MIN * 8),
			 0);
	sp_recording_add_module(&recording, &module, "/bin/tested");
	sp_recording_add_module(&recording, &module, "/lib/tested.so");
	test_heap_begin(&recording);
	recording.header->heap_rate_bytes = 1;
	recording.header->pid = 17; /* the stand-in's */
	ck_assert_int_eq(test_drain(&recording), 0);
	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	sp_log_init(pipe_fds[1], false, false);
}

static void teardown(void)
{
	sp_log_init(-1, false, false);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	sp_recording_detach(&recording);
}

static void add_block(uint32_t cell, uint64_t size_bytes)
{
	const struct test_block block = {.cell = cell, .size_bytes = size_bytes};

	for (uint64_t i = 0; i < test_heap_entries(&recording); i++) {
		struct sp_live_block *entry = test_heap_entry(&recording, i);

		if (atomic_load(&entry->word) != SP_LIVE_FREE)
			continue;
		test_heap_live(entry, &block, 0x1000);
		return;
	}
	ck_abort_msg("no free entry");
}

/* Another cell for the stack of this one. */
static uint32_t add_class_of(uint32_t cell)
{
	uint32_t other = test_heap_add_cell(&recording);

	test_heap_cell(&recording, other)->stack =
		test_heap_cell(&recording, cell)->stack;
	return other;
}

static void tell(void)
{
	struct sp_heap_profile *heap = sp_heap_profile_create(&recording);
	struct sp_known_names names;
	ssize_t bytes;

	ck_assert_ptr_nonnull(heap);
	ck_assert_int_eq(sp_known_names_init(&names), 0);
	sp_leaks_tell(heap, &names);
	sp_known_names_fini(&names);
	sp_heap_profile_destroy(heap);
	bytes = read(pipe_fds[0], told, sizeof(told) - 1);
	told[bytes < 0 ? 0 : bytes] = '\0';
	line_count = 0;
	for (char *line = strtok(told, "\n"); line; line = strtok(NULL, "\n")) {
		ck_assert_ptr_nonnull(strstr(line, "]: "));
		lines[line_count++] = strstr(line, "]: ") + 3;
	}
}

START_TEST(nothing_in_use_is_one_line)
{
	tell();
	ck_assert_uint_eq(line_count, 1);
	ck_assert_str_eq(lines[0], "leaks: nothing is in use");
	recording.header->heap_rate_bytes = 4096;
	tell();
	ck_assert_str_eq(lines[0], "leaks: no sampled block is in use");
}
END_TEST

START_TEST(stacks_are_told_largest_first_and_by_name)
{
	uint32_t first = test_heap_add_cell(&recording); /* leaf 0x1010 */
	uint32_t second = test_heap_add_cell(&recording);

	add_block(first, 1000);
	add_block(second, 1500);
	add_block(second, 548);
	tell();
	ck_assert_uint_eq(line_count, 3);
	ck_assert_str_eq(lines[0],
			 "leaks: 3.0 KiB in 3 blocks still in use (exact), from 2 "
			 "stacks:");
	ck_assert_str_eq(lines[1],
			 "leaks: 2.0 KiB in 2 blocks: f1_1000 < f1_5000000 < f2_0");
	ck_assert_ptr_eq(strstr(lines[2],
				"leaks: 1000 B in 1 block: f1_1000 < f1_5000000 "
				"< "),
			 lines[2]);
}
END_TEST

START_TEST(sizes_of_one_stack_are_one_line)
{
	uint32_t first = test_heap_add_cell(&recording);

	add_block(first, 100);
	add_block(add_class_of(first), 1000);
	tell();
	ck_assert_uint_eq(line_count, 2);
	ck_assert_ptr_nonnull(strstr(lines[0], "from 1 stack:"));
	ck_assert_ptr_eq(strstr(lines[1], "leaks: 1.1 KiB in 2 blocks: "), lines[1]);
}
END_TEST

START_TEST(ten_stacks_are_enough)
{
	for (unsigned int i = 0; i < 25; i++)
		add_block(test_heap_add_cell(&recording), 100 + i * 7 % 25);
	tell();
	ck_assert_uint_eq(line_count, 11);
	ck_assert_ptr_nonnull(strstr(lines[0], "from 25 stacks; the largest:"));
	for (unsigned int i = 1; i <= 10; i++) {
		char begin[64];

		snprintf(begin, sizeof(begin), "leaks: %u B in 1 block: ", 125 - i);
		ck_assert_ptr_eq(strstr(lines[i], begin), lines[i]);
	}
}
END_TEST

START_TEST(estimates_are_called_so)
{
	recording.header->heap_rate_bytes = 4096;
	add_block(test_heap_add_cell(&recording), 16);
	tell();
	ck_assert_str_eq(lines[0], "leaks: 4.0 KiB in 257 blocks still in use "
				   "(estimate), from 1 stack:");
}
END_TEST

static uint32_t add_deep_stack(uint32_t frame_count, uint64_t distance)
{
	uint32_t cell = test_heap_add_cell(&recording);
	struct sp_section *section = &recording.header->sections[SP_SECTION_HEAP_STACKS];
	uint64_t word = atomic_load(&section->used_items);
	struct sp_heap_stack *stack =
		sp_recording_item(&recording, SP_SECTION_HEAP_STACKS, word);

	ck_assert_int_eq(sp_recording_reserve(&recording, SP_SECTION_HEAP_STACKS,
					      word + SP_HEAP_STACK_WORDS + frame_count),
			 0);
	stack->frame_count = frame_count;
	for (uint32_t i = 0; i < frame_count; i++)
		stack->frames[i] = sp_frame_make(1, distance * (i + 1));
	atomic_store(&section->used_items, word + SP_HEAP_STACK_WORDS + frame_count);
	test_heap_cell(&recording, cell)->stack = (uint32_t)word;
	return cell;
}

START_TEST(deep_stack_is_cut_at_the_root)
{
	add_block(add_deep_stack(16, 0x100), 20);
	add_block(add_deep_stack(17, 0x100), 10);
	tell();
	ck_assert_ptr_nonnull(strstr(lines[1], "f1_f00 < f1_1000"));
	ck_assert_ptr_null(strstr(lines[1], "..."));
	ck_assert_ptr_nonnull(strstr(lines[2], "f1_f00 < f1_1000 < ..."));
	ck_assert_ptr_null(strstr(lines[2], "f1_1100"));
}
END_TEST

START_TEST(frames_outside_of_modules_have_names)
{
	uint32_t cell = add_deep_stack(4, 0x100);
	struct sp_heap_stack *stack =
		sp_recording_item(&recording, SP_SECTION_HEAP_STACKS,
				  test_heap_cell(&recording, cell)->stack);

	stack->frames[1] = sp_frame_make(SP_MODULE_NONE, 0x1234);
	stack->frames[2] = sp_frame_make(77, 0x1234);
	stack->frames[3] = sp_frame_pseudo(SP_PSEUDO_TRUNCATED);
	add_block(cell, 20);
	add_block(SP_HEAP_CELL_DROPPED, 10);
	tell();
	ck_assert_str_eq(lines[1], "leaks: 20 B in 1 block: f1_100 < [jit] < [unknown "
				   "module] < [truncated]");
	ck_assert_str_eq(lines[2], "leaks: 10 B in 1 block: [dropped]");
}
END_TEST

START_TEST(without_memory_that_is_told)
{
	struct sp_known_names names;
	struct sp_heap_profile *heap;

	add_block(test_heap_add_cell(&recording), 20);
	heap = sp_heap_profile_create(&recording);
	ck_assert_ptr_nonnull(heap);
	ck_assert_int_eq(sp_known_names_init(&names), 0);
	for (size_t allowed = 0; allowed < 6; allowed++) {
		test_heap_refuse_after(allowed);
		sp_leaks_tell(heap, &names);
		test_heap_refuse_after(SIZE_MAX);
		ck_assert_int_gt(read(pipe_fds[0], told, sizeof(told) - 1), 0);
		if (allowed == 0)
			ck_assert_ptr_nonnull(strstr(told, "no memory to list leaks"));
	}
	sp_known_names_fini(&names);
	sp_heap_profile_destroy(heap);
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, nothing_in_use_is_one_line);
	tcase_add_test(tc, stacks_are_told_largest_first_and_by_name);
	tcase_add_test(tc, sizes_of_one_stack_are_one_line);
	tcase_add_test(tc, ten_stacks_are_enough);
	tcase_add_test(tc, estimates_are_called_so);
	tcase_add_test(tc, deep_stack_is_cut_at_the_root);
	tcase_add_test(tc, frames_outside_of_modules_have_names);
	tcase_add_test(tc, without_memory_that_is_told);
}

int main(void)
{
	return run_pprof_suite("leaks", add_tests);
}
