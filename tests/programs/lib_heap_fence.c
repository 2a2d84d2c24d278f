/*
 * An allocator that calls its own functions by their public names, as Electric Fence
 * does: calloc(), memalign() and the like get their blocks from malloc(), and realloc()
 * gives back by free(). No address is given out twice.
 */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AREA_BYTES (64UL << 20)
#define HEAD_BYTES 16

static _Alignas(16) unsigned char area[AREA_BYTES];
static _Atomic size_t used_bytes;

/* The size stands before each block. */
void *malloc(size_t bytes)
{
	size_t whole, at;

	if (bytes > AREA_BYTES) {
		errno = ENOMEM;
		return NULL;
	}
	whole = (bytes + HEAD_BYTES + 15) / 16 * 16;
	at = atomic_fetch_add(&used_bytes, whole);
	if (at + whole > AREA_BYTES)
		_exit(8);
	memcpy(area + at, &bytes, sizeof(bytes));
	return area + at + HEAD_BYTES;
}

static unsigned char *own(void *block)
{
	if ((unsigned char *)block < area || (unsigned char *)block >= area + AREA_BYTES)
		_exit(7);
	return block;
}

void free(void *block)
{
	if (block != NULL)
		own(block);
}

size_t malloc_usable_size(void *block)
{
	size_t bytes = 0;

	if (block != NULL)
		memcpy(&bytes, own(block) - HEAD_BYTES, sizeof(bytes));
	return bytes;
}

void *calloc(size_t count, size_t bytes)
{
	size_t whole;

	if (__builtin_mul_overflow(count, bytes, &whole)) {
		errno = ENOMEM;
		return NULL;
	}
	return malloc(whole);
}

void *realloc(void *old, size_t bytes)
{
	void *block = malloc(bytes);
	size_t old_bytes = malloc_usable_size(old);

	if (old == NULL || block == NULL)
		return block;
	memcpy(block, old, old_bytes < bytes ? old_bytes : bytes);
	free(old);
	return block;
}

/* With the head of a block of its own in front of it. */
void *memalign(size_t alignment, size_t bytes)
{
	uintptr_t at = (uintptr_t)malloc(bytes + alignment + HEAD_BYTES);
	unsigned char *block;

	if (at == 0)
		return NULL;
	block = (unsigned char *)((at + HEAD_BYTES + alignment - 1) & ~(alignment - 1));
	memcpy(block - HEAD_BYTES, &bytes, sizeof(bytes));
	return block;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
	return memalign(alignment, bytes);
}

int posix_memalign(void **block, size_t alignment, size_t bytes)
{
	*block = memalign(alignment, bytes);
	return *block != NULL ? 0 : ENOMEM;
}
