/*
 * The functions by which programs get memory and give it back, and whose they are where
 * ours are not met. Two lists: alloc_functions.h, of what every program finds, and
 * alloc_extended_functions.h, of what some allocators have besides.
 */
#ifndef SP_ALLOC_FAMILY_H
#define SP_ALLOC_FAMILY_H

#include "sp_compiler.h"
#include "sp_recording.h"

#include <stdbool.h>

struct link_map;

/* Those that we stand in front of by their names. */
#define SP_ALLOC_NAMES 12U
extern SP_HIDDEN const char *const sp_alloc_names[SP_ALLOC_NAMES];

/* Context: hook, also before our constructor has run, as all below. */
bool sp_alloc_is_c_library(const struct link_map *object);

/* The libraries other than the C library that serve the program with any of these names,
 * ended by NULL. */
void sp_alloc_find_libraries(const struct link_map *libraries[SP_ALLOC_NAMES + 1]);

/* Does malloc() lead to us, for whoever calls it by that name, and who does? */
enum sp_heap_coverage sp_alloc_coverage(void);

#endif
