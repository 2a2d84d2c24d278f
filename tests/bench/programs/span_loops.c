/*
 * What it costs to mark spans. Prints ns of the thread's CPU time for each turn of a
 * loop, the least of several rounds:
 *
 *	span_loops stays COUNT    enter and exit of one span
 *	span_loops scopes COUNT   a new span each time: create, enter, exit, close
 *	span_loops calls COUNT    calls of rand_r(), which does next to nothing
 *
 * span_loops rate SPANS SECONDS: two threads that together make so many spans a second,
 * prints how many they made and the seconds it took.
 */
#include <spanprof/span.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 7
#define THREADS 2
#define BURST 100

static struct spanprof_callsite site = SPANPROF_CALLSITE("loop", NULL);

static double clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void run_stays(long count)
{
	spanprof_span span = spanprof_create(&site, SPANPROF_ROOT);

	for (long i = 0; i < count; i++) {
		spanprof_enter(span);
		spanprof_exit(span);
	}
	spanprof_close(span);
}

static void run_scopes(long count)
{
	for (long i = 0; i < count; i++)
		spanprof_end(spanprof_begin(&site));
}

static void run_calls(long count)
{
	unsigned int seed = 1;

	for (long i = 0; i < count; i++)
		rand_r(&seed);
}

static void time_loop(void (*run)(long), long count)
{
	double least_ns = 1e9;

	for (int round = 0; round < ROUNDS; round++) {
		double start_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID), ns;

		run(count);
		ns = (clock_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns) / (double)count;
		if (ns < least_ns)
			least_ns = ns;
	}
	printf("%.2f\n", least_ns);
}

struct pace {
	double spans_per_ns;
	double end_ns;
	long made;
};

/* In bursts, so that the clock is not what is measured. */
static void *make_spans(void *argument)
{
	struct pace *pace = argument;
	double start_ns = clock_ns(CLOCK_MONOTONIC), now_ns = start_ns;

	while (now_ns < pace->end_ns) {
		if ((double)pace->made <= (now_ns - start_ns) * pace->spans_per_ns) {
			run_scopes(BURST);
			pace->made += BURST;
		}
		now_ns = clock_ns(CLOCK_MONOTONIC);
	}
	return NULL;
}

static void run_rate(double spans_per_second, double seconds)
{
	double start_ns = clock_ns(CLOCK_MONOTONIC);
	struct pace paces[THREADS];
	pthread_t threads[THREADS];
	long made = 0;

	for (int i = 0; i < THREADS; i++) {
		paces[i] = (struct pace){spans_per_second / THREADS / 1e9,
					 start_ns + seconds * 1e9, 0};
		pthread_create(&threads[i], NULL, make_spans, &paces[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		made += paces[i].made;
	}
	printf("%ld %.3f\n", made, (clock_ns(CLOCK_MONOTONIC) - start_ns) / 1e9);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "rate") == 0) {
		run_rate(atof(argv[2]), atof(argv[3]));
	} else if (argc == 3 && strcmp(argv[1], "stays") == 0) {
		time_loop(run_stays, atol(argv[2]));
	} else if (argc == 3 && strcmp(argv[1], "scopes") == 0) {
		time_loop(run_scopes, atol(argv[2]));
	} else if (argc == 3 && strcmp(argv[1], "calls") == 0) {
		time_loop(run_calls, atol(argv[2]));
	} else {
		return 2;
	}
	return 0;
}
