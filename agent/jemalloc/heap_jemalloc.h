/*
 * The agent's heap across a fork.
 */
#ifndef SP_HEAP_JEMALLOC_H
#define SP_HEAP_JEMALLOC_H

#include <stdbool.h>

/*
 * Context: init, before our thread exists. Where jemalloc is the program's it begins
 * now, in case the program begins with threads or fork handlers.
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
