/*
 * The private jemalloc's state of a thread: memory of its own that a thread gets at its
 * first call, where the archive has it in thread-local storage (thread_calls.c). So a
 * thread that never calls it has none.
 */
#ifndef SP_JEMALLOC_THREAD_H
#define SP_JEMALLOC_THREAD_H

#include "sp_compiler.h"

#include <stdbool.h>
#include <stddef.h>

/* From the thread pointer to the thread's state; 0: it has none. */
extern SP_HIDDEN SP_TLS ptrdiff_t sp_je_thread_distance;
/* It is for one call only, as the thread is past its end, or as there is no memory. */
extern SP_HIDDEN SP_TLS bool sp_je_thread_is_for_call;

/* Context of all below as sp_je_malloc() has it; errno is kept. */
void sp_je_thread_begin(void);
void sp_je_thread_end_call(void);

/* Whoever finds one may call jemalloc, and need not enter. */
static inline bool sp_je_thread_has_state(void)
{
	return sp_je_thread_distance != 0;
}

/* Else around each call of jemalloc's: in front of it, and behind what was done with its
 * result. Within another call of jemalloc's that is nothing. */
static inline void sp_je_thread_enter(void)
{
	if (sp_unlikely(!sp_je_thread_has_state()))
		sp_je_thread_begin();
}

/* Whoever then goes on to another call enters again. */
static inline void sp_je_thread_leave(void)
{
	if (sp_unlikely(sp_je_thread_is_for_call))
		sp_je_thread_end_call();
}

/* In a fork child, after the state of a thread that is not there. */
void sp_je_thread_forked(void);

#endif
