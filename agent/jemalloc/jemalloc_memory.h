/*
 * Where the private jemalloc has its pages from.
 */
#ifndef SP_JEMALLOC_MEMORY_H
#define SP_JEMALLOC_MEMORY_H

#include <stdbool.h>

/*
 * Context: hook, before jemalloc's first call, one thread. Reserves the addresses that
 * sp_alloc_jemalloc tells of: all that jemalloc maps lies there from now on. False
 * where they are not to be had; jemalloc then maps where the kernel likes.
 */
bool sp_jemalloc_memory_reserve(void);

#endif
