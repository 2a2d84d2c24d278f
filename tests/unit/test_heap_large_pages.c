/*
 * The live table where every block is sampled: what was used often enough becomes large
 * pages, and no entry in it is another one then.
 */
#include "test_heap_capture_fixture.h"

#include "sp_pages.h"

#include <stdio.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Entries of three large pages and more. */
#define BLOCKS UINT64_C(200000)
#define FIRST_ADDRESS UINT64_C(0x100000000)

static void *address_of(uint64_t number)
{
	return (void *)(uintptr_t)(FIRST_ADDRESS + 16 * number); // NOLINT
}

/* Of shared memory that is mapped by large pages. */
static uint64_t large_kib(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "r");
	unsigned long long kib = 0, found = 0;
	char line[256];

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "ShmemPmdMapped: %llu", &kib) == 1)
			found = kib;
	fclose(file);
	return found;
}

/* Does the kernel know how, and has it a large page at this moment? */
static bool can_kernel(void)
{
	size_t bytes = 2 * SP_LARGE_PAGE_BYTES;
	char *around = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *page = around + (-(uintptr_t)around & (SP_LARGE_PAGE_BYTES - 1));
	bool can;

	ck_assert_ptr_ne(around, MAP_FAILED);
	ck_assert_ptr_eq(mmap(page, SP_LARGE_PAGE_BYTES, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 page);
	for (size_t i = 0; i < SP_LARGE_PAGE_BYTES; i += SP_PAGE_BYTES)
		page[i] = 1;
	can = madvise(page, SP_LARGE_PAGE_BYTES, MADV_COLLAPSE) == 0;
	munmap(around, bytes);
	return can;
}

static void allocate_all(uint64_t more_bytes)
{
	for (uint64_t i = 0; i < BLOCKS; i++)
		sp_heap_note_alloc(address_of(i), BLOCK_BYTES + i % 7 + more_bytes);
}

static void free_all(void)
{
	for (uint64_t i = 0; i < BLOCKS; i++)
		sp_heap_note_free(address_of(i));
}

START_TEST(a_table_that_is_filled_once_stays_as_it_is)
{
	allocate_all(0);
	sp_heap_capture_make_large_pages(&sp_capture.recording);
	ck_assert_uint_eq(large_kib(), 0);
}
END_TEST

START_TEST(entries_are_the_same_in_large_pages)
{
	allocate_all(0);
	for (unsigned int i = 1; i <= 3; i++) {
		free_all();
		allocate_all(i);
	}
	for (unsigned int i = 0; i < 2; i++)
		sp_heap_capture_make_large_pages(&sp_capture.recording);
	if (can_kernel())
		ck_assert_uint_gt(large_kib(), 0);
	for (uint64_t i = 0; i < BLOCKS; i++) {
		const struct sp_live_block *block = find_at(address_of(i));

		ck_assert_ptr_nonnull(block);
		ck_assert_uint_eq(block->size_and_thread & SP_HEAP_SIZE_MASK,
				  BLOCK_BYTES + i % 7 + 3);
	}
	free_all();
	ck_assert_double_eq(SUM(freed_objects), 4.0 * (double)BLOCKS);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_STALE), 0);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_UNTRACKED), 0);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("large pages");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, a_table_that_is_filled_once_stays_as_it_is);
	tcase_add_test(tests, entries_are_the_same_in_large_pages);
	return run_tests("heap large pages", tests);
}
