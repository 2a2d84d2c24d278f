/*
 * A recording with one thread, its ring, and the consumer. Anonymous: what the file is
 * like is no matter here.
 */
#ifndef TEST_THREAD_FIXTURE_H
#define TEST_THREAD_FIXTURE_H

#include "test_recording_fixture.h"

#include <check.h>

static struct sp_recording recording;
static struct sp_absorber *absorber;
static struct sp_slot *slot;
static struct sp_ring *ring;
static struct test_tally tally;

static inline void begin_one_thread(uint64_t bytes_max, uint32_t group)
{
	ck_assert_int_eq(test_recording_make(&recording, "/proc/nonexistent", bytes_max),
			 0);
	absorber = calloc(1, sizeof(*absorber));
	ck_assert_ptr_nonnull(absorber);
	ck_assert_int_eq(sp_absorber_init(absorber, &recording), 0);
	slot = test_thread(&recording, group, true);
	ck_assert_ptr_nonnull(slot);
	ring = test_ring_of(&recording, slot);
}

static inline void teardown(void)
{
	sp_absorber_testpoint = NULL;
	sp_absorber_fini(absorber);
	free(absorber);
	sp_recording_detach(&recording);
}

#endif
