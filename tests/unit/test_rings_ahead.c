/*
 * Rings are there before threads want them: where hundreds of them are at work, the
 * collector's own does not run for long. If none is there, the thread takes one itself.
 */
#include "test_span_capture_fixture.h"

#include "run_suite.h"
#include "sp_capture.h"
#include "sp_collector.h"
#include "sp_ring.h"
#include "sp_thread.h"

#include <ucontext.h>

#define THREADS 600
#define FIRST_TID 1000000
#define FEW 64 /* in one go, of many that have none yet */

static struct sp_slot *threads[THREADS];
static int with_ring;

static void setup(void)
{
	begin_plain_spans();
}

static void adopt_all(void)
{
	for (int i = 0; i < THREADS; i++) {
		threads[i] = sp_thread_adopt(FIRST_TID + i, 0);
		ck_assert_ptr_nonnull(threads[i]);
	}
	with_ring = 0;
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

/* As the first sample of each does. Returns how many found one. */
static int take_rings(void)
{
	int taken = 0;

	for (; with_ring < THREADS; with_ring++, taken++) {
		uint32_t id = sp_ring_pool_take(recorded());

		if (!id)
			break;
		atomic_store(&threads[with_ring]->ring, id);
	}
	return taken;
}

START_TEST(sleeping_threads_keep_few_ready)
{
	adopt_all();
	for (int i = 0; i < 10; i++)
		keep_ahead();
	ck_assert_uint_eq(free_rings(), FEW);
}
END_TEST

START_TEST(as_many_as_are_in_use_are_ready_for_the_next)
{
	adopt_all();
	keep_ahead();
	for (int expected = FEW; with_ring + expected <= THREADS; expected = with_ring) {
		ck_assert_int_eq(take_rings(), expected);
		keep_ahead();
	}
	take_rings();
	keep_ahead();
	take_rings();
	ck_assert_int_eq(with_ring, THREADS);
	/* Nobody is left to want more. */
	keep_ahead();
	ck_assert_uint_le(free_rings(), 1);
}
END_TEST

static void leave_to_another(void)
{
}

START_TEST(first_sample_finds_a_ring_while_another_drains)
{
	ucontext_t here;

	adopt_all();
	while (sp_ring_pool_take(recorded()))
		;
	/* It has the lock, and does not run. */
	sp_capture.drain = leave_to_another;
	sp_capture.depth_frames_max = 16;
	ck_assert_int_eq(getcontext(&here), 0);
	for (int i = 0; i < THREADS; i++)
		sp_capture_cpu_sample(threads[i], 1, &here);
	ck_assert_uint_eq(lost(SP_LOSS_NO_RING), 0);
	ck_assert_uint_eq(sp_absorber_drain(absorber), THREADS);
	/* And no more than each needs. */
	ck_assert_uint_eq(free_rings(), 0);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("rings_ahead");

	tcase_add_checked_fixture(tc, setup, end_spans);
	tcase_add_test(tc, sleeping_threads_keep_few_ready);
	tcase_add_test(tc, as_many_as_are_in_use_are_ready_for_the_next);
	tcase_add_test(tc, first_sample_finds_a_ring_while_another_drains);
	return run_suite("rings ahead", tc);
}
