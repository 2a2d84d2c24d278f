/*
 * heap_handed ROUNDS: three threads hand blocks to each other by way of a few places:
 * whoever finds one there resizes or frees it, or puts another in its place. Sizes are of
 * parts of a page and of many pages, so that memory of the one becomes that of the other.
 * All are freed at the end.
 */
#include "heap_sites.h"

#include <pthread.h>
#include <stdatomic.h>

#define THREADS 3
#define PLACES 32

HEAP_SITE(handed_new)
HEAP_RESITE(handed_resized)

static const size_t sizes[] = {100,   1500,  4000,  4096,   5000,   8192,
			       16384, 20000, 65536, 100000, 131072, 200000};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static _Atomic(char *) places[PLACES];
static int64_t rounds;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void *hand_around(void *first)
{
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(uintptr_t)first;

	for (int64_t i = 0; i < rounds; i++) {
		uint64_t random = next_random(&state);
		size_t bytes = sizes[random / 256 % SIZES];
		_Atomic(char *) *place = &places[random % PLACES];
		char *block = atomic_exchange(place, NULL);

		if (block && random / 32 % 2) {
			free(block);
			block = NULL;
		}
		block = block ? handed_resized(block, bytes) : handed_new(bytes);
		block[0] = block[bytes - 1] = 1;
		free(atomic_exchange(place, block));
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];

	rounds = number_argument(argc, argv, 1, 1000);
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, hand_around, (void *)(i + 1)) != 0)
			return 5;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < PLACES; i++)
		free(places[i]);
	return 0;
}
