/*
 * A plain heap of anonymous pages, for the agent where jemalloc is the program's or
 * takes too much.
 */
#ifndef SP_HEAP_PAGES_H
#define SP_HEAP_PAGES_H

#include <stddef.h>

/* Context: collector. As sp_heap_alloc() and so on; aligned to 16 bytes. */
void *sp_heap_pages_alloc(size_t size_bytes);
void *sp_heap_pages_zalloc(size_t size_bytes);
void *sp_heap_pages_realloc(void *ptr, size_t size_bytes);
void sp_heap_pages_free(void *ptr);

#endif
