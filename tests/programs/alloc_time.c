/* alloc_time: takes blocks and gives them back for 2.4 s of CPU time. */
#include "burn.h"

#define BLOCKS 64
#define ROUNDS 100 /* between two looks at the clock */

NOINLINE void allocate_on(int64_t cpu_ns);

void allocate_on(int64_t cpu_ns)
{
	int64_t start_ns = thread_cpu_ns();
	void *blocks[BLOCKS] = {NULL};

	do {
		for (int i = 0; i < ROUNDS * BLOCKS; i++) {
			void **block = &blocks[i % BLOCKS];

			free(*block);
			*block = malloc(16 + 8 * (size_t)(i % BLOCKS));
			__asm__ volatile("" : : "r"(*block) : "memory");
		}
	} while (thread_cpu_ns() - start_ns < cpu_ns);
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
}

int main(void)
{
	allocate_on(2400 * NS_PER_MS);
	puts("done");
	return 0;
}
