/*
 * The allocator that serves the program: the functions that the program would call
 * without us, all of one and the same library but where another stands in front of some,
 * or ours if the user asks for it (sp_alloc_choice.h). Always callable: until the first
 * call has found them the members lead to code that does.
 */
#ifndef SP_ALLOC_NEXT_H
#define SP_ALLOC_NEXT_H

#include "sp_compiler.h"
#include "sp_recording.h"

#include <stdbool.h>
#include <stddef.h>

/* What most calls of the first four go by is a copy (sp_alloc_line.h). */
struct sp_alloc_next {
	void *(*malloc)(size_t size_bytes);
	void (*free)(void *ptr);
	void *(*calloc)(size_t count, size_t size_bytes);
	void *(*realloc)(void *ptr, size_t size_bytes);
	bool has_block_caches; /* sp_block_cache.h */
	void *(*memalign)(size_t alignment_bytes, size_t size_bytes);
	void *(*aligned_alloc)(size_t alignment_bytes, size_t size_bytes);
	int (*posix_memalign)(void **ptr, size_t alignment_bytes, size_t size_bytes);
	void *(*valloc)(size_t size_bytes);
	void *(*pvalloc)(size_t size_bytes);
	size_t (*malloc_usable_size)(void *ptr);
};

extern SP_HIDDEN struct sp_alloc_next sp_alloc_next;

/* Context: init. Finds them now, unless the first call has. */
void sp_alloc_find(void);

/* Context: hook. Does malloc() lead to us, for whoever calls it by that name, and who
 * does? */
enum sp_heap_coverage sp_alloc_coverage(void);

#endif
