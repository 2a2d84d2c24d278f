/*
 * What is still in use at the end, told on standard error. Context: collector.
 */
#ifndef SP_LEAKS_H
#define SP_LEAKS_H

#include "profile_heap.h"
#include "sp_known_names.h"

/* The sum, and the stacks with the most of it, largest first, a line each. */
void sp_leaks_tell(const struct sp_heap_profile *profile, struct sp_known_names *names);

#endif
