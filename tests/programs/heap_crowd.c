/*
 * heap_crowd THREADS: a high peak, then a higher one, to which each of many threads adds
 * little. Tells what is in use at that one.
 */
#include "heap_sites.h"

#include <pthread.h>

#define EARLY_BYTES ((size_t)100 << 20)
#define KEPT_BYTES ((size_t)96 << 20)
#define BLOCKS 12
#define BLOCK_BYTES 1000
#define STACK_BYTES 65536
#define THREADS_MAX 4096

HEAP_SITE(crowd_early)
HEAP_SITE(crowd_kept)
HEAP_SITE(crowd_member)

static pthread_barrier_t before, at_peak;

static void *add_little(void *unused)
{
	void *blocks[BLOCKS];

	pthread_barrier_wait(&before);
	for (int i = 0; i < BLOCKS; i++)
		blocks[i] = crowd_member(BLOCK_BYTES);
	pthread_barrier_wait(&at_peak);
	/* The main thread frees the first block after it. */
	pthread_barrier_wait(&before);
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	return unused;
}

int main(int argc, char **argv)
{
	static pthread_t threads[THREADS_MAX];
	int count = (int)number_argument(argc, argv, 1, 100);
	pthread_attr_t attributes;
	void *kept;

	if (count > THREADS_MAX)
		return 2;
	pthread_barrier_init(&before, NULL, (unsigned)count + 1);
	pthread_barrier_init(&at_peak, NULL, (unsigned)count + 1);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], &attributes, add_little, NULL) != 0)
			return 5;
	free(crowd_early(EARLY_BYTES));
	kept = crowd_kept(KEPT_BYTES);
	pthread_barrier_wait(&before);
	pthread_barrier_wait(&at_peak);
	free(kept);
	pthread_barrier_wait(&before);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	printf("peak_bytes=%lld\n",
	       (long long)(KEPT_BYTES + (size_t)count * BLOCKS * BLOCK_BYTES));
	return 0;
}
