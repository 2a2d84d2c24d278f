/*
 * SPANPROF_ALLOCATOR=jemalloc, as the hooks see it: whether it is in force, and which
 * blocks are jemalloc's. All its memory lies in one range of addresses that it never
 * gives back, so that one comparison tells.
 */
#ifndef SP_ALLOC_JEMALLOC_H
#define SP_ALLOC_JEMALLOC_H

#include "sp_compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_alloc_next;

struct sp_alloc_jemalloc {
	/* Written once, before jemalloc's first call. */
	uintptr_t base;
	size_t bytes; /* 0: jemalloc does not serve the program */
	/* A byte for each of its pages (sp_block_classes.h), less the number of
	 * the first: so that no offset need be found on the way to it. */
	uintptr_t page_classes;
	/* It serves, and the kernel has never refused it memory. */
	_Atomic bool has_memory;
};

extern SP_HIDDEN struct sp_alloc_jemalloc sp_alloc_jemalloc;

/* Its smallest class is aligned to 8 bytes only; the C library aligns all to 16. */
#define SP_ALLOC_JEMALLOC_SMALLEST ((size_t)16)

#define SP_ALLOC_JEMALLOC_PAGE_SHIFT 12U

/* Context: hook. False for NULL, and always where jemalloc does not serve. */
static inline bool sp_alloc_jemalloc_owns(const void *ptr)
{
	return (uintptr_t)ptr - sp_alloc_jemalloc.base < sp_alloc_jemalloc.bytes;
}

/*
 * Context: hook, at the process's first allocation, one thread. Fills next, which holds
 * the C library's functions, with jemalloc's. False: there are no addresses for it.
 */
bool sp_alloc_jemalloc_begin(struct sp_alloc_next *next);

#endif
