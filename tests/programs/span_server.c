/*
 * span_server REQUESTS PART_US: a server that marks its spans (spanprof/span.h) and knows
 * what they took. Each request is a span in which several of its eight threads work at
 * once, each on a part of its own, a span inside; the last one closes the request. Says
 * how many requests are closed as it goes on, and at the end what both kinds of spans
 * must have come to: at least what was measured inside, at most what was outside; and how
 * long they had no thread in them.
 */
#include "burn.h"

#include <spanprof/span.h>

#include <pthread.h>
#include <stdatomic.h>

#define THREADS 8
#define PARTS 4
#define BLOCKS_OF_PART 3
#define BYTES_OF_BLOCK 1000
#define BYTES_OF_REQUEST 77

/* A part of a clock's time. */
struct interval {
	int64_t from, to;
};

struct request {
	spanprof_span span;
	_Atomic int parts_left;
	/* In which it certainly was created and entered, and in which it may have been.
	 */
	struct interval life_least, life_most, least[PARTS], most[PARTS];
	_Atomic int stays;
};

/* Of all stays in one kind of span, and of the times in which one had no thread in it. */
struct truth {
	_Atomic long long stays, wall_least, wall_most, cpu_least, cpu_most;
	_Atomic long long idle_least, idle_most;
};

static struct truth of_requests, of_parts;
static _Atomic long long closed, kept_blocks;
static int64_t part_ns;

static struct request *queue;
static long long queued, taken;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t is_queued = PTHREAD_COND_INITIALIZER;
static int has_ended;

struct stay {
	int64_t wall_outside, cpu_outside, wall_inside, cpu_inside;
	struct interval least, most;
};

static void enter(struct stay *stay, spanprof_span span)
{
	stay->wall_outside = clock_ns(CLOCK_MONOTONIC);
	stay->cpu_outside = thread_cpu_ns();
	spanprof_enter(span);
	stay->cpu_inside = thread_cpu_ns();
	stay->wall_inside = clock_ns(CLOCK_MONOTONIC);
}

static void leave(struct stay *stay, spanprof_span span, struct truth *truth)
{
	int64_t wall_inside = clock_ns(CLOCK_MONOTONIC), cpu_inside = thread_cpu_ns();

	spanprof_exit(span);
	truth->cpu_most += thread_cpu_ns() - stay->cpu_outside;
	stay->most = (struct interval){stay->wall_outside, clock_ns(CLOCK_MONOTONIC)};
	stay->least = (struct interval){stay->wall_inside, wall_inside};
	truth->wall_most += stay->most.to - stay->most.from;
	truth->cpu_least += cpu_inside - stay->cpu_inside;
	truth->wall_least += stay->least.to - stay->least.from;
	truth->stays++;
}

static int compare_starts(const void *left, const void *right)
{
	const struct interval *a = left, *b = right;

	return a->from < b->from ? -1 : a->from > b->from;
}

/* What is covered by any of them, which it puts in order. */
static int64_t covered_ns(struct interval *intervals, size_t count)
{
	int64_t covered = 0, end = INT64_MIN;

	qsort(intervals, count, sizeof(*intervals), compare_starts);
	for (size_t i = 0; i < count; i++) {
		int64_t from = intervals[i].from > end ? intervals[i].from : end;

		if (intervals[i].to > from)
			covered += intervals[i].to - from;
		end = intervals[i].to > end ? intervals[i].to : end;
	}
	return covered;
}

/* Of a span that is closed, and was entered in these. */
static void add_idle(struct truth *truth, struct interval life_least,
		     struct interval life_most, struct interval *least,
		     struct interval *most, size_t stays)
{
	truth->idle_least += life_least.to - life_least.from - covered_ns(most, stays);
	truth->idle_most += life_most.to - life_most.from - covered_ns(least, stays);
}

/* Frees all but one of its blocks. */
static void work_on_part(spanprof_span request)
{
	static struct spanprof_callsite site = SPANPROF_CALLSITE("part", "server");
	struct interval life_least, life_most = {clock_ns(CLOCK_MONOTONIC), 0};
	spanprof_span part = spanprof_create(&site, request);
	void *blocks[BLOCKS_OF_PART];
	struct stay stay;

	life_least.from = clock_ns(CLOCK_MONOTONIC);
	enter(&stay, part);
	spanprof_label("user", "me");
	burn(part_ns);
	for (int i = 0; i < BLOCKS_OF_PART; i++) {
		blocks[i] = malloc(BYTES_OF_BLOCK);
		__asm__ volatile("" : "+r"(blocks[i]));
	}
	leave(&stay, part, &of_parts);
	life_least.to = clock_ns(CLOCK_MONOTONIC);
	spanprof_close(part);
	life_most.to = clock_ns(CLOCK_MONOTONIC);
	add_idle(&of_parts, life_least, life_most, &stay.least, &stay.most, 1);
	for (int i = 1; i < BLOCKS_OF_PART; i++)
		free(blocks[i]);
	kept_blocks++;
}

static void close_request(struct request *request)
{
	request->life_least.to = clock_ns(CLOCK_MONOTONIC);
	spanprof_close(request->span);
	request->life_most.to = clock_ns(CLOCK_MONOTONIC);
	add_idle(&of_requests, request->life_least, request->life_most, request->least,
		 request->most, PARTS);
	closed++;
}

static void work_on(struct request *request)
{
	struct stay stay;
	int number;
	void *block;

	enter(&stay, request->span);
	work_on_part(request->span);
	block = malloc(BYTES_OF_REQUEST);
	__asm__ volatile("" : "+r"(block));
	free(block);
	leave(&stay, request->span, &of_requests);
	number = request->stays++;
	request->least[number] = stay.least;
	request->most[number] = stay.most;
	if (--request->parts_left == 0)
		close_request(request);
}

static struct request *take_part(void)
{
	struct request *request = NULL;

	pthread_mutex_lock(&lock);
	while (taken == queued && !has_ended)
		pthread_cond_wait(&is_queued, &lock);
	if (taken < queued)
		request = &queue[taken++ / PARTS];
	pthread_mutex_unlock(&lock);
	return request;
}

static void *serve(void *unused)
{
	struct request *request;

	while ((request = take_part()) != NULL)
		work_on(request);
	return unused;
}

static void put_request(struct request *request)
{
	static struct spanprof_callsite site = SPANPROF_CALLSITE("request", "server");

	request->life_most.from = clock_ns(CLOCK_MONOTONIC);
	request->span = spanprof_create(&site, SPANPROF_ROOT);
	request->life_least.from = clock_ns(CLOCK_MONOTONIC);
	request->parts_left = PARTS;
	pthread_mutex_lock(&lock);
	queued += PARTS;
	pthread_cond_broadcast(&is_queued);
	pthread_mutex_unlock(&lock);
}

static void tell_truth(const char *name, const struct truth *truth)
{
	printf("%s_stays=%lld\n%s_wall_least=%lld\n%s_wall_most=%lld\n"
	       "%s_cpu_least=%lld\n%s_cpu_most=%lld\n"
	       "%s_idle_least=%lld\n%s_idle_most=%lld\n",
	       name, truth->stays, name, truth->wall_least, name, truth->wall_most, name,
	       truth->cpu_least, name, truth->cpu_most, name, truth->idle_least, name,
	       truth->idle_most);
}

int main(int argc, char **argv)
{
	long long requests = number_argument(argc, argv, 1, 100);
	pthread_t threads[THREADS];

	part_ns = number_argument(argc, argv, 2, 100) * 1000;
	queue = calloc((size_t)requests, sizeof(*queue));
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, serve, NULL);
	for (long long i = 0; i < requests; i++) {
		put_request(&queue[i]);
		/* As many at once as keep all threads busy. */
		while (i - closed > THREADS)
			usleep(200);
		if (i % 20 == 0)
			tell("closed", closed);
	}
	pthread_mutex_lock(&lock);
	has_ended = 1;
	pthread_cond_broadcast(&is_queued);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	tell("closed", closed);
	tell_truth("request", &of_requests);
	tell_truth("part", &of_parts);
	tell("request_blocks", of_requests.stays);
	tell("request_bytes", of_requests.stays * BYTES_OF_REQUEST);
	tell("part_blocks", of_parts.stays * BLOCKS_OF_PART);
	tell("part_bytes", of_parts.stays * BLOCKS_OF_PART * BYTES_OF_BLOCK);
	tell("kept_blocks", kept_blocks);
	return 0;
}
