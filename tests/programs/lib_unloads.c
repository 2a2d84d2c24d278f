/* Opened and closed by unloads, by turns with its twin, whose function has another name.
 */
#include "burn.h"

#ifndef WORK
#define WORK work_in_first
#endif

int64_t WORK(int blocks);

int64_t WORK(int blocks)
{
	int64_t used_ns = 0;

	for (int i = 0; i < blocks; i++) {
		void *block = malloc(64);

		__asm__ volatile("" : "+r"(block));
		free(block);
		used_ns += burn_here(NS_PER_MS / 50);
	}
	return used_ns;
}
