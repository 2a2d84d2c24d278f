/*
 * Blocks of different fates, a function for each: freed at once, or after a while, by
 * another thread, resized again and again, or kept.
 */
#include "heap_sites.h"

#include <pthread.h>

#define BLOCKS 1000
#define THREADS 4
#define WHILE_MS 50
#define CHAIN 10

HEAP_SITE(age_short)
HEAP_SITE(age_long)
HEAP_SITE(age_crossing)
HEAP_SITE(age_chain_begin)
HEAP_SITE(age_kept)
HEAP_RESITE(age_chain_link)

static void *crossing[THREADS][BLOCKS];

static void pause_ms(long ms)
{
	struct timespec pause = {.tv_nsec = ms * 1000000};

	while (nanosleep(&pause, &pause) != 0)
		;
}

static void *work(void *number)
{
	uintptr_t own = (uintptr_t)number;
	void *blocks[BLOCKS];

	for (int i = 0; i < BLOCKS; i++)
		free(age_short(100));
	for (int i = 0; i < BLOCKS; i++)
		blocks[i] = age_long(200);
	for (int i = 0; i < BLOCKS; i++)
		crossing[own][i] = age_crossing(300);
	pause_ms(WHILE_MS);
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	for (int i = 0; i < BLOCKS; i++) {
		void *block = age_chain_begin(10);

		for (size_t link = 1; link <= CHAIN; link++)
			block = age_chain_link(block, 10 + 1000 * link);
		if (i % 4)
			free(block);
	}
	for (int i = 0; i < BLOCKS; i++)
		age_kept(400);
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
			return 5;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < THREADS; i++)
		for (int j = 0; j < BLOCKS; j++)
			free(crossing[i][j]);
	puts("done");
	return 0;
}
