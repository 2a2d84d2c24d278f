/*
 * sp_heap over the C library, for the command and the unit tests, which have
 * a process to themselves. Context: collector.
 */
#include "sp_heap.h"

#include <stdlib.h>

void *sp_heap_alloc(size_t size_bytes)
{
	return malloc(size_bytes);
}

void *sp_heap_zalloc(size_t size_bytes)
{
	return calloc(1, size_bytes);
}

void *sp_heap_realloc(void *ptr, size_t size_bytes)
{
	return realloc(ptr, size_bytes);
}

void sp_heap_free(void *ptr)
{
	free(ptr);
}
