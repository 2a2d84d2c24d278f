/*
 * Threads that nobody told of, found by listing the task directory: here, all.
 */
#include "test_span_capture_fixture.h"

#include "run_suite.h"
#include "sp_collector.h"
#include "sp_thread.h"

#include <pthread.h>

#define THREADS 600
#define STACK_BYTES ((size_t)64 << 10)

static pthread_barrier_t all_there, all_may_end;
static pthread_t threads[THREADS];
static struct sp_collector collector;
static int asked;
static bool is_adopted;

static bool adopt(int tid, bool is_main)
{
	(void)is_main;
	asked++;
	return is_adopted && sp_thread_adopt(tid, 0);
}

static void do_nothing(void)
{
}

static const struct sp_collector_calls calls = {
	.adopt_thread = adopt,
	.threads_listed = do_nothing,
};

static void *be_there(void *unused)
{
	pthread_barrier_wait(&all_there);
	pthread_barrier_wait(&all_may_end);
	return unused;
}

static void begin_threads(void)
{
	pthread_attr_t attributes;

	ck_assert_int_eq(pthread_barrier_init(&all_there, NULL, THREADS + 1), 0);
	ck_assert_int_eq(pthread_barrier_init(&all_may_end, NULL, THREADS + 1), 0);
	ck_assert_int_eq(pthread_attr_init(&attributes), 0);
	ck_assert_int_eq(pthread_attr_setstacksize(&attributes, STACK_BYTES), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], &attributes, be_there, NULL),
				 0);
	pthread_attr_destroy(&attributes);
	pthread_barrier_wait(&all_there);
}

static void end_threads(void)
{
	pthread_barrier_wait(&all_may_end);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* How many it then asks for. */
static int look(void)
{
	asked = 0;
	sp_collector_list_threads(&collector);
	return asked;
}

/* With a first look behind it, at those that were there first. */
static void setup(void)
{
	begin_plain_spans();
	collector = (struct sp_collector){.recording = recorded(), .calls = &calls};
	is_adopted = true;
	look();
}

START_TEST(hundreds_that_come_at_once_are_let_in_at_the_second_look)
{
	begin_threads();
	ck_assert_int_eq(look(), 0);
	ck_assert(collector.strangers.has_news);
	ck_assert_int_eq(look(), THREADS);
	ck_assert(!collector.strangers.has_news);
	ck_assert_int_eq(look(), 0);
	end_threads();
}
END_TEST

START_TEST(those_that_stay_without_a_slot_are_new_only_once)
{
	is_adopted = false;
	begin_threads();
	ck_assert_int_eq(look(), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(look(), THREADS);
		ck_assert(!collector.strangers.has_news);
	}
	end_threads();
}
END_TEST

/* They are not what fills the list of those to be known again. */
START_TEST(more_than_the_list_holds_are_let_in_by_and_by)
{
	struct sp_strangers *strangers = &collector.strangers;

	begin_threads();
	look();
	strangers->old_count = THREADS / 2;
	ck_assert_int_eq(look(), THREADS / 2);
	ck_assert_uint_eq(strangers->old_count, THREADS / 2);
	ck_assert_int_eq(look(), THREADS / 2);
	end_threads();
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("thread_list");

	tcase_add_checked_fixture(tc, setup, end_spans);
	tcase_add_test(tc, hundreds_that_come_at_once_are_let_in_at_the_second_look);
	tcase_add_test(tc, those_that_stay_without_a_slot_are_new_only_once);
	tcase_add_test(tc, more_than_the_list_holds_are_let_in_by_and_by);
	return run_suite("thread list", tc);
}
