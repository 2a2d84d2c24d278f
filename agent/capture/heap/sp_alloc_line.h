/*
 * All that most calls of malloc() and free() read, apart from their thread's state and
 * the filter's counter, in one line of the processor's cache: programs whose data fill
 * the caches pay for each line, and each page, that a hook adds to them.
 *
 * The allocator's functions are written by whoever finds it (sp_alloc_next.h), once,
 * before self_offset; the rest by the heap capture.
 */
#ifndef SP_ALLOC_LINE_H
#define SP_ALLOC_LINE_H

#include "sp_compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_alloc_line {
	_Alignas(64) void *(*malloc)(size_t size_bytes);
	void (*free)(void *ptr);
	void *(*calloc)(size_t count, size_t size_bytes);
	void *(*realloc)(void *ptr, size_t size_bytes);
	/* The filter in force (sp_heap_filter.h). */
	_Atomic uintptr_t filter;
	/* Of sp_heap_self, from the thread pointer; the linker would have it on another
	 * page. 0: not all of the above is there, the filter has no counters, nobody
	 * wants to know, or jemalloc serves: the hooks are to find out. */
	_Atomic ptrdiff_t self_offset;
	/* Nobody wants to know, as things are: the hooks pass all calls on. */
	_Atomic bool is_off;
	bool has_block_caches; /* sp_block_cache.h */
};

extern SP_HIDDEN struct sp_alloc_line sp_alloc_line;

#endif
