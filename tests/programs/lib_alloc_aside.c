/* Opened by alloc_aside: blocks that the program allocates through another module. */
#include <stdlib.h>

void allocate_late(int blocks);

void allocate_late(int blocks)
{
	for (int i = 0; i < blocks; i++) {
		void *block = malloc(32);

		__asm__ volatile("" : "+r"(block));
		free(block);
	}
}
