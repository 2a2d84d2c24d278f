/* The heap of pages: blocks keep what is written to them, and come back. */
#include <check.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

/* Part of the preloaded object, not of the library of the tests. */
#include "../../agent/jemalloc/heap_pages.c"

#define BLOCKS 300

static unsigned char *blocks[BLOCKS];
static size_t sizes_bytes[BLOCKS];

static void fill(size_t i)
{
	memset(blocks[i], (int)(i % 251), sizes_bytes[i]);
}

static void check_kept(size_t i, size_t kept_bytes)
{
	for (size_t j = 0; j < kept_bytes; j++)
		if (blocks[i][j] != i % 251)
			ck_abort_msg("byte %zu of %zu is lost", j, sizes_bytes[i]);
}

/* Mostly small, some around the border to mappings, some far above. */
static size_t random_size(unsigned int *seed)
{
	size_t bits = (size_t)rand_r(seed);

	return bits % ((size_t)1 << (bits >> 20) % 19);
}

START_TEST(blocks_keep_what_is_written)
{
	unsigned int seed = 1;

	for (size_t turn = 0; turn < 6000; turn++) {
		size_t i = (size_t)rand_r(&seed) % BLOCKS;
		size_t old_bytes = sizes_bytes[i], size_bytes = random_size(&seed);

		if (!blocks[i]) {
			blocks[i] = sp_heap_pages_alloc(size_bytes);
		} else if (turn % 3) {
			check_kept(i, old_bytes);
			blocks[i] = sp_heap_pages_realloc(blocks[i], size_bytes);
			sizes_bytes[i] = size_bytes;
			check_kept(i, old_bytes < size_bytes ? old_bytes : size_bytes);
		} else {
			check_kept(i, old_bytes);
			sp_heap_pages_free(blocks[i]);
			blocks[i] = sp_heap_pages_zalloc(size_bytes);
			for (size_t j = 0; j < size_bytes; j++)
				if (blocks[i][j] != 0)
					ck_abort_msg("byte %zu is not 0", j);
		}
		ck_assert_ptr_nonnull(blocks[i]);
		ck_assert_uint_eq((uintptr_t)blocks[i] % 16, 0);
		sizes_bytes[i] = size_bytes;
		fill(i);
	}
	for (size_t i = 0; i < BLOCKS; i++)
		sp_heap_pages_free(blocks[i]);
}
END_TEST

START_TEST(small_blocks_are_used_again)
{
	for (size_t size_bytes = 0; size_bytes < SMALL_BYTES_MAX; size_bytes += 13) {
		void *block = sp_heap_pages_alloc(size_bytes);

		sp_heap_pages_free(block);
		ck_assert_ptr_eq(sp_heap_pages_alloc(size_bytes), block);
		sp_heap_pages_free(block);
	}
}
END_TEST

START_TEST(classes_are_no_more_than_half_too_large)
{
	for (size_t bytes = 32; bytes <= SMALL_BYTES_MAX; bytes++) {
		size_t taken_bytes = class_bytes(class_of(bytes));

		ck_assert_uint_lt(class_of(bytes), CLASSES);
		ck_assert_uint_ge(taken_bytes, bytes);
		ck_assert_uint_le(taken_bytes, bytes * 3 / 2);
		ck_assert_uint_eq(taken_bytes % 16, 0);
	}
}
END_TEST

START_TEST(nothing_and_too_much)
{
	void *block = sp_heap_pages_alloc(0);

	ck_assert_ptr_nonnull(block);
	ck_assert_ptr_null(sp_heap_pages_alloc(SIZE_MAX));
	ck_assert_ptr_null(sp_heap_pages_alloc(PTRDIFF_MAX));
	ck_assert_ptr_null(sp_heap_pages_zalloc(SIZE_MAX - 16));
	ck_assert_ptr_null(sp_heap_pages_realloc(block, SIZE_MAX));
	ck_assert_ptr_null(sp_heap_pages_realloc(block, PTRDIFF_MAX));
	sp_heap_pages_free(block);
	sp_heap_pages_free(NULL);
	block = sp_heap_pages_realloc(NULL, 40000);
	ck_assert_ptr_nonnull(block);
	ck_assert_ptr_null(sp_heap_pages_realloc(block, PTRDIFF_MAX));
	sp_heap_pages_free(block);
}
END_TEST

static void *churn(void *argument)
{
	unsigned int seed = (unsigned int)(uintptr_t)argument;

	for (size_t turn = 0; turn < 20000; turn++) {
		size_t size_bytes = random_size(&seed) % 1000;
		unsigned char *block = sp_heap_pages_alloc(size_bytes + 1);

		memset(block, (int)seed & 0xff, size_bytes + 1);
		if (block[size_bytes / 2] != (seed & 0xff))
			return argument;
		sp_heap_pages_free(block);
	}
	return NULL;
}

START_TEST(threads_do_not_meet)
{
	pthread_t threads[3];
	void *result;

	for (uintptr_t i = 0; i < 3; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (size_t i = 0; i < 3; i++) {
		pthread_join(threads[i], &result);
		ck_assert_ptr_null(result);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("heap_pages");
	TCase *tcase = tcase_create("heap_pages");
	SRunner *runner;
	int failures;

	tcase_add_test(tcase, blocks_keep_what_is_written);
	tcase_add_test(tcase, small_blocks_are_used_again);
	tcase_add_test(tcase, classes_are_no_more_than_half_too_large);
	tcase_add_test(tcase, nothing_and_too_much);
	tcase_add_test(tcase, threads_do_not_meet);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
