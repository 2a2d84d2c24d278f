/*
 * A program with an allocator of its own, which nobody hooks by preloading: it hands
 * out parts of one large area and never takes them back.
 */
#include "burn.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#define AREA_BYTES (64UL << 20)

static _Alignas(16) unsigned char area[AREA_BYTES];
static _Atomic size_t used_bytes;
static _Atomic long allocations, frees;

/* The size stands before each block. */
static void *take(size_t bytes)
{
	size_t whole = (bytes + 31) / 16 * 16;
	size_t at = atomic_fetch_add(&used_bytes, whole);

	if (at + whole > AREA_BYTES) {
		errno = ENOMEM;
		return NULL;
	}
	atomic_fetch_add(&allocations, 1);
	memcpy(area + at, &bytes, sizeof(bytes));
	return area + at + 16;
}

void *malloc(size_t bytes)
{
	return take(bytes);
}

void *calloc(size_t count, size_t bytes)
{
	return take(count * bytes);
}

void *realloc(void *old, size_t bytes)
{
	void *block = take(bytes);
	size_t old_bytes;

	if (old == NULL || block == NULL)
		return block;
	memcpy(&old_bytes, (unsigned char *)old - 16, sizeof(old_bytes));
	memcpy(block, old, old_bytes < bytes ? old_bytes : bytes);
	return block;
}

void free(void *block)
{
	if (block == NULL)
		return;
	if ((unsigned char *)block < area || (unsigned char *)block >= area + AREA_BYTES)
		_exit(7);
	atomic_fetch_add(&frees, 1);
}

int main(void)
{
	char *text = NULL;
	size_t bytes;
	FILE *file = open_memstream(&text, &bytes);

	for (int i = 0; i < 1000; i++)
		fprintf(file, "%d ", i);
	fclose(file);
	text = realloc(text, 10000);
	printf("%zu bytes, %d\n", bytes, text[100]);
	free(text);
	printf("allocations %d, frees %d\n", allocations > 3, frees > 0);
	return 0;
}
