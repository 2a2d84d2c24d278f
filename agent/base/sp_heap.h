/*
 * The agent's own heap, never the host's. In the preloaded object it is the
 * private jemalloc (agent/jemalloc/heap_jemalloc.c), in the command and in unit tests
 * the C library's (agent/base/heap_libc.c, linked there only).
 */
#ifndef SP_HEAP_H
#define SP_HEAP_H

#include <stddef.h>

/* Context: collector. NULL when memory is short; callers count and go on. */
void *sp_heap_alloc(size_t size_bytes);
void *sp_heap_zalloc(size_t size_bytes);
void *sp_heap_realloc(void *ptr, size_t size_bytes);
void sp_heap_free(void *ptr);

#endif
