/*
 * A tracer as people write them: stands in front of four functions of the allocator, or
 * of one (ONLY_MALLOC, ONLY_FREE), and passes every call on to the next. At the end it
 * tells how many calls of large blocks it has met; small ones the C library makes, too.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>

#define LARGE_BYTES 300000U

static _Atomic unsigned large_calls;

static void note(size_t bytes)
{
	if (bytes >= LARGE_BYTES)
		large_calls++;
}

static void *find_next(void **next, const char *name)
{
	if (*next == NULL)
		*next = dlsym(RTLD_NEXT, name);
	return *next;
}

#ifndef ONLY_FREE
void *malloc(size_t bytes)
{
	static void *next;

	note(bytes);
	return ((void *(*)(size_t))find_next(&next, "malloc"))(bytes);
}
#endif

#ifndef ONLY_MALLOC
void free(void *block)
{
	static void *next;

	note(malloc_usable_size(block));
	((void (*)(void *))find_next(&next, "free"))(block);
}
#endif

#if !defined(ONLY_MALLOC) && !defined(ONLY_FREE)
void *calloc(size_t count, size_t bytes)
{
	static void *next;

	note(bytes);
	return ((void *(*)(size_t, size_t))find_next(&next, "calloc"))(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
	static void *next;

	note(bytes);
	return ((void *(*)(void *, size_t))find_next(&next, "realloc"))(old, bytes);
}
#endif

__attribute__((destructor)) static void tell(void)
{
	printf("traced: %u\n", large_calls);
}
