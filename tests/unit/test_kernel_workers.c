/*
 * Threads that the kernel has made for the program (io_uring's) come by the hundred at
 * once, and none of them is ever sampled.
 */
#include "test_span_capture_fixture.h"

#include "run_suite.h"
#include "sp_collector.h"
#include "sp_thread.h"

#define WORKERS 1000
#define FIRST_TID 1000000

static void setup(void)
{
	begin_plain_spans();
}

static uint64_t free_rings(void)
{
	return sp_atomic_value(&recorded()->header->free_ring_count);
}

static void keep_ahead(void)
{
	struct sp_collector collector = {.recording = recorded(), .absorber = absorber};

	sp_collector_keep_ahead(&collector);
}

static void adopt(uint64_t entry_address)
{
	for (int i = 0; i < WORKERS; i++)
		ck_assert_ptr_nonnull(sp_thread_adopt(FIRST_TID + i, entry_address));
}

START_TEST(all_that_are_found_at_one_look_have_a_slot)
{
	adopt(SP_ENTRY_KERNEL_WORKER);
	ck_assert_uint_eq(lost(SP_LOSS_NO_SLOT), 0);
	ck_assert_uint_eq(sp_atomic_value(&recorded()->header->live_slots), WORKERS);
}
END_TEST

START_TEST(no_ring_is_kept_ready_for_them)
{
	uint64_t before;

	keep_ahead();
	before = free_rings();
	adopt(SP_ENTRY_KERNEL_WORKER);
	keep_ahead();
	ck_assert_uint_eq(free_rings(), before);
	/* Others will want theirs. */
	adopt(0);
	keep_ahead();
	ck_assert_uint_gt(free_rings(), before);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("kernel_workers");

	tcase_add_checked_fixture(tc, setup, end_spans);
	tcase_add_test(tc, all_that_are_found_at_one_look_have_a_slot);
	tcase_add_test(tc, no_ring_is_kept_ready_for_them);
	return run_suite("kernel workers", tc);
}
