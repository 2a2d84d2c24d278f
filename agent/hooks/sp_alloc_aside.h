/*
 * Calls of allocation functions that are not to meet ours: what an allocator calls of
 * itself, always; and where nobody wants allocations counted, all, so far as can be:
 * even to be passed through costs programs that call malloc() often and whose code fills
 * the processor's caches up to 1 % of their time. The loader and the program's modules
 * are made to find what they would find without us, until somebody wants to know.
 */
#ifndef SP_ALLOC_ASIDE_H
#define SP_ALLOC_ASIDE_H

#include <stdbool.h>
#include <stdint.h>

struct sp_got_result;

/*
 * Context: init, before the program has threads. What the program's allocator calls of
 * itself by its public names, as Electric Fence's calloc() calls malloc(), would meet us,
 * and one block be counted twice: it leads where it leads without us, for good. Nothing
 * is done where the C library serves, which has no such calls. Adds to result.
 */
void sp_alloc_leave_own_calls(struct sp_got_result *result);

/*
 * Context: init; the hooks pass all through. The names of our allocation functions, and
 * the slots of modules that lead to them, lead to the next. What can't be changed goes on
 * through us, which is as right. Should a hook have begun to count meanwhile, the caller
 * is to come back.
 */
void sp_alloc_stand_aside(void);

/*
 * Context: hook, on any thread; system calls, no wait; signals are held. The reverse: all
 * that calls through slots of modules or asks the loader meets us again when this
 * returns, whichever thread began it. Later, by sp_alloc_settle(), what the loader is
 * just binding; never what the program calls through pointers that it has copied
 * meanwhile. Does nothing where we do not stand aside.
 */
void sp_alloc_come_back(void);

/* Context: collector, in each round; some follow each other at once. Looks again at what
 * came back lately; tells of what could not. */
void sp_alloc_settle(void);

/* Context: hook, collector. Is it the function that one of ours goes on to, for which we
 * stand or stood aside, if only for its own library's calls? */
bool sp_alloc_is_next(uint64_t target);

#endif
