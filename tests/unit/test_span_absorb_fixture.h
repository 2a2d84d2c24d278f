/*
 * A recording with spans of two paths, and what absorbs them into the sums of these.
 */
#ifndef TEST_SPAN_ABSORB_FIXTURE_H
#define TEST_SPAN_ABSORB_FIXTURE_H

#include "span_absorb.h"
#include "test_span_fixture.h"

#include <check.h>

static struct sp_recording recording;
static struct sp_absorber *absorber;
static uint32_t path, other;
static uint64_t now_ticks;

/* --- who is told --- */

#define TOLD_MAX 64U
#define GIVEN_MAX 32768U

static struct {
	const struct sp_span *changed[TOLD_MAX], *ended[TOLD_MAX];
	struct sp_span_delta deltas[TOLD_MAX];
	unsigned int changes, ends;
	uint32_t given[GIVEN_MAX];
	unsigned int given_count;
} told;

static inline void note_changed(void *context, const struct sp_span *span,
				const struct sp_span_delta *delta)
{
	ck_assert_ptr_eq(context, &told);
	ck_assert_uint_lt(told.changes, TOLD_MAX);
	told.changed[told.changes] = span;
	told.deltas[told.changes++] = *delta;
}

static inline void note_ended(void *context, const struct sp_span *span)
{
	ck_assert_ptr_eq(context, &told);
	/* It is still itself. */
	ck_assert_uint_ne(atomic_load(&span->state), SP_SPAN_FREE);
	ck_assert_uint_lt(told.ends, TOLD_MAX);
	told.ended[told.ends++] = span;
}

static inline void note_given(uint32_t index)
{
	ck_assert_uint_eq(atomic_load(&test_span_at(&recording, index)->state),
			  SP_SPAN_FREE);
	ck_assert_uint_lt(told.given_count, GIVEN_MAX);
	told.given[told.given_count++] = index;
}

static inline uint64_t read_now(void)
{
	return now_ticks;
}

static inline void setup(void)
{
	ck_assert_int_eq(test_recording_make(&recording, "/proc/nonexistent",
					     SP_RECORDING_BYTES_MIN * 32),
			 0);
	test_spans_begin(&recording);
	absorber = calloc(1, sizeof(*absorber));
	ck_assert_ptr_nonnull(absorber);
	ck_assert_int_eq(sp_absorber_init(absorber, &recording), 0);
	absorber->give_span_back = note_given;
	absorber->now_ticks = read_now;
	absorber->held_spans_max = 1000;
	absorber->context = &told;
	memset(&told, 0, sizeof(told));
	now_ticks = 0;
	path = test_named_path(&recording, "path", 0);
	other = test_named_path(&recording, "other", 0);
}

static inline void teardown(void)
{
	sp_absorber_fini(absorber);
	free(absorber);
	sp_recording_detach(&recording);
}

static inline struct sp_span *make_span(uint32_t of_path, uint64_t created_ticks)
{
	return test_span_at(&recording, test_span(&recording, of_path, created_ticks));
}

static inline void do_something(struct sp_span *span, uint64_t times)
{
	test_span_stay(span, 100 * times);
	atomic_fetch_add(&span->cpu_ns, 10 * times);
	atomic_fetch_add(&span->allocations, times);
	atomic_fetch_add(&span->alloc_bytes, 64 * times);
	atomic_fetch_add(&span->entered, times);
}

static inline void check_path(uint32_t index, uint64_t times, uint64_t idle_ticks,
			      uint64_t spans)
{
	const struct sp_span_path *sums = test_path_at(&recording, index);

	ck_assert_uint_eq(sp_atomic_value(&sums->busy_ticks), 100 * times);
	ck_assert_uint_eq(sp_atomic_value(&sums->cpu_ns), 10 * times);
	ck_assert_uint_eq(sp_atomic_value(&sums->allocations), times);
	ck_assert_uint_eq(sp_atomic_value(&sums->alloc_bytes), 64 * times);
	ck_assert_uint_eq(sp_atomic_value(&sums->entered), times);
	ck_assert_uint_eq(sp_atomic_value(&sums->idle_ticks), idle_ticks);
	ck_assert_uint_eq(sp_atomic_value(&sums->spans), spans);
}

static inline uint64_t busy_ticks_of(uint32_t index)
{
	return sp_atomic_value(&test_path_at(&recording, index)->busy_ticks);
}

static inline uint64_t idle_ticks_of(uint32_t index)
{
	return sp_atomic_value(&test_path_at(&recording, index)->idle_ticks);
}

static inline uint32_t state_of(const struct sp_span *span)
{
	return atomic_load(&span->state);
}

#endif
