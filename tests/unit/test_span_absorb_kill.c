/*
 * A process that is killed while it moves spans from their table to the sums of their
 * paths: at every step of every change in turn, and at random moments, while other
 * threads create and close spans. Whoever opens its recording finds each span, and each
 * thing that it did, once.
 */
#include "test_kill_fixture.h"
#include "test_span_fixture.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

static void make_recording(struct sp_recording *recording)
{
	test_kill_make_recording(recording, SP_RECORDING_BYTES_MIN);
	test_spans_begin(recording);
}

/* Later than anything that is a sign of life: open spans of then have not idled. */
#define NO_SIGN_TICKS (UINT64_C(1) << 60)

/* What a span does, once; its time is all busy, or half of it. */
static void do_something(struct sp_span *span)
{
	test_span_stay(span, 1000);
	atomic_fetch_add(&span->cpu_ns, 100);
	atomic_fetch_add(&span->allocations, 3);
	atomic_fetch_add(&span->alloc_bytes, 192);
	atomic_fetch_add(&span->entered, 1);
}

static void check_sums(const struct sp_span_path *path, uint64_t times,
		       uint64_t idle_ticks, uint64_t spans)
{
	ck_assert_uint_eq(sp_atomic_value(&path->busy_ticks), 1000 * times);
	ck_assert_uint_eq(sp_atomic_value(&path->cpu_ns), 100 * times);
	ck_assert_uint_eq(sp_atomic_value(&path->allocations), 3 * times);
	ck_assert_uint_eq(sp_atomic_value(&path->alloc_bytes), 192 * times);
	ck_assert_uint_eq(sp_atomic_value(&path->entered), times);
	ck_assert_uint_eq(sp_atomic_value(&path->idle_ticks), idle_ticks);
	ck_assert_uint_eq(sp_atomic_value(&path->spans), spans);
}

/* --- at every step --- */

enum scenario_path { FIRST, SECOND, REBORN, PATHS };

#define OPEN_SPANS 2U /* of FIRST: one did something, one did not */
#define CLOSED_SPANS 3U
#define HELD_SPANS 2U
#define ENTRIES (OPEN_SPANS + CLOSED_SPANS + HELD_SPANS + 1)
/* Idle time of what is closed. */
#define IDLE_TICKS 500U

/* What the child has done, for the parent to hold against what it finds. */
static _Atomic uint64_t *reborn;
static struct sp_recording *victim;
static unsigned int steps_left;

static void do_all(void)
{
	for (uint64_t i = 0; i < ENTRIES - 1; i++)
		if (i != 0 &&
		    atomic_load(&test_span_at(victim, i)->state) == SP_SPAN_OPEN)
			do_something(test_span_at(victim, i));
}

static void produce_scenario(struct sp_recording *recording)
{
	victim = recording;
	for (uint32_t i = 0; i < PATHS; i++)
		if (test_named_path(recording, "path", i) != i)
			_exit(3);
	for (uint32_t i = 0; i < ENTRIES; i++)
		if (test_span(recording, i < OPEN_SPANS + 1 ? FIRST : SECOND, 1000) != i)
			_exit(3);
	atomic_store(&test_span_at(recording, ENTRIES - 1)->state, SP_SPAN_CLAIMED);
	do_all();
}

static void close_some(void)
{
	for (uint64_t i = OPEN_SPANS; i < ENTRIES - 1; i++) {
		struct sp_span *span = test_span_at(victim, i);

		if (i >= OPEN_SPANS + CLOSED_SPANS)
			atomic_store(&span->live_blocks, 1);
		test_span_close(span,
				1000 + sp_atomic_value(&span->stay_ticks) + IDLE_TICKS);
	}
}

/* A hook is always at hand to take an entry that is free: what is written to it later
 * in the name of its last span would be seen. */
static void reuse_entries(void)
{
	for (uint64_t i = 0; i < ENTRIES; i++) {
		struct sp_span *span = test_span_at(victim, i);
		uint32_t state = SP_SPAN_FREE;

		if (!atomic_compare_exchange_strong(&span->state, &state,
						    SP_SPAN_CLAIMED))
			continue;
		memset((char *)span + offsetof(struct sp_span, path), 0,
		       sizeof(*span) - offsetof(struct sp_span, path));
		span->path = REBORN;
		span->created_ticks = NO_SIGN_TICKS;
		atomic_store(&span->idle_ticks, -NO_SIGN_TICKS);
		do_something(span);
		atomic_fetch_add(&span->generation, 1);
		atomic_store(&span->state, SP_SPAN_OPEN);
		atomic_fetch_add(reborn, 1);
	}
}

static void kill_at_step(const char *step)
{
	(void)step;
	reuse_entries();
	if (--steps_left == 0)
		raise(SIGKILL);
}

static void run_victim(unsigned int kill_step)
{
	struct sp_absorber *absorber = calloc(1, sizeof(*absorber));
	struct sp_recording recording;

	make_recording(&recording);
	if (!absorber || sp_absorber_init(absorber, &recording) != 0)
		_exit(2);
	produce_scenario(&recording);
	steps_left = kill_step;
	sp_absorber_testpoint = kill_at_step;
	/* Open ones first, then what came since, and the end of most. */
	sp_absorber_drain(absorber);
	do_all();
	close_some();
	sp_absorber_drain(absorber);
	/* The memory of those that are held goes. */
	for (uint64_t i = 0; i < ENTRIES; i++)
		atomic_store(&test_span_at(&recording, i)->live_blocks, 0);
	sp_absorber_drain(absorber);
	_exit(0);
}

/* Killed in the first pass, most of it has not happened. */
static void check_scenario(const struct sp_recording *recording)
{
	const struct sp_span_path *first = test_path_at(recording, FIRST);
	const struct sp_span_path *second = test_path_at(recording, SECOND);
	bool is_later = sp_atomic_value(&second->spans) != 0;
	uint64_t times = is_later ? 2 : 1;
	uint64_t of_second = CLOSED_SPANS + HELD_SPANS - 1;

	/* The last sign of life is the end of those that are closed: until then of two
	 * open ones one has idled as long as these, and one all the time. */
	check_sums(first, OPEN_SPANS * times,
		   is_later ? IDLE_TICKS + IDLE_TICKS + 2 * 1000 + IDLE_TICKS : 0,
		   is_later);
	check_sums(second, of_second * times, is_later ? of_second * IDLE_TICKS : 0,
		   is_later ? of_second : 0);
	check_sums(test_path_at(recording, REBORN), atomic_load(reborn), 0, 0);
	ck_assert_uint_eq(sp_atomic_value(&recording->header->losses[SP_LOSS_DAMAGED]),
			  0);
}

START_TEST(kill_at_any_step_neither_loses_nor_doubles)
{
	unsigned int step = 0;
	bool is_done;

	reborn = test_kill_share(sizeof(*reborn));
	do {
		struct sp_recording recording;
		pid_t pid;

		step++;
		atomic_store(reborn, 0);
		pid = fork();
		if (pid == 0)
			run_victim(step);
		is_done = test_kill_wait(pid);
		test_kill_recover(&recording);
		check_scenario(&recording);
		sp_recording_close(&recording);
	} while (!is_done);
	/* All that were closed were given back and taken again by then. */
	ck_assert_uint_eq(atomic_load(reborn), CLOSED_SPANS + HELD_SPANS);
	/* Few steps would mean that nobody calls the test points any more. */
	ck_assert_uint_gt(step, 150);
	munmap(reborn, sizeof(*reborn));
}
END_TEST

/* --- at random moments --- */

#define THREADS 2U
#define RANDOM_KILLS 30U
#define BUSY_ENTRIES 48U

/* Shared with the parent: begun before, done after, so the truth lies between. */
struct victim_log {
	struct {
		_Atomic uint64_t work_begun, work_done;
		_Atomic uint64_t closes_begun, closes_done;
	} threads[THREADS];
};

struct hook_thread {
	struct sp_recording *recording;
	struct victim_log *log;
	uint32_t index, seed;
};

static uint32_t next_random(struct hook_thread *self)
{
	self->seed = self->seed * 1664525 + 1013904223;
	return self->seed >> 8;
}

static struct sp_span *claim_entry(struct hook_thread *self)
{
	for (;;) {
		struct sp_span *span =
			test_span_at(self->recording, next_random(self) % BUSY_ENTRIES);
		uint32_t state = SP_SPAN_FREE;

		if (atomic_compare_exchange_strong(&span->state, &state, SP_SPAN_CLAIMED))
			return span;
	}
}

static void live_one_span(struct hook_thread *self)
{
	struct sp_span *span = claim_entry(self);

	memset((char *)span + offsetof(struct sp_span, path), 0,
	       sizeof(*span) - offsetof(struct sp_span, path));
	span->path = self->index;
	span->created_ticks = NO_SIGN_TICKS;
	atomic_store(&span->idle_ticks, -span->created_ticks);
	atomic_store_explicit(&span->state, SP_SPAN_OPEN, memory_order_release);
	for (uint32_t i = next_random(self) % 5; i > 0; i--) {
		atomic_fetch_add(&self->log->threads[self->index].work_begun, 1);
		do_something(span);
		atomic_fetch_add(&self->log->threads[self->index].work_done, 1);
	}
	atomic_store(&span->closed_ticks,
		     span->created_ticks + sp_atomic_value(&span->stay_ticks));
	atomic_fetch_add(&self->log->threads[self->index].closes_begun, 1);
	atomic_store_explicit(&span->state, SP_SPAN_CLOSED, memory_order_release);
	atomic_fetch_add(&self->log->threads[self->index].closes_done, 1);
}

static void *live_for_ever(void *argument)
{
	for (;;)
		live_one_span(argument);
	return NULL;
}

static void run_busy_victim(struct victim_log *log)
{
	static struct sp_recording recording;
	static struct hook_thread threads[THREADS];
	struct sp_absorber *absorber = calloc(1, sizeof(*absorber));
	pthread_t thread;
	uint32_t index;

	make_recording(&recording);
	if (!absorber || sp_absorber_init(absorber, &recording) != 0 ||
	    !test_append(&recording, SP_SECTION_SPANS, BUSY_ENTRIES, &index))
		_exit(2);
	for (uint32_t i = 0; i < THREADS; i++)
		if (test_named_path(&recording, "path", 0) != i)
			_exit(3);
	for (uint32_t i = 0; i < THREADS; i++) {
		threads[i] = (struct hook_thread){&recording, log, i, i * 7919 + 1};
		if (pthread_create(&thread, NULL, live_for_ever, &threads[i]) != 0)
			_exit(4);
	}
	for (;;)
		sp_absorber_drain(absorber);
}

/* What a span does is several sums: a kill may come in between. */
static uint64_t check_between(uint64_t sum, uint64_t begun, uint64_t done, uint64_t each)
{
	ck_assert_uint_ge(sum, done * each);
	ck_assert_uint_le(sum, begun * each);
	ck_assert_uint_eq(sum % each, 0);
	return sum / each;
}

static uint64_t check_against_log(const struct sp_recording *recording,
				  const struct victim_log *log)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < THREADS; i++) {
		const struct sp_span_path *path = test_path_at(recording, i);
		uint64_t begun = log->threads[i].work_begun;
		uint64_t done = log->threads[i].work_done;

		ck_assert_uint_le(begun, done + 1);
		all += check_between(sp_atomic_value(&path->busy_ticks), begun, done,
				     1000);
		check_between(sp_atomic_value(&path->cpu_ns), begun, done, 100);
		check_between(sp_atomic_value(&path->allocations), begun, done, 3);
		check_between(sp_atomic_value(&path->alloc_bytes), begun, done, 192);
		check_between(sp_atomic_value(&path->entered), begun, done, 1);
		check_between(sp_atomic_value(&path->spans), log->threads[i].closes_begun,
			      log->threads[i].closes_done, 1);
		ck_assert_uint_eq(sp_atomic_value(&path->idle_ticks), 0);
	}
	return all;
}

static void sleep_us(unsigned int us)
{
	struct timespec pause = {0, (long)us * 1000};

	nanosleep(&pause, NULL);
}

START_TEST(kill_at_random_moments_neither_loses_nor_doubles)
{
	struct victim_log *log = test_kill_share(sizeof(*log));
	uint64_t all = 0;

	for (unsigned int i = 0; i < RANDOM_KILLS; i++) {
		struct sp_recording recording;
		pid_t pid;

		memset(log, 0, sizeof(*log));
		pid = fork();
		if (pid == 0)
			run_busy_victim(log);
		while (!atomic_load(&log->threads[THREADS - 1].closes_done) &&
		       test_kill_is_running(pid))
			sleep_us(100);
		sleep_us(500 + i * 997 % 20000);
		kill(pid, SIGKILL);
		ck_assert(!test_kill_wait(pid));
		test_kill_recover(&recording);
		all += check_against_log(&recording, log);
		sp_recording_close(&recording);
	}
	ck_assert_uint_gt(all, RANDOM_KILLS * 100);
	munmap(log, sizeof(*log));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_absorb_kill");
	TCase *tc = tcase_create("span_absorb_kill");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, test_kill_setup, test_kill_teardown);
	tcase_add_test(tc, kill_at_any_step_neither_loses_nor_doubles);
	tcase_add_test(tc, kill_at_random_moments_neither_loses_nor_doubles);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
