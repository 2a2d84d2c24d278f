/*
 * Allocates in its constructor, which runs before that of a preloaded library, and in
 * its destructor, which runs after it. What it made is the program's to resize and
 * free, and the other way round.
 */
#include "burn.h"

#include <string.h>

#define EARLY_BLOCKS 64

extern void *heap_early_blocks[EARLY_BLOCKS];
extern void *heap_late_block;
void *early_allocate(size_t bytes);

void *heap_early_blocks[EARLY_BLOCKS];
void *heap_late_block; /* the program's; freed here at the very end */

NOINLINE void *early_allocate(size_t bytes)
{
	void *block = malloc(bytes);

	__asm__ volatile("" : "+r"(block));
	return block;
}

__attribute__((constructor)) static void begin_early(void)
{
	for (int i = 0; i < EARLY_BLOCKS; i++)
		heap_early_blocks[i] = early_allocate((size_t)i * 1000 + 10);
	/* Some live for this moment only. */
	for (int i = 0; i < EARLY_BLOCKS; i++)
		free(early_allocate(100));
	heap_early_blocks[1] = realloc(heap_early_blocks[1], 100000);
	memset(heap_early_blocks[1], 'e', 100000);
}

__attribute__((destructor)) static void end_late(void)
{
	char *block = strdup("said by a destructor\n");

	free(heap_late_block);
	if (write(1, block, strlen(block)) < 0)
		_exit(9);
	free(block);
}
