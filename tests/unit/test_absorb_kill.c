/*
 * A process that is killed while it moves samples from its rings to its sums: at
 * every step of every change in turn, and at random moments. Whoever opens its
 * recording finds each sample once.
 */
#include "test_kill_fixture.h"
#include "test_recording_fixture.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

/* --- at every step --- */

static unsigned int steps_left;

static void kill_at_step(const char *step)
{
	(void)step;
	if (--steps_left == 0)
		raise(SIGKILL);
}

static void begin_at(struct sp_ring *ring, uint64_t position)
{
	atomic_store(&ring->head, position);
	atomic_store(&ring->tail, position);
}

/* Every kind of record, near the end of the ring, so that padding is among them. */
static void produce_all_kinds(struct sp_ring *ring)
{
	struct sp_record *small;

	begin_at(ring, ring->capacity_bytes - 208U);
	test_produce(ring, 0, 1, TEST_END_OUTERMOST);
	test_produce(ring, 1, 1, TEST_END_FULL);
	test_produce(ring, 2, 3, TEST_END_SHORT);
	small = sp_ring_reserve(ring, 8);
	sp_ring_commit(small, 8, SP_RECORD_CPU);
	test_produce(ring, 3, 1, TEST_END_OUTERMOST);
	test_produce(ring, 0, 1, TEST_END_OUTERMOST);
}

static void lose(struct sp_slot *slot, uint64_t samples, uint64_t periods)
{
	atomic_fetch_add(&slot->lost_samples, samples);
	atomic_fetch_add(&slot->lost_periods, periods);
}

/* A record of a size that cannot be, as a wild write of the program leaves it. */
static void spoil(struct sp_ring *ring)
{
	struct sp_record *record = sp_ring_reserve(ring, 32);

	sp_ring_commit(record, 4, SP_RECORD_CPU);
	test_produce(ring, 9, 1, TEST_END_OUTERMOST);
}

#define ENDED_CPU_NS UINT64_C(123456789)

static void produce_scenario(struct sp_recording *recording)
{
	struct sp_slot *live = test_thread(recording, 1, true);
	struct sp_slot *ended = test_thread(recording, 2, true);
	struct sp_slot *spoilt = test_thread(recording, 3, true);
	struct sp_slot *without_ring = test_thread(recording, 1, false);

	produce_all_kinds(test_ring_of(recording, live));
	lose(live, 2, 5);
	produce_all_kinds(test_ring_of(recording, ended));
	lose(ended, 1, 1);
	atomic_store(&ended->samples, 5);
	atomic_store(&ended->handler_cycles, 777);
	test_thread_end(ended, ENDED_CPU_NS);
	test_produce(test_ring_of(recording, spoilt), 4, 2, TEST_END_OUTERMOST);
	spoil(test_ring_of(recording, spoilt));
	test_thread_end(spoilt, 1);
	lose(without_ring, 1, 7);
}

static const struct {
	uint32_t stack;
	uint64_t samples, periods;
} expected[] = {{0, 4, 4}, {1, 2, 2}, {2, 2, 6}, {3, 2, 2}, {4, 1, 2}};

/* The same whether the tables were full or not: then all are in [dropped]. */
static void check_scenario(const struct test_tally *tally, bool is_full,
			   uint64_t samples_before, uint64_t periods_before)
{
	ck_assert_uint_eq(tally->malformed, 0);
	ck_assert_uint_eq(tally->all_samples, samples_before + 11 + 4);
	ck_assert_uint_eq(tally->all_periods, periods_before + 16 + 13);
	ck_assert_uint_eq(tally->dropped_samples, is_full ? 15 : 4);
	ck_assert_uint_eq(tally->dropped_periods, is_full ? 29 : 13);
	for (unsigned int i = 0; i < SP_ARRAY_COUNT(expected) && !is_full; i++) {
		ck_assert_uint_eq(tally->samples[expected[i].stack], expected[i].samples);
		ck_assert_uint_eq(tally->periods[expected[i].stack], expected[i].periods);
	}
	ck_assert_uint_eq(tally->ended_cpu_ns, ENDED_CPU_NS + 1);
	ck_assert_uint_eq(tally->ended_threads, 2);
	ck_assert_uint_eq(tally->ended_samples, 5);
	ck_assert_uint_eq(tally->ended_handler_cycles, 777);
	ck_assert_uint_eq(tally->losses[SP_LOSS_TABLE_FULL], is_full ? 11 : 0);
	ck_assert_uint_eq(tally->losses[SP_LOSS_STACK_CUT], is_full ? 0 : 2);
	ck_assert_uint_eq(tally->losses[SP_LOSS_STACK_SHORT], is_full ? 0 : 2);
	/* Two that are too small, one that cannot be. */
	ck_assert_uint_eq(tally->losses[SP_LOSS_DAMAGED], 3);
}

#define FULL_FIRST_STACK 100U

enum full { NOTHING_FULL, CELLS_FULL, NODES_FULL, FULL_COUNT };

/* Until no more stack fits; stacks that the scenario needs are not among them. */
static void fill_tables(struct sp_recording *recording, struct sp_absorber *absorber,
			enum full full)
{
	struct sp_slot *slot = test_thread(recording, 5, true);
	struct sp_ring *ring = test_ring_of(recording, slot);
	enum sp_section_kind kind =
		full == CELLS_FULL ? SP_SECTION_CELLS : SP_SECTION_NODES;

	sp_recording_reserve(recording, SP_SECTION_NODES, 2048);
	sp_recording_reserve(recording, SP_SECTION_CELLS,
			     full == NODES_FULL ? 3000 : 680);
	sp_ring_pool_grow(recording, 4); /* the scenario's threads want one each */
	/* What there is must do. */
	atomic_store(&recording->header->storage_bytes,
		     recording->header->storage_bytes_max);
	for (uint32_t stack = FULL_FIRST_STACK;
	     stack < TEST_STACKS_MAX &&
	     sp_recording_used(recording, kind) < sp_recording_reserved(recording, kind);
	     stack++) {
		test_produce(ring, stack, 1, TEST_END_OUTERMOST);
		sp_absorber_drain(absorber);
	}
}

/* Context of the child: makes the scenario, is killed at a step of its drain. */
static void run_victim(unsigned int kill_step, enum full full)
{
	struct sp_absorber *absorber = calloc(1, sizeof(*absorber));
	struct sp_recording recording;

	test_kill_make_recording(&recording, SP_RECORDING_BYTES_MIN);
	if (!absorber || sp_absorber_init(absorber, &recording) != 0)
		_exit(2);
	if (full != NOTHING_FULL)
		fill_tables(&recording, absorber, full);
	produce_scenario(&recording);
	steps_left = kill_step;
	sp_absorber_testpoint = kill_at_step;
	sp_absorber_drain(absorber);
	_exit(0);
}

static struct test_tally tally;

/* What is found in what the victim left. */
static void recover_tally(void)
{
	struct sp_recording recording;

	test_kill_recover(&recording);
	test_tally_read(&recording, &tally);
	sp_recording_close(&recording);
}

static void count_before(uint64_t *samples)
{
	*samples = 0;
	for (uint32_t i = FULL_FIRST_STACK; i < TEST_STACKS_MAX; i++)
		*samples += tally.samples[i];
}

START_TEST(kill_at_any_step_neither_loses_nor_doubles)
{
	enum full full = (enum full)_i;
	bool is_full = full != NOTHING_FULL;
	unsigned int step = 0;
	bool is_done;

	do {
		uint64_t before;
		pid_t pid;

		step++;
		pid = fork();
		if (pid == 0)
			run_victim(step, full);
		is_done = test_kill_wait(pid);
		recover_tally();
		count_before(&before);
		ck_assert(is_full ? before > 600 : before == 0);
		check_scenario(&tally, is_full, before, before);
	} while (!is_done);
	/* Few steps would mean that nobody calls the test points any more. */
	ck_assert_uint_gt(step, 100);
}
END_TEST

/* --- at random moments --- */

#define PRODUCERS 2
#define LOG_STACKS 32U
#define RANDOM_KILLS 40

/* Shared with the parent: begun before, done after, so the truth lies between. */
struct victim_log {
	struct {
		_Atomic uint64_t begun[LOG_STACKS], done[LOG_STACKS];
		_Atomic uint64_t lost_begun, lost_done;
		_Atomic uint64_t ended_begun, ended_done;
	} producers[PRODUCERS];
};

struct producer {
	struct sp_recording *recording;
	struct victim_log *log;
	int index;
};

static pthread_mutex_t births = PTHREAD_MUTEX_INITIALIZER;

static struct sp_slot *begin_thread(struct sp_recording *recording, int index)
{
	struct sp_slot *slot;

	/* The fixture looks for a free slot without a claim. */
	pthread_mutex_lock(&births);
	slot = test_thread(recording, (uint32_t)index + 1, true);
	pthread_mutex_unlock(&births);
	return slot && atomic_load(&slot->ring) ? slot : NULL;
}

/* Short lives: samples, then the end, then another thread in a slot of its own. */
static void *produce_for_ever(void *argument)
{
	struct producer *self = argument;
	uint32_t seed = (uint32_t)self->index * 7919 + 1;

	for (;;) {
		struct sp_slot *slot = begin_thread(self->recording, self->index);
		struct sp_ring *ring;
		uint32_t samples;

		if (!slot)
			continue;
		ring = test_ring_of(self->recording, slot);
		seed = seed * 1664525 + 1013904223;
		samples = seed >> 20;
		for (uint32_t i = 0; i < samples; i++) {
			uint32_t stack = (seed = seed * 1664525 + 1013904223) >> 27;

			if (sp_ring_fill(ring) > 250) {
				atomic_fetch_add(
					&self->log->producers[self->index].lost_begun, 1);
				lose(slot, 1, 1);
				atomic_fetch_add(
					&self->log->producers[self->index].lost_done, 1);
				continue;
			}
			atomic_fetch_add(&self->log->producers[self->index].begun[stack],
					 1);
			test_produce(ring, stack, 1, TEST_END_OUTERMOST);
			atomic_fetch_add(&self->log->producers[self->index].done[stack],
					 1);
		}
		atomic_fetch_add(&self->log->producers[self->index].ended_begun, 1);
		test_thread_end(slot, 1000);
		atomic_fetch_add(&self->log->producers[self->index].ended_done, 1);
	}
	return NULL;
}

static void run_busy_victim(struct victim_log *log)
{
	static struct sp_recording recording;
	static struct producer producers[PRODUCERS];
	struct sp_absorber *absorber = calloc(1, sizeof(*absorber));
	pthread_t thread;

	test_kill_make_recording(&recording, UINT64_C(4) << 20);
	if (!absorber || sp_absorber_init(absorber, &recording) != 0)
		_exit(2);
	sp_ring_pool_grow(&recording, PRODUCERS * 2);
	for (int i = 0; i < PRODUCERS; i++) {
		producers[i] = (struct producer){&recording, log, i};
		if (pthread_create(&thread, NULL, produce_for_ever, &producers[i]) != 0)
			_exit(3);
	}
	for (;;)
		sp_absorber_drain(absorber);
}

static void sleep_us(unsigned int us)
{
	struct timespec pause = {0, (long)us * 1000};

	nanosleep(&pause, NULL);
}

static uint64_t check_against_log(struct victim_log *log)
{
	uint64_t lost_begun = 0, lost_done = 0, ended_begun = 0, ended_done = 0, all = 0;

	ck_assert_uint_eq(tally.malformed, 0);
	for (uint32_t stack = 0; stack < LOG_STACKS; stack++) {
		uint64_t begun = 0, done = 0;

		for (int i = 0; i < PRODUCERS; i++) {
			begun += atomic_load(&log->producers[i].begun[stack]);
			done += atomic_load(&log->producers[i].done[stack]);
		}
		ck_assert_uint_ge(tally.samples[stack], done);
		ck_assert_uint_le(tally.samples[stack], begun);
		ck_assert_uint_eq(tally.samples[stack], tally.periods[stack]);
		all += done;
	}
	for (int i = 0; i < PRODUCERS; i++) {
		lost_begun += atomic_load(&log->producers[i].lost_begun);
		lost_done += atomic_load(&log->producers[i].lost_done);
		ended_begun += atomic_load(&log->producers[i].ended_begun);
		ended_done += atomic_load(&log->producers[i].ended_done);
	}
	ck_assert_uint_ge(tally.dropped_periods, lost_done);
	ck_assert_uint_le(tally.dropped_periods, lost_begun);
	ck_assert_uint_ge(tally.ended_threads, ended_done);
	ck_assert_uint_le(tally.ended_threads, ended_begun);
	ck_assert_uint_eq(tally.ended_cpu_ns, tally.ended_threads * 1000);
	ck_assert_uint_eq(tally.losses[SP_LOSS_DAMAGED], 0);
	return all;
}

START_TEST(kill_at_random_moments_neither_loses_nor_doubles)
{
	struct victim_log *log = test_kill_share(sizeof(*log));
	uint64_t all = 0;

	for (unsigned int i = 0; i < RANDOM_KILLS; i++) {
		uint64_t begun = 0;
		pid_t pid;

		memset(log, 0, sizeof(*log));
		pid = fork();
		if (pid == 0)
			run_busy_victim(log);
		while (!begun && test_kill_is_running(pid)) {
			sleep_us(100);
			for (uint32_t stack = 0; stack < LOG_STACKS; stack++)
				begun += atomic_load(&log->producers[0].begun[stack]);
		}
		sleep_us(500 + i * 997 % 20000);
		kill(pid, SIGKILL);
		ck_assert(!test_kill_wait(pid));
		recover_tally();
		all += check_against_log(log);
	}
	ck_assert_uint_gt(all, RANDOM_KILLS * 100);
	munmap(log, sizeof(*log));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("absorb_kill");
	TCase *tc = tcase_create("absorb_kill");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, test_kill_setup, test_kill_teardown);
	tcase_add_loop_test(tc, kill_at_any_step_neither_loses_nor_doubles, 0,
			    FULL_COUNT);
	tcase_add_test(tc, kill_at_random_moments_neither_loses_nor_doubles);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
