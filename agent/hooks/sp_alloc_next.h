/*
 * The allocator that serves the program: the functions that the program would call
 * without us, all of one and the same library but where another stands in front of some,
 * or ours if the user asks for it (sp_alloc_choice.h). Always callable: until the first
 * call has found them the members lead to code that does.
 */
#ifndef SP_ALLOC_NEXT_H
#define SP_ALLOC_NEXT_H

#include "sp_compiler.h"

#include <stdbool.h>
#include <stddef.h>

/* What most calls of the first four go by is a copy (sp_alloc_line.h). */
struct sp_alloc_next {
#define FUNCTION(result, name, parameters, arguments) result(*name) parameters;
#include "alloc_functions.h"
#undef FUNCTION
	bool has_block_caches; /* sp_block_cache.h */
};

extern SP_HIDDEN struct sp_alloc_next sp_alloc_next;

/* Context: init. Finds them now, unless the first call has. */
void sp_alloc_find(void);

#endif
