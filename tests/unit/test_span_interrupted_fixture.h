/*
 * One span whose changes are interrupted at any instruction (test_steps_fixture.h).
 */
#ifndef TEST_SPAN_INTERRUPTED_FIXTURE_H
#define TEST_SPAN_INTERRUPTED_FIXTURE_H

#include "sp_span_change.h"
#include "span_stack.h"
#include "test_span_capture_fixture.h"
#include "test_steps_fixture.h"

#include <setjmp.h>

static struct sp_slot slot;
static uint64_t span;
static uint32_t callsite;

static inline void setup(void)
{
	begin_plain_spans();
	memset(&slot, 0, sizeof(slot));
	atomic_store(&slot.stack_high, UINT64_MAX);
	steps_begin();
	/* Its thread, its names and some entries are there. */
	for (unsigned int i = 0; i < 3; i++) {
		span = create("span", SP_SPAN_NONE);
		sp_span_enter(span, 0);
		sp_span_exit(span);
		sp_span_close(span);
		drain();
	}
	sp_span_thread_begin(&slot);
	callsite = site("span");
}

/* --- changes, all of one span --- */

#define FRAME UINT64_C(0x1000)

static inline void create_it(void)
{
	span = create("span", SP_SPAN_NONE);
}

static inline void enter_it(void)
{
	sp_span_enter(span, FRAME);
}

static inline void exit_it(void)
{
	sp_span_exit(span);
}

static inline void close_it(void)
{
	sp_span_close(span);
}

/* At once, as a call of a function is one. A change begins in a frame of its own. */
static __attribute__((noinline)) void begin_it(void)
{
	uint64_t before = sp_span_begin_change();

	span = sp_span_begin_within(callsite, FRAME);
	sp_span_end_change(before);
}

static __attribute__((noinline)) void end_it(void)
{
	uint64_t before = sp_span_begin_change();

	sp_span_end_within(span);
	sp_span_end_change(before);
}

static inline uint64_t spans_closed(void)
{
	return sp_atomic_value(&test_path_at(recorded(), 0)->spans);
}

#endif
