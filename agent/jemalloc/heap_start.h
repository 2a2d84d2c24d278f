/*
 * The first half of a megabyte of the agent's heap: see heap_start.c. Context of
 * everything here: collector; any number of threads.
 */
#ifndef SP_HEAP_START_H
#define SP_HEAP_START_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed memory, or NULL when there is not so much left. */
void *sp_heap_start_alloc(size_t size_bytes);

/* Whether a block is one of these; then nothing more need be done to free it. */
bool sp_heap_start_owns(const void *ptr);

/* How large such a block is. */
size_t sp_heap_start_size(const void *ptr);

#endif
