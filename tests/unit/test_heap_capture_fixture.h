/*
 * A thread whose blocks are all sampled, and a recording for them. Blocks are addresses
 * that nobody looks at.
 */
#ifndef TEST_HEAP_CAPTURE_FIXTURE_H
#define TEST_HEAP_CAPTURE_FIXTURE_H

#include "heap_absorb.h"
#include "heap_batches.h"
#include "heap_live.h"
#include "sp_capture.h"
#include "sp_heap_capture.h"
#include "test_recording_fixture.h"

#include "sp_double.h"
#include "sp_recording_heap.h"

#include <check.h>
#include <pthread.h>

#define BLOCK_BYTES UINT64_C(48)

static struct sp_own_process own_process;
static struct sp_absorber *absorber;
static struct sp_slot *slot;

static inline struct sp_recording_header *header(void)
{
	return sp_capture.recording.header;
}

/* Each has a page of its own. */
static inline void *address(uint64_t number)
{
	return (void *)(uintptr_t)(number << 12);
}

static inline uint64_t loss(enum sp_loss which)
{
	return atomic_load(&header()->losses[which]);
}

static inline struct sp_slot *begin_thread(void)
{
	struct sp_slot *new_slot = test_thread(&sp_capture.recording, 1, false);
	pthread_attr_t attributes;
	void *low;
	size_t bytes;

	ck_assert_ptr_nonnull(new_slot);
	ck_assert_int_eq(pthread_getattr_np(pthread_self(), &attributes), 0);
	pthread_attr_getstack(&attributes, &low, &bytes);
	pthread_attr_destroy(&attributes);
	atomic_store(&new_slot->stack_low, (uint64_t)(uintptr_t)low);
	atomic_store(&new_slot->stack_high, (uint64_t)(uintptr_t)low + bytes);
	sp_heap_thread_begin(new_slot);
	ck_assert_ptr_nonnull(sp_heap_self);
	return new_slot;
}

static inline void begin_capture(uint64_t rate_bytes, uint64_t recording_bytes)
{
	struct sp_heap_settings settings = {.rate_bytes = rate_bytes, .seed = 1};
	struct sp_recording *recording = &sp_capture.recording;

	ck_assert_int_eq(
		test_recording_make(recording, "/proc/nonexistent", recording_bytes), 0);
	atomic_store(&own_process.is_ours, 1);
	sp_capture.own_process = &own_process;
	sp_capture.depth_frames_max = 32;
	ck_assert_int_eq(sp_heap_capture_init(&settings), 0);
	sp_heap_capture_begin(recording);
	absorber = calloc(1, sizeof(*absorber));
	ck_assert_ptr_nonnull(absorber);
	absorber->give_block_back = sp_heap_capture_give_block_back;
	ck_assert_int_eq(sp_absorber_init(absorber, recording), 0);
	sp_heap_keep_ahead(absorber);
	sp_capture_set_state(SP_CAPTURE_RUNNING);
	slot = begin_thread();
}

static inline void setup(void)
{
	begin_capture(1, 64 << 20);
}

static inline void teardown(void)
{
	sp_capture_set_state(SP_CAPTURE_OFF);
	sp_heap_capture_forked();
	/* A process has one filter for good; each test is to have its own. */
	atomic_store(&sp_alloc_line.filter, SP_HEAP_FILTER_NONE);
	sp_absorber_fini(absorber);
	free(absorber);
	sp_recording_detach(&sp_capture.recording);
}

static inline struct sp_live_block *find_at(const void *ptr)
{
	struct sp_heap_spot spot;
	uint64_t word;

	sp_heap_live_spot(&sp_capture.recording, ptr, &spot);
	return sp_heap_live_find(&sp_capture.recording, &spot, &word);
}

/* Of all cells, when everything is absorbed. */
static inline double sum_of(size_t offset)
{
	uint64_t cells = sp_recording_used(&sp_capture.recording, SP_SECTION_HEAP_CELLS);
	double sum = 0;

	sp_heap_batches_absorb(absorber);
	sp_heap_absorb(absorber);
	for (uint64_t i = 0; i < cells; i++) {
		const char *cell = sp_recording_item(&sp_capture.recording,
						     SP_SECTION_HEAP_CELLS, i);

		sum += sp_double_from_bits(
			atomic_load((const _Atomic uint64_t *)(cell + offset)));
	}
	return sum;
}

#define SUM(member) sum_of(offsetof(struct sp_heap_cell, member))

static inline int run_tests(const char *name, TCase *tests)
{
	Suite *suite = suite_create(name);
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

#endif
