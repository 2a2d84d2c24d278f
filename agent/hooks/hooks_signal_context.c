/*
 * Coroutines of <ucontext.h>: a thread that makes or enters one with a small
 * stack gets an alternate stack for our handler. The observers run in host frames,
 * called by the stubs of tail_stub.S, and return where these jump to.
 */
#include "sp_signal.h"

#include "sp_compiler.h"
#include "sp_next.h"

#include <ucontext.h>

void *sp_observe_makecontext(const ucontext_t *context);
void *sp_observe_swapcontext(void);
void *sp_observe_setcontext(void);

void *sp_observe_makecontext(const ucontext_t *context)
{
	/* The real function writes to the context first thing: it can be read. */
	if (sp_unlikely(context->uc_stack.ss_size < SP_SIGNAL_STACK_BYTES_MIN))
		sp_signal_use_own_stack();
	return (void *)SP_NEXT(makecontext);
}

/* A coroutine may run on another thread than the one that made it. */
void *sp_observe_swapcontext(void)
{
	if (sp_unlikely(sp_signal_uses_own_stacks()))
		sp_signal_use_own_stack();
	return (void *)SP_NEXT(swapcontext);
}

void *sp_observe_setcontext(void)
{
	if (sp_unlikely(sp_signal_uses_own_stacks()))
		sp_signal_use_own_stack();
	return (void *)SP_NEXT(setcontext);
}
