/*
 * Whether SPANPROF_ALLOCATOR=jemalloc was asked for, and what became of it.
 */
#ifndef SP_ALLOC_CHOICE_H
#define SP_ALLOC_CHOICE_H

#include <stdbool.h>

struct link_map;
struct sp_alloc_next;

/*
 * Context: hook, at the first allocation, once: there is no second thread yet, as making
 * one allocates. library is what next was found in, NULL where that is more than one;
 * next is filled anew where jemalloc is to serve.
 */
void sp_alloc_choose(const struct link_map *library, struct sp_alloc_next *next);

/* Context: hook. Does jemalloc serve the program? */
bool sp_alloc_is_jemalloc(void);

/* Context: init. Why not, in a few words; NULL if it does, or nobody asked for it. */
const char *sp_alloc_refusal(void);

#endif
