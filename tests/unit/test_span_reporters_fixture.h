/*
 * Reporters of events over real spans: a recorder (event_recorder.h) in the consumer's
 * place of the reporter thread, which tests move on round by round.
 */
#ifndef TEST_SPAN_REPORTERS_FIXTURE_H
#define TEST_SPAN_REPORTERS_FIXTURE_H

#include "event_recorder.h"
#include "span_reporters.h"
#include "test_heap_fixture.h"
#include "test_span_capture_fixture.h"

#include "sp_heap_capture.h"

#define RECORDING_BYTES (UINT64_C(64) << 20)
#define INTERVAL_NS UINT64_C(1000)
#define SAMPLES_MAX 50U

static struct event_recorder *recorder;
static struct sp_span_reporters *reporters;
static uint64_t now_ns;

static const struct sp_span_settings plain = {
	.has_exact_cpu = true, .probability_millionths = 1000000, .labels = "user"};

static inline struct sp_reporter_config config_of(uint64_t interval_ns)
{
	return (struct sp_reporter_config){
		.program = "tested",
		.dir_fd = -1,
		.heap_interval_ns = interval_ns,
		.samples_max = SAMPLES_MAX,
		.period_ns = (int64_t)TEST_PERIOD_NS,
		.has_exact_cpu = true,
		.probability = 1,
	};
}

static inline void begin(uint64_t interval_ns)
{
	const struct sp_reporter_ops *list[] = {&recorder->ops};
	const struct sp_reporter_config config = config_of(interval_ns);

	reporters = sp_span_reporters_create(absorber, list, 1, &config, now_ns);
	ck_assert_ptr_nonnull(reporters);
}

static inline void setup_without_reporters(void)
{
	begin_spans(&plain, RECORDING_BYTES);
	test_heap_begin(recorded());
	recorded()->header->heap_rate_bytes = 1;
	atomic_store(&recorded()->header->span_ticks_per_second, TEST_TICKS_PER_SECOND);
	recorder = event_recorder_create(0);
	reporters = NULL;
	now_ns = 1000000;
}

static inline void setup(void)
{
	setup_without_reporters();
	begin(INTERVAL_NS);
	now_ns += INTERVAL_NS;
}

static inline void teardown(void)
{
	sp_heap_self = NULL;
	if (reporters)
		sp_span_reporters_destroy(reporters);
	ck_assert_uint_eq(recorder->inits, recorder->finis);
	ck_assert_uint_eq(recorder->unflushed_calls, 0);
	event_recorder_destroy(recorder);
	end_spans();
}

static inline uint64_t read_no_ticks(void)
{
	return 1;
}

/* A span that is open has something to tell as long as time goes on. */
static inline uint64_t open_with_nothing_to_tell(void)
{
	uint64_t id = create("span", SP_SPAN_NONE);

	absorber->now_ticks = read_no_ticks;
	sp_span_enter(id, 0);
	return id;
}

/* As the collector does it. */
static inline bool try_round_of(bool is_final)
{
	if (!sp_absorber_try_lock(absorber, (uint32_t)sp_syscall0(SYS_gettid)))
		return false;
	sp_absorber_drain(absorber);
	sp_span_keep_ahead(absorber);
	sp_span_reporters_look(reporters);
	sp_absorber_unlock(absorber);
	sp_span_reporters_tell(reporters, now_ns, is_final);
	now_ns += INTERVAL_NS;
	return true;
}

static inline void go_round(void)
{
	ck_assert(try_round_of(false));
}

static inline void go_last_round(void)
{
	ck_assert(try_round_of(true));
}

/* As a handler does it on some other thread. */
static inline void drain_elsewhere(void)
{
	ck_assert(sp_absorber_try_lock(absorber, 1));
	sp_absorber_drain(absorber);
	sp_absorber_unlock(absorber);
}

static inline uint64_t ns_of(uint64_t ticks)
{
	return (uint64_t)((double)ticks * 1e9 / (double)TEST_TICKS_PER_SECOND);
}

static inline TCase *make_case(const char *name, void (*setup_case)(void))
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup_case, teardown);
	return tc;
}

static inline int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
