/*
 * What the program's allocator calls of itself by its public names, as Electric Fence's
 * calloc() calls malloc(): these calls lead to us, and one block would be counted twice.
 */
#ifndef SP_ALLOC_OWN_CALLS_H
#define SP_ALLOC_OWN_CALLS_H

#include "sp_got.h"

/*
 * Context: init, before the program has threads. Lets such calls lead where they lead
 * without us. Nothing is done where the C library serves, which has none. Adds to
 * result.
 */
void sp_alloc_own_calls_start(struct sp_got_result *result);

#endif
