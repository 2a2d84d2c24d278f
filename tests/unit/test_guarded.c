/* Reading and storing where there may be nothing mapped. */
#include "sp_guarded.h"
#include "sp_pages.h"
#include "sp_syscall.h"

#include <asm/prctl.h>
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define STORES 20000

/* Three pages: written, unmapped, read-only. */
static unsigned char *pages;
static uint64_t writable, hole, read_only;

static void setup(void)
{
	pages = mmap(NULL, 3 * SP_PAGE_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(pages, MAP_FAILED);
	for (size_t i = 0; i < 3 * SP_PAGE_BYTES; i++)
		pages[i] = (unsigned char)(i * 7);
	writable = (uint64_t)(uintptr_t)pages;
	hole = writable + SP_PAGE_BYTES;
	read_only = hole + SP_PAGE_BYTES;
	ck_assert_int_eq(munmap(pages + SP_PAGE_BYTES, SP_PAGE_BYTES), 0);
	ck_assert_int_eq(mprotect(pages + 2 * SP_PAGE_BYTES, SP_PAGE_BYTES, PROT_READ),
			 0);
}

static void teardown(void)
{
	munmap(pages, SP_PAGE_BYTES);
	munmap(pages + 2 * SP_PAGE_BYTES, SP_PAGE_BYTES);
}

static uint64_t gs_base(void)
{
	uint64_t base = 1;

	ck_assert_int_eq(sp_syscall2(SYS_arch_prctl, ARCH_GET_GS, &base), 0);
	return base;
}

START_TEST(reads_what_is_mapped_and_refuses_the_rest)
{
	unsigned char read[64];

	errno = E2BIG;
	ck_assert(sp_guarded_read(writable + 100, read, sizeof(read)));
	ck_assert_mem_eq(read, pages + 100, sizeof(read));
	ck_assert(sp_guarded_read(read_only, read, sizeof(read)));
	ck_assert_mem_eq(read, pages + 2 * SP_PAGE_BYTES, sizeof(read));
	ck_assert(!sp_guarded_read(hole, read, sizeof(read)));
	ck_assert(!sp_guarded_read(hole - 1, read, 2));
	ck_assert(!sp_guarded_read(0, read, 1));
	ck_assert_int_eq(errno, E2BIG);
}
END_TEST

START_TEST(pieces_are_read_all_or_not)
{
	uint64_t addresses[] = {writable + 5, read_only + 8, writable + 4088};
	unsigned char read[3][8];

	ck_assert(sp_guarded_read_pieces(addresses, 3, read, sizeof(read[0])));
	for (size_t i = 0; i < 3; i++)
		ck_assert_mem_eq(read[i], pages + (addresses[i] - writable), 8);
	addresses[1] = hole;
	ck_assert(!sp_guarded_read_pieces(addresses, 3, read, sizeof(read[0])));
	addresses[1] = hole - 4;
	ck_assert(!sp_guarded_read_pieces(addresses, 3, read, sizeof(read[0])));
}
END_TEST

START_TEST(gathers_pieces_of_any_size_or_nothing)
{
	struct iovec some[] = {
		{pages + 10, 3},
		{pages + 2 * SP_PAGE_BYTES, 0},
		{pages + 2 * SP_PAGE_BYTES + 5, 100},
	};
	unsigned char read[200];

	errno = E2BIG;
	ck_assert(sp_guarded_gather(some, 3, read));
	ck_assert_mem_eq(read, pages + 10, 3);
	ck_assert_mem_eq(read + 3, pages + 2 * SP_PAGE_BYTES + 5, 100);
	ck_assert(sp_guarded_gather(some, 1, read));
	some[1] = (struct iovec){pages + SP_PAGE_BYTES, 1};
	ck_assert(!sp_guarded_gather(some, 3, read));
	some[1] = (struct iovec){pages, SIZE_MAX};
	ck_assert(!sp_guarded_gather(some, 2, read));
	some[1] = (struct iovec){(void *)UINTPTR_MAX, 8};
	ck_assert(!sp_guarded_gather(some, 2, read));
	ck_assert_int_eq(errno, E2BIG);
}
END_TEST

START_TEST(stores_only_where_it_may_be_written)
{
	uint64_t *word = (uint64_t *)(void *)(pages + 16);
	const uint64_t *constant = (const uint64_t *)(void *)(pages + 2 * SP_PAGE_BYTES);
	uint64_t before = *constant, base = gs_base();

	errno = E2BIG;
	ck_assert_int_eq(sp_guarded_store(writable + 16, 0x7f0123456789), 0);
	ck_assert_uint_eq(*word, 0x7f0123456789);
	ck_assert_int_eq(sp_guarded_store(read_only, 1), -EFAULT);
	ck_assert_uint_eq(*constant, before);
	ck_assert_int_eq(sp_guarded_store(hole, 1), -EFAULT);
	ck_assert_uint_eq(gs_base(), base);
	ck_assert_int_eq(errno, E2BIG);
}
END_TEST

START_TEST(kernel_addresses_are_refused)
{
	uint64_t *word = (uint64_t *)(void *)(pages + 16);
	uint64_t before = *word, base = gs_base();

	ck_assert_int_lt(sp_guarded_store(writable + 16, UINT64_C(0xffff) << 48), 0);
	ck_assert_uint_eq(*word, before);
	ck_assert_int_lt(sp_guarded_store(UINT64_C(0xffffffff81000000), 1), 0);
	ck_assert_uint_eq(gs_base(), base);
}
END_TEST

struct watch {
	_Atomic bool is_over;
	_Atomic uint64_t word;
	uint64_t values[2], strange;
};

static void *watch_word(void *argument)
{
	struct watch *watch = argument;

	while (!atomic_load_explicit(&watch->is_over, memory_order_relaxed)) {
		uint64_t seen = atomic_load_explicit(&watch->word, memory_order_relaxed);

		watch->strange += seen != watch->values[0] && seen != watch->values[1];
	}
	return NULL;
}

START_TEST(another_thread_sees_the_old_value_or_the_new)
{
	static struct watch watch = {.values = {0x00007f1111111111, 0x0000555522222222}};
	pthread_t thread;

	atomic_store(&watch.word, watch.values[0]);
	ck_assert_int_eq(pthread_create(&thread, NULL, watch_word, &watch), 0);
	for (size_t i = 1; i <= STORES; i++)
		ck_assert_int_eq(sp_guarded_store((uint64_t)(uintptr_t)&watch.word,
						  watch.values[i % 2]),
				 0);
	atomic_store(&watch.is_over, true);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(watch.strange, 0);
	ck_assert_uint_eq(atomic_load(&watch.word), watch.values[STORES % 2]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guarded");
	TCase *tcase = tcase_create("memory");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, reads_what_is_mapped_and_refuses_the_rest);
	tcase_add_test(tcase, pieces_are_read_all_or_not);
	tcase_add_test(tcase, gathers_pieces_of_any_size_or_nothing);
	tcase_add_test(tcase, stores_only_where_it_may_be_written);
	tcase_add_test(tcase, kernel_addresses_are_refused);
	tcase_add_test(tcase, another_thread_sees_the_old_value_or_the_new);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
