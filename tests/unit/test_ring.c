/*
 * Rings and their pool: two producers on one thread, one consumer on another, and
 * threads that take and give back.
 */
#include "test_thread_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

/* The thread sanitizer puts signals off until the next system call. */
#if defined(__SANITIZE_THREAD__)
#define HAS_LATE_SIGNALS true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_LATE_SIGNALS true
#endif
#endif
#ifndef HAS_LATE_SIGNALS
#define HAS_LATE_SIGNALS false
#endif

static void setup_one_thread(void)
{
	begin_one_thread(UINT64_C(8) << 20, 1);
}

static void begin_at(uint64_t position)
{
	atomic_store(&ring->head, position);
	atomic_store(&ring->tail, position);
}

static bool is_all_zero(void)
{
	for (uint32_t i = 0; i < ring->capacity_bytes; i++)
		if (ring->data[i])
			return false;
	return true;
}

static void fill(void *record, uint32_t size_bytes)
{
	memset((unsigned char *)record + 4, 0xaa, size_bytes - 4);
}

START_TEST(drained_ring_is_zero_again)
{
	while (test_produce(ring, 1, 1, TEST_END_OUTERMOST))
		;
	ck_assert(!is_all_zero());
	ck_assert_uint_gt(sp_absorber_drain(absorber), 1000);
	ck_assert(is_all_zero());
	ck_assert_uint_eq(atomic_load(&ring->head), atomic_load(&ring->tail));
}
END_TEST

START_TEST(full_ring_refuses_and_takes_again_when_drained)
{
	uint64_t produced = 0;

	while (test_produce(ring, 1, 1, TEST_END_OUTERMOST))
		produced++;
	ck_assert(!test_produce(ring, 1, 1, TEST_END_OUTERMOST));
	/* What no longer fits whole may still fit small. */
	ck_assert_uint_lt(ring->capacity_bytes -
				  (atomic_load(&ring->head) - atomic_load(&ring->tail)),
			  sizeof(struct sp_cpu_record) + 8 * TEST_FRAMES_MAX * 2);
	ck_assert_uint_eq(sp_absorber_drain(absorber), produced);
	ck_assert(test_produce(ring, 1, 1, TEST_END_OUTERMOST));
}
END_TEST

START_TEST(ring_can_be_filled_to_its_last_byte)
{
	uint32_t capacity = ring->capacity_bytes;
	struct sp_record *record = sp_ring_reserve(ring, capacity);

	ck_assert_ptr_eq(record, ring->data);
	ck_assert_ptr_null(sp_ring_reserve(ring, 8));
	ck_assert_uint_eq(sp_ring_fill(ring), 256);
	ck_assert_uint_eq(sp_ring_shrink(ring, record, capacity, 0), 0);
	ck_assert_uint_eq(sp_ring_fill(ring), 0);
}
END_TEST

START_TEST(record_that_does_not_fit_before_the_end_begins_anew)
{
	struct sp_record *record;

	begin_at(ring->capacity_bytes - 32U);
	record = sp_ring_reserve(ring, 40);
	ck_assert_ptr_eq(record, ring->data);
	ck_assert_uint_eq(
		*(const uint32_t *)(const void *)(ring->data + ring->capacity_bytes - 32),
		32U << 8 | SP_RECORD_PAD);
	fill(record, 40);
	sp_ring_commit(record, 40, SP_RECORD_PAD);
	ck_assert_uint_eq(sp_absorber_drain(absorber), 0);
	ck_assert(is_all_zero());
	ck_assert_uint_eq(atomic_load(&ring->tail), ring->capacity_bytes + 40);
}
END_TEST

START_TEST(record_that_fits_exactly_needs_no_padding)
{
	struct sp_record *record;

	begin_at(ring->capacity_bytes - 32U);
	record = sp_ring_reserve(ring, 32);
	ck_assert_ptr_eq(record, ring->data + ring->capacity_bytes - 32);
	sp_ring_commit(record, 32, SP_RECORD_PAD);
	ck_assert_ptr_eq(sp_ring_reserve(ring, 8), ring->data);
}
END_TEST

START_TEST(padding_counts_as_space)
{
	begin_at(ring->capacity_bytes - 32U);
	ck_assert_ptr_null(sp_ring_reserve(ring, ring->capacity_bytes - 24));
	ck_assert_ptr_nonnull(sp_ring_reserve(ring, ring->capacity_bytes - 32));
}
END_TEST

START_TEST(positions_may_grow_beyond_32_bits)
{
	uint64_t turns = (UINT64_C(5) << 32) / ring->capacity_bytes;

	begin_at(turns * ring->capacity_bytes + ring->capacity_bytes - 40);
	for (uint32_t i = 0; i < 3000; i++) {
		ck_assert(test_produce(ring, i % 32, 1, TEST_END_OUTERMOST));
		if (i % 100 == 99)
			sp_absorber_drain(absorber);
	}
	test_tally_read(&recording, &tally);
	ck_assert_uint_eq(tally.all_samples, 3000);
	ck_assert_uint_eq(tally.malformed, 0);
}
END_TEST

START_TEST(unused_rest_is_given_back)
{
	struct sp_record *record = sp_ring_reserve(ring, 1024);

	ck_assert_uint_eq(sp_ring_shrink(ring, record, 1024, 64), 64);
	ck_assert_uint_eq(atomic_load(&ring->head), 64);
	ck_assert_ptr_eq(sp_ring_reserve(ring, 8), ring->data + 64);
}
END_TEST

START_TEST(rest_stays_when_another_record_follows)
{
	struct sp_record *record = sp_ring_reserve(ring, 1024);
	struct sp_record *inner = sp_ring_reserve(ring, 64);

	ck_assert_uint_eq(sp_ring_shrink(ring, record, 1024, 64), 1024);
	ck_assert_ptr_eq(inner, ring->data + 1024);
	ck_assert_uint_eq(sp_ring_shrink(ring, inner, 64, 32), 32);
	/* Now nothing follows but a record that is shorter: the outer one keeps its size.
	 */
	ck_assert_uint_eq(sp_ring_shrink(ring, record, 1024, 64), 1024);
}
END_TEST

START_TEST(rest_is_given_back_at_the_very_end_too)
{
	struct sp_record *record;

	begin_at(ring->capacity_bytes - 64U);
	record = sp_ring_reserve(ring, 64);
	ck_assert_uint_eq(sp_ring_shrink(ring, record, 64, 32), 32);
	ck_assert_uint_eq(atomic_load(&ring->head), ring->capacity_bytes - 32U);
}
END_TEST

START_TEST(consumer_waits_for_an_outer_record)
{
	struct sp_record *outer = sp_ring_reserve(ring, 64);

	ck_assert(test_produce(ring, 1, 1, TEST_END_OUTERMOST));
	ck_assert_uint_eq(sp_absorber_drain(absorber), 0);
	sp_ring_commit(outer, 64, SP_RECORD_PAD);
	ck_assert_uint_eq(sp_absorber_drain(absorber), 1);
}
END_TEST

/* --- a handler that interrupts the producer, and a consumer beside --- */

#define RACE_NS UINT64_C(400000000)
#define HANDLER_STACKS 16U /* the handler's are the first, the others the thread's */

static struct {
	/* By the thread that owns the ring, its handler included. */
	uint64_t produced[64], refused;
	_Atomic bool is_over;
	uint64_t interrupted; /* reservations that the handler came into */
	volatile sig_atomic_t is_reserving;
} race;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void count(uint32_t stack, bool is_produced)
{
	/* The same thread, yet both sides may be in the middle of it: apart by stack. */
	if (is_produced)
		race.produced[stack]++;
}

static void on_timer(int number)
{
	static uint32_t next;
	uint32_t stack = next++ % HANDLER_STACKS;

	(void)number;
	race.interrupted += race.is_reserving != 0;
	count(stack, test_produce(ring, stack, 1 + stack % 3, TEST_END_OUTERMOST));
}

static timer_t start_timer(long every_ns)
{
	struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
				 .sigev_signo = SIGRTMIN};
	struct itimerspec when = {{0, every_ns}, {0, every_ns}};
	timer_t timer;

	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	ck_assert_int_eq(sigaction(SIGRTMIN, &action, NULL), 0);
	ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	ck_assert_int_eq(timer_settime(timer, 0, &when, NULL), 0);
	return timer;
}

static void *consume(void *unused)
{
	(void)unused;
	while (!atomic_load(&race.is_over))
		sp_absorber_drain(absorber);
	return NULL;
}

START_TEST(records_of_interrupted_and_interrupting_producer_count_once)
{
	uint64_t end_ns = now_ns() + RACE_NS;
	pthread_t consumer;
	sigset_t blocked, before;
	timer_t timer;

	memset(&race, 0, sizeof(race));
	/* Signals are for this thread only. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &blocked, &before);
	ck_assert_int_eq(pthread_create(&consumer, NULL, consume, NULL), 0);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	timer = start_timer(20000);
	for (uint32_t i = 0; i % 1024 || now_ns() < end_ns; i++) {
		uint32_t stack = HANDLER_STACKS + i % (64 - HANDLER_STACKS);
		bool is_produced;

		race.is_reserving = 1;
		is_produced = test_produce(ring, stack, 1, TEST_END_OUTERMOST);
		race.is_reserving = 0;
		count(stack, is_produced);
		race.refused += !is_produced;
	}
	timer_delete(timer);
	atomic_store(&race.is_over, true);
	pthread_join(consumer, NULL);
	sp_absorber_drain(absorber);
	test_tally_read(&recording, &tally);
	ck_assert_uint_eq(tally.malformed, 0);
	ck_assert_uint_eq(tally.losses[SP_LOSS_DAMAGED], 0);
	for (uint32_t stack = 0; stack < 64; stack++) {
		uint64_t weight = stack < HANDLER_STACKS ? 1 + stack % 3 : 1;

		ck_assert(tally.samples[stack] > 0 || HAS_LATE_SIGNALS);
		ck_assert_uint_eq(tally.samples[stack], race.produced[stack]);
		ck_assert_uint_eq(tally.periods[stack], race.produced[stack] * weight);
	}
	/* Else this has shown nothing. */
	ck_assert(race.interrupted > 50 || HAS_LATE_SIGNALS);
	ck_assert(is_all_zero());
}
END_TEST

/* --- the pool --- */

#define POOL_RINGS 12U
#define POOL_THREADS 4
#define POOL_ROUNDS 20000
#define MADE_MAX 4096

static _Atomic uint32_t owners[2][64]; /* by kind and number */
static _Atomic uint32_t makers[2][MADE_MAX];
static _Atomic uint32_t doubly_owned, empty_handed;

static _Atomic uint32_t *owner_of(uint32_t id)
{
	return &owners[(id & SP_RING_IS_SMALL) != 0][(id & ~SP_RING_IS_SMALL) % 64];
}

static void *take_and_give(void *number)
{
	uint32_t self = (uint32_t)(uintptr_t)number;

	for (int round = 0; round < POOL_ROUNDS; round++) {
		uint32_t held[4];
		uint32_t count_held = 0;

		while (count_held < 1 + (uint32_t)round % 4) {
			uint32_t id = sp_ring_pool_take(&recording);

			if (!id)
				break;
			if (atomic_exchange(owner_of(id), self))
				atomic_fetch_add(&doubly_owned, 1);
			held[count_held++] = id;
		}
		if (!count_held)
			atomic_fetch_add(&empty_handed, 1);
		while (count_held) {
			uint32_t id = held[--count_held];

			if (atomic_exchange(owner_of(id), 0) != self)
				atomic_fetch_add(&doubly_owned, 1);
			sp_ring_pool_give(&recording, id);
		}
	}
	return NULL;
}

START_TEST(no_ring_is_ever_taken_twice)
{
	pthread_t threads[POOL_THREADS];
	uint32_t rings = 0;

	sp_ring_pool_grow(&recording, POOL_RINGS);
	ck_assert_uint_eq(atomic_load(&recording.header->free_ring_count), POOL_RINGS);
	for (uintptr_t i = 0; i < POOL_THREADS; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, take_and_give, (void *)(i + 1)),
			0);
	for (int i = 0; i < POOL_THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&doubly_owned), 0);
	ck_assert_uint_eq(atomic_load(&recording.header->free_ring_count), POOL_RINGS);
	while (sp_ring_pool_take(&recording))
		rings++;
	ck_assert_uint_eq(rings, POOL_RINGS);
}
END_TEST

static void *make_all(void *number)
{
	uint32_t self = (uint32_t)(uintptr_t)number;
	uint64_t made = 0;
	uint32_t id;

	while ((id = sp_ring_pool_make(&recording)) != 0) {
		if (atomic_exchange(&makers[(id & SP_RING_IS_SMALL) != 0]
					   [(id & ~SP_RING_IS_SMALL) % MADE_MAX],
				    self))
			atomic_fetch_add(&doubly_owned, 1);
		made++;
	}
	return (void *)(uintptr_t)made;
}

START_TEST(no_ring_is_made_for_two_threads)
{
	pthread_t threads[POOL_THREADS];
	uint64_t made = 1; /* the thread's own */

	for (uintptr_t i = 0; i < POOL_THREADS; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, make_all, (void *)(i + 1)), 0);
	for (int i = 0; i < POOL_THREADS; i++) {
		void *by_thread;

		pthread_join(threads[i], &by_thread);
		made += (uintptr_t)by_thread;
	}
	ck_assert_uint_eq(atomic_load(&doubly_owned), 0);
	ck_assert_uint_eq(sp_recording_used(&recording, SP_SECTION_RINGS_LARGE) +
				  sp_recording_used(&recording, SP_SECTION_RINGS_SMALL),
			  made);
	ck_assert_uint_gt(made, POOL_RINGS);
}
END_TEST

START_TEST(large_rings_come_first_then_small_ones_then_none)
{
	const struct sp_recording_header *header = recording.header;
	uint64_t large = header->sections[SP_SECTION_RINGS_LARGE].capacity_items;
	uint64_t taken = 1; /* the thread's own */
	uint32_t id;

	sp_ring_pool_grow(&recording, UINT64_MAX);
	while ((id = sp_ring_pool_take(&recording)) != 0) {
		ck_assert_int_eq((id & SP_RING_IS_SMALL) == 0, taken < large);
		ck_assert_uint_eq(
			sp_ring_of(&recording, id)->capacity_bytes,
			(taken < large ? SP_RING_LARGE_BYTES : SP_RING_SMALL_BYTES) -
				sizeof(struct sp_ring));
		taken++;
	}
	ck_assert_uint_gt(taken, large);
	ck_assert_uint_le(atomic_load(&header->storage_bytes), header->storage_bytes_max);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ring");
	TCase *tc = tcase_create("ring");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup_one_thread, teardown);
	tcase_add_test(tc, drained_ring_is_zero_again);
	tcase_add_test(tc, full_ring_refuses_and_takes_again_when_drained);
	tcase_add_test(tc, ring_can_be_filled_to_its_last_byte);
	tcase_add_test(tc, record_that_does_not_fit_before_the_end_begins_anew);
	tcase_add_test(tc, record_that_fits_exactly_needs_no_padding);
	tcase_add_test(tc, padding_counts_as_space);
	tcase_add_test(tc, positions_may_grow_beyond_32_bits);
	tcase_add_test(tc, unused_rest_is_given_back);
	tcase_add_test(tc, rest_stays_when_another_record_follows);
	tcase_add_test(tc, rest_is_given_back_at_the_very_end_too);
	tcase_add_test(tc, consumer_waits_for_an_outer_record);
	tcase_add_test(tc, records_of_interrupted_and_interrupting_producer_count_once);
	tcase_add_test(tc, no_ring_is_ever_taken_twice);
	tcase_add_test(tc, no_ring_is_made_for_two_threads);
	tcase_add_test(tc, large_rings_come_first_then_small_ones_then_none);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
