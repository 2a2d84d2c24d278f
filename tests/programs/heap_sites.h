/*
 * Places that allocate, a function each: profiles are compared by their names.
 */
#ifndef HEAP_SITES_H
#define HEAP_SITES_H

#include "burn.h"

/* A result that somebody needs after the call: no tail call. Without one the program ends
 * with status 4. */
#define HEAP_SITE(name)                                                                  \
	NOINLINE void *name(size_t bytes);                                               \
	void *name(size_t bytes)                                                         \
	{                                                                                \
		void *block = malloc(bytes);                                             \
                                                                                         \
		__asm__ volatile("" : "+r"(block));                                      \
		if (block == NULL)                                                       \
			_exit(4);                                                        \
		return block;                                                            \
	}

#define HEAP_RESITE(name)                                                                \
	NOINLINE void *name(void *block, size_t bytes);                                  \
	void *name(void *block, size_t bytes)                                            \
	{                                                                                \
		block = realloc(block, bytes);                                           \
		__asm__ volatile("" : "+r"(block));                                      \
		if (block == NULL)                                                       \
			_exit(4);                                                        \
		return block;                                                            \
	}

#endif
