/*
 * heap_strays THREADS: so many threads that do nothing, and then rounds of short ones
 * that allocate, until a round makes the process no larger than a part of what the first
 * did (reused=1), or for a while (reused=0). Tells what was allocated.
 */
#include "heap_sites.h"

#include <pthread.h>
#include <string.h>

#define THREADS_MAX 4096
#define ROUNDS_MAX 12
#define ROUND_THREADS 1000
#define BLOCKS 20
#define BLOCK_BYTES 200000
#define STACK_BYTES 65536
#define PAUSE_NS 500000000

HEAP_SITE(stray_allocate)

static pthread_attr_t attributes;
static pthread_barrier_t is_over;

static void *wait_for_end(void *unused)
{
	pthread_barrier_wait(&is_over);
	return unused;
}

static void *allocate(void *unused)
{
	for (int i = 0; i < BLOCKS; i++)
		free(stray_allocate(BLOCK_BYTES));
	return unused;
}

static void make(pthread_t *thread, void *(*start)(void *))
{
	if (pthread_create(thread, &attributes, start, NULL) != 0)
		_exit(5);
}

static long anonymous_kib(void)
{
	static const char name[] = "RssAnon:";
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	long kib = -1;

	while (file != NULL && kib < 0 && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, name, strlen(name)) == 0)
			kib = strtol(line + strlen(name), NULL, 10);
	if (file == NULL || kib < 0)
		_exit(6);
	fclose(file);
	return kib;
}

/* Returns by how much the process has grown. */
static long work_a_round(void)
{
	long before_kib = anonymous_kib();

	for (int i = 0; i < ROUND_THREADS; i++) {
		pthread_t thread;

		make(&thread, allocate);
		pthread_join(thread, NULL);
	}
	return anonymous_kib() - before_kib;
}

int main(int argc, char **argv)
{
	static pthread_t threads[THREADS_MAX];
	int count = (int)number_argument(argc, argv, 1, 100), rounds = 1;
	long first_kib, last_kib;

	if (count > THREADS_MAX)
		return 2;
	pthread_barrier_init(&is_over, NULL, (unsigned)count + 1);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (int i = 0; i < count; i++)
		make(&threads[i], wait_for_end);
	first_kib = last_kib = work_a_round();
	while (rounds < ROUNDS_MAX && last_kib > first_kib / 4) {
		nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
		last_kib = work_a_round();
		rounds++;
	}
	printf("reused=%d\n", last_kib <= first_kib / 4);
	printf("allocated_bytes=%lld\n",
	       (long long)rounds * ROUND_THREADS * BLOCKS * BLOCK_BYTES);
	pthread_barrier_wait(&is_over);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
