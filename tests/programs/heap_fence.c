/*
 * Uses an allocator that calls its own functions by their public names (it is linked to
 * lib_heap_fence), 100 times from each place, and keeps 60 blocks of each. Tells how many
 * blocks there were.
 */
#include "heap_sites.h"

#include <malloc.h>

#define BLOCKS 100
#define KEPT 60

HEAP_SITE(fence_malloc)
HEAP_RESITE(fence_realloc)

#define FENCE_SITE(name, call)                                                           \
	NOINLINE void *name(size_t bytes);                                               \
	void *name(size_t bytes)                                                         \
	{                                                                                \
		void *block = call;                                                      \
                                                                                         \
		__asm__ volatile("" : "+r"(block));                                      \
		return block;                                                            \
	}

FENCE_SITE(fence_calloc, calloc(bytes / 10, 10))
FENCE_SITE(fence_memalign, memalign(64, bytes))
FENCE_SITE(fence_aligned_alloc, aligned_alloc(32, bytes))

NOINLINE void *fence_posix_memalign(size_t bytes);
void *fence_posix_memalign(size_t bytes)
{
	void *block = NULL;
	int err = posix_memalign(&block, 128, bytes);

	__asm__ volatile("" : "+r"(block));
	return err == 0 ? block : NULL;
}

static void *resized(size_t bytes)
{
	return fence_realloc(fence_malloc(bytes), bytes);
}

int main(void)
{
	static void *(*const places[])(size_t) = {fence_calloc, fence_memalign,
						  fence_aligned_alloc,
						  fence_posix_memalign, resized};
	static void *blocks[sizeof(places) / sizeof(places[0])][BLOCKS];
	size_t count = sizeof(places) / sizeof(places[0]);

	for (size_t place = 0; place < count; place++) {
		for (int i = 0; i < BLOCKS; i++)
			blocks[place][i] = places[place](1000);
		for (int i = KEPT; i < BLOCKS; i++)
			free(blocks[place][i]);
	}
	tell("blocks", BLOCKS);
	tell("kept", KEPT);
	return 0;
}
