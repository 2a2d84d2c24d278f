/*
 * Jumps between stacks. A thread that makes or enters a coroutine (<ucontext.h>) with
 * a small stack gets an alternate stack for our handler; a jump out of a handler must
 * not meet our signal halfway. The observers run in host frames, called by the
 * stubs of tail_stub.S, and return where these jump to.
 */
#include "sp_signal.h"

#include "sp_compiler.h"
#include "sp_next.h"

#include <setjmp.h>
#include <ucontext.h>

void *sp_observe_makecontext(const ucontext_t *context);
void *sp_observe_swapcontext(void);
void *sp_observe_setcontext(void);
void *sp_observe_longjmp(void);
void *sp_observe_underscore_longjmp(void);
void *sp_observe_siglongjmp(void);
void *sp_observe_longjmp_chk(void);

void *sp_observe_makecontext(const ucontext_t *context)
{
	/* The real function writes to the context first thing: it can be read. */
	if (sp_unlikely(context->uc_stack.ss_size < SP_SIGNAL_STACK_BYTES_MIN))
		sp_signal_use_own_stack();
	return (void *)SP_NEXT(makecontext);
}

static void enter_context(void)
{
	/* A coroutine may run on another thread than the one that made it. */
	if (sp_unlikely(sp_signal_uses_own_stacks()))
		sp_signal_use_own_stack();
	sp_signal_before_jump();
}

void *sp_observe_swapcontext(void)
{
	enter_context();
	return (void *)SP_NEXT(swapcontext);
}

void *sp_observe_setcontext(void)
{
	enter_context();
	return (void *)SP_NEXT(setcontext);
}

void *sp_observe_longjmp(void)
{
	sp_signal_before_jump();
	return (void *)SP_NEXT(longjmp);
}

void *sp_observe_underscore_longjmp(void)
{
	sp_signal_before_jump();
	return (void *)SP_NEXT(_longjmp);
}

void *sp_observe_siglongjmp(void)
{
	sp_signal_before_jump();
	return (void *)SP_NEXT(siglongjmp);
}

/* longjmp() of programs compiled with _FORTIFY_SOURCE. */
void *sp_observe_longjmp_chk(void)
{
	sp_signal_before_jump();
	return SP_NEXT_AS("__longjmp_chk", void *);
}
