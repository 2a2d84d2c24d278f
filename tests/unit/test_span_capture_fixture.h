/*
 * Spans as hooks make them, in a recording of this process: no hook is there, so that
 * tests are the program and its sources of spans at once.
 */
#ifndef TEST_SPAN_CAPTURE_FIXTURE_H
#define TEST_SPAN_CAPTURE_FIXTURE_H

#include "test_span_fixture.h"

#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_span_capture.h"
#include "span_absorb.h"

#include <check.h>

static struct sp_own_process own_process;
static struct sp_absorber *absorber;

static inline struct sp_recording *recorded(void)
{
	return &sp_capture.recording;
}

static inline void drain(void)
{
	if (!sp_absorber_try_lock(absorber, (uint32_t)sp_syscall0(SYS_gettid)))
		return;
	sp_absorber_drain(absorber);
	sp_span_keep_ahead(absorber);
	sp_absorber_unlock(absorber);
}

static inline uint64_t read_ticks(void)
{
	return sp_clock_ticks();
}

static inline void begin_spans(const struct sp_span_settings *settings,
			       uint64_t bytes_max)
{
	sp_clock_init(NULL);
	ck_assert_int_eq(test_recording_make(recorded(), "/proc/nonexistent", bytes_max),
			 0);
	absorber = calloc(1, sizeof(*absorber));
	ck_assert_ptr_nonnull(absorber);
	ck_assert_int_eq(sp_absorber_init(absorber, recorded()), 0);
	absorber->give_span_back = sp_span_give_back;
	absorber->span_pass_ended = sp_span_pass_ended;
	absorber->now_ticks = read_ticks;
	absorber->held_spans_max = 1000;
	atomic_store(&own_process.is_ours, 1);
	sp_capture.own_process = &own_process;
	sp_capture.drain = drain;
	/* As if nothing had been before, where tests share a process. */
	sp_span_capture_forked();
	sp_span_capture_init(settings);
	sp_span_capture_begin(recorded());
	sp_capture_set_state(SP_CAPTURE_RUNNING);
}

/* All of them, by exact clocks. */
static inline void begin_plain_spans(void)
{
	static const struct sp_span_settings settings = {
		.has_exact_cpu = true, .probability_millionths = 1000000, .labels = ""};

	begin_spans(&settings, UINT64_C(64) << 20);
}

static inline void end_spans(void)
{
	sp_capture_set_state(SP_CAPTURE_OFF);
	sp_capture.drain = NULL;
	sp_absorber_fini(absorber);
	free(absorber);
	sp_recording_detach(recorded());
}

static inline uint32_t site(const char *name)
{
	const struct sp_span_site text = {.name = name, .file = "test.c", .line = 1};

	return sp_span_callsite(&text);
}

static inline uint64_t create(const char *name, uint64_t parent)
{
	return sp_span_create(site(name), parent, NULL);
}

static inline struct sp_span *span_of(uint64_t handle)
{
	return test_span_at(recorded(), (uint32_t)handle - 1);
}

/* Of what the thread's next sample would say; NULL: nothing. */
static inline const char *current_name(void)
{
	const struct sp_label_set *set =
		sp_recording_label_set(recorded(), sp_span_mark().label_set);

	return set->path ? sp_recording_span_name(recorded(), set->path) : NULL;
}

static inline uint64_t lost(enum sp_loss loss)
{
	return sp_atomic_value(&recorded()->header->losses[loss]);
}

/* While nobody is in it. */
static inline uint64_t busy_of(uint64_t handle)
{
	return sp_atomic_value(&span_of(handle)->stay_ticks);
}

static inline uint32_t state_of(uint64_t handle)
{
	return atomic_load(&span_of(handle)->state);
}

static inline uint32_t entered_now(uint64_t handle)
{
	return sp_span_entered_now(span_of(handle));
}

static inline void spend_ticks(void)
{
	uint64_t start = sp_clock_ticks();

	while (sp_clock_ticks() - start < 4000)
		;
}

#endif
