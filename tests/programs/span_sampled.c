/*
 * span_sampled: outermost spans of several sites, on threads that come one after the
 * other. Each allocates an amount that varies, and has as many children as its site's
 * number, the last of which is left to another thread. Tells of each site how many there
 * were, what they allocated in all, and the sum of the squares of these amounts.
 */
#include "burn.h"

#include <spanprof/span.h>

#include <pthread.h>

#define SITES 4
#define THREADS 3
#define ROOTS_OF_THREAD 4000

static struct spanprof_callsite sites[SITES] = {
	SPANPROF_CALLSITE("root_0", NULL),
	SPANPROF_CALLSITE("root_1", NULL),
	SPANPROF_CALLSITE("root_2", NULL),
	SPANPROF_CALLSITE("root_3", NULL),
};
static struct spanprof_callsite children[SITES] = {
	SPANPROF_CALLSITE("child_0", NULL),
	SPANPROF_CALLSITE("child_1", NULL),
	SPANPROF_CALLSITE("child_2", NULL),
	SPANPROF_CALLSITE("child_3", NULL),
};
static struct {
	long long roots, bytes, squares;
} truth[SITES];

/* Children that another thread enters and ends. */
static spanprof_span left[THREADS * ROOTS_OF_THREAD];
static int left_count;

static void allocate(size_t size_bytes)
{
	void *block = malloc(size_bytes);

	__asm__ volatile("" : "+r"(block));
	free(block);
}

static void make_root(int site, long long number)
{
	/* From 1 to 1999, without any order. */
	size_t size_bytes = 1 + (size_t)(number * 7919 % 1999);
	spanprof_span root = spanprof_begin(&sites[site]);

	allocate(size_bytes);
	for (int i = 0; i < site; i++) {
		spanprof_span child;

		if (i == site - 1) {
			left[left_count++] = spanprof_create(&children[site], root);
			continue;
		}
		child = spanprof_begin(&children[site]);
		allocate(10);
		spanprof_end(child);
	}
	spanprof_end(root);
	truth[site].roots++;
	truth[site].bytes += (long long)size_bytes;
	truth[site].squares += (long long)(size_bytes * size_bytes);
}

static void *make_roots(void *argument)
{
	long long first = *(const long long *)argument;

	for (long long number = first; number < first + ROOTS_OF_THREAD; number++)
		make_root((int)(number % SITES), number);
	return argument;
}

static void *end_children(void *unused)
{
	for (int i = 0; i < left_count; i++) {
		spanprof_enter(left[i]);
		allocate(10);
		spanprof_end(left[i]);
	}
	left_count = 0;
	return unused;
}

int main(void)
{
	for (long long i = 0; i < THREADS; i++) {
		long long first = i * ROOTS_OF_THREAD;
		pthread_t thread;

		pthread_create(&thread, NULL, make_roots, &first);
		pthread_join(thread, NULL);
		pthread_create(&thread, NULL, end_children, NULL);
		pthread_join(thread, NULL);
	}
	for (int site = 0; site < SITES; site++) {
		printf("roots_%d=%lld\nbytes_%d=%lld\nsquares_%d=%lld\n", site,
		       truth[site].roots, site, truth[site].bytes, site,
		       truth[site].squares);
	}
	return 0;
}
