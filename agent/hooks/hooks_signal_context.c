/*
 * Jumps between stacks. A thread that makes or enters a coroutine (<ucontext.h>) with
 * a small stack gets an alternate stack for our handler; a jump out of a handler must
 * not meet our signal halfway, finishes what it leaves of ours, and ends spans whose
 * frames it leaves. The observers run in host frames, called by the stubs of
 * tail_stub.S, and return where these jump to.
 */
#include "sp_signal.h"

#include "sp_capture.h"
#include "sp_compiler.h"
#include "sp_heap_capture.h"
#include "sp_next.h"
#include "sp_span_capture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdint.h>
#include <ucontext.h>

void *sp_observe_makecontext(const ucontext_t *context);
void *sp_observe_swapcontext(const ucontext_t *from, const ucontext_t *to);
void *sp_observe_setcontext(const ucontext_t *to);
void *sp_observe_longjmp(const struct __jmp_buf_tag *target);
void *sp_observe_underscore_longjmp(const struct __jmp_buf_tag *target);
void *sp_observe_siglongjmp(const struct __jmp_buf_tag *target);
void *sp_observe_longjmp_chk(const struct __jmp_buf_tag *target);

void *sp_observe_makecontext(const ucontext_t *context)
{
	/* The real function writes to the context first thing: it can be read. */
	if (sp_unlikely(context->uc_stack.ss_size < SP_SIGNAL_STACK_BYTES_MIN))
		sp_signal_use_own_stack();
	return (void *)SP_NEXT(makecontext);
}

/* A context that was not made, but got, has no stack of its own, or says nonsense. */
static void switch_stack(const ucontext_t *to)
{
	uint64_t stack_pointer = (uint64_t)to->uc_mcontext.gregs[REG_RSP];
	uint64_t low = (uint64_t)(uintptr_t)to->uc_stack.ss_sp;
	uint64_t high = low + to->uc_stack.ss_size;

	if (stack_pointer >= low && stack_pointer <= high)
		sp_span_switch_stack(stack_pointer, low, high);
	else
		sp_span_switch_stack(stack_pointer, 0, 0);
}

/* Out of the handler of abort(), or one that came upon an end: there is none. */
static void go_on(void)
{
	if (sp_unlikely(atomic_load_explicit(&sp_capture.ending_thread,
					     memory_order_relaxed)))
		sp_capture.goes_on();
}

static void enter_context(const ucontext_t *to)
{
	int saved_errno = errno;

	go_on();

	/* A coroutine may run on another thread than the one that made it. */
	if (sp_unlikely(sp_signal_uses_own_stacks()))
		sp_signal_use_own_stack();
	sp_signal_before_jump();
	switch_stack(to);
	errno = saved_errno;
}

void *sp_observe_swapcontext(const ucontext_t *from, const ucontext_t *to)
{
	(void)from;
	enter_context(to);
	return (void *)SP_NEXT(swapcontext);
}

void *sp_observe_setcontext(const ucontext_t *to)
{
	enter_context(to);
	sp_heap_before_jump((uint64_t)to->uc_mcontext.gregs[REG_RSP]);
	return (void *)SP_NEXT(setcontext);
}

/* The C library hides addresses in a jump's target: rotated, and mixed with a secret
 * of the process that it keeps beside the thread pointer. */
static uint64_t stack_pointer_of(const struct __jmp_buf_tag *target)
{
	uint64_t value = (uint64_t)target->__jmpbuf[6];

	__asm__("rorq $17, %0\n\txorq %%fs:0x30, %0" : "+r"(value));
	return value;
}

static void before_jump(const struct __jmp_buf_tag *target)
{
	uint64_t stack_pointer = stack_pointer_of(target);
	int saved_errno = errno;

	go_on();
	sp_signal_before_jump();
	sp_heap_before_jump(stack_pointer);
	sp_span_before_jump(stack_pointer);
	errno = saved_errno;
}

void *sp_observe_longjmp(const struct __jmp_buf_tag *target)
{
	before_jump(target);
	return (void *)SP_NEXT(longjmp);
}

void *sp_observe_underscore_longjmp(const struct __jmp_buf_tag *target)
{
	before_jump(target);
	return (void *)SP_NEXT(_longjmp);
}

void *sp_observe_siglongjmp(const struct __jmp_buf_tag *target)
{
	before_jump(target);
	return (void *)SP_NEXT(siglongjmp);
}

/* longjmp() of programs compiled with _FORTIFY_SOURCE. */
void *sp_observe_longjmp_chk(const struct __jmp_buf_tag *target)
{
	before_jump(target);
	return SP_NEXT_AS("__longjmp_chk", void *);
}
