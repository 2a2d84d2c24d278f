/*
 * span_example ROUNDS: the calls of spanprof/span.h, each once a round, as a program in C
 * and in C++ makes them; this is compiled as both. A job is put into a queue by one
 * thread and done by another; in C++ every other one fails by an exception.
 */
#include <spanprof/span.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct job {
	spanprof_span span;
	int number;
};

static void decode(int number)
{
	SPANPROF_SCOPE("decode");
	spanprof_label("parity", number % 2 ? "odd" : "even");
#ifdef __cplusplus
	if (number % 2)
		throw number;
#endif
}

static void *work(void *argument)
{
	struct job *job = (struct job *)argument;

	spanprof_enter(job->span);
#ifdef __cplusplus
	try {
		decode(job->number);
	} catch (int) {
	}
#else
	decode(job->number);
#endif
	spanprof_exit(job->span);
	spanprof_close(job->span);
	return NULL;
}

static void put(struct job *job)
{
	static struct spanprof_callsite site = SPANPROF_CALLSITE("job", "worker");
	static struct spanprof_callsite notice = SPANPROF_CALLSITE("notice", "worker");
	spanprof_span later;
	pthread_t thread;

	job->span = spanprof_create(&site, SPANPROF_CURRENT);
	spanprof_span_label(job->span, "kind", "example");
	pthread_create(&thread, NULL, work, job);
	pthread_join(thread, NULL);
	later = spanprof_create(&notice, SPANPROF_ROOT);
	spanprof_follows(later, job->span);
	spanprof_close(later);
}

int main(int argc, char **argv)
{
	static struct spanprof_callsite site = SPANPROF_CALLSITE("round", NULL);
	int rounds = argc > 1 ? atoi(argv[1]) : 1, current = 0;

	for (int i = 0; i < rounds; i++) {
		struct job job = {0, i};
		spanprof_span round = spanprof_begin(&site);

		current += round != 0 && spanprof_current() == round;
		put(&job);
		spanprof_end(round);
	}
	printf("%d rounds\n", rounds);
	return current == 0 || current == rounds ? 0 : 1;
}
