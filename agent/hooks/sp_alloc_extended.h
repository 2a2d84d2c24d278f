/*
 * Allocation functions beyond the C library's: operator new and delete, jemalloc's
 * mallocx() and its family. A program whose allocator is a library of its own may
 * call them straight, past malloc(). We do not export them, as a program that finds
 * them believes in an allocator that may not be there: the modules that call them are
 * patched (sp_got.h), and only where the library that serves malloc() defines them.
 */
#ifndef SP_ALLOC_EXTENDED_H
#define SP_ALLOC_EXTENDED_H

#include "sp_got.h"

#include <link.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Context: init, before the program has threads, once. Looks for the functions and
 * patches the modules that are loaded. Adds to result.
 */
void sp_alloc_extended_start(struct sp_got_result *result);

/*
 * Context: collector. Patches a module that was loaded later. Adds to result. False
 * when some of its slots lead nowhere yet: it is to be looked at again.
 */
bool sp_alloc_extended_patch(uint64_t start, const struct link_map *link_map,
			     struct sp_got_result *result);

/* Context: collector. Are there functions to patch, and other modules than before? */
bool sp_alloc_extended_has_news(void);

#endif
