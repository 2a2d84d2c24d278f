/*
 * The agent's heap across a fork.
 */
#ifndef SP_HEAP_JEMALLOC_H
#define SP_HEAP_JEMALLOC_H

#include <stdbool.h>

/*
 * Context: init, before our thread exists. The archive has a constructor of its own,
 * which must not meet our thread in the middle of the heap's first call.
 */
void sp_heap_init(void);

/* Context: hook, around fork(). The first waits for a heap call of our thread that is
 * under way, some milliseconds at most. */
void sp_heap_before_fork(void);
void sp_heap_after_fork_in_parent(void);
void sp_heap_after_fork_in_child(void);

/* Context: hook. False in a child that was forked in the middle of a heap call. */
bool sp_heap_is_usable(void);

#endif
