/*
 * The C library's heap behind two counters.
 */
#include "test_heap.h"

#include "sp_heap.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

static size_t allowed_allocations = SIZE_MAX;
static size_t used_bytes, peak_bytes;

static int is_refused(void)
{
	if (allowed_allocations == SIZE_MAX)
		return 0;
	if (allowed_allocations == 0)
		return 1;
	allowed_allocations--;
	return 0;
}

static void *count(void *ptr)
{
	used_bytes += ptr ? malloc_usable_size(ptr) : 0;
	if (used_bytes > peak_bytes)
		peak_bytes = used_bytes;
	return ptr;
}

void test_heap_refuse_after(size_t allowed)
{
	allowed_allocations = allowed;
}

void test_heap_reset_peak(void)
{
	peak_bytes = used_bytes;
}

size_t test_heap_peak_bytes(void)
{
	return peak_bytes;
}

size_t test_heap_used_bytes(void)
{
	return used_bytes;
}

void *sp_heap_alloc(size_t size_bytes)
{
	return is_refused() ? NULL : count(malloc(size_bytes));
}

void *sp_heap_zalloc(size_t size_bytes)
{
	return is_refused() ? NULL : count(calloc(1, size_bytes));
}

void *sp_heap_realloc(void *ptr, size_t size_bytes)
{
	size_t old_bytes = ptr ? malloc_usable_size(ptr) : 0;
	void *grown;

	if (is_refused())
		return NULL;
	grown = realloc(ptr, size_bytes);
	if (grown)
		used_bytes -= old_bytes;
	return count(grown);
}

void sp_heap_free(void *ptr)
{
	used_bytes -= ptr ? malloc_usable_size(ptr) : 0;
	free(ptr);
}
