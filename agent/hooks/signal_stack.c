/*
 * Room for our handler where the program's stacks have none. A coroutine of 8 KiB
 * cannot take a signal frame of 3.3 KB (AVX-512) and a handler's frames beside its
 * own, so threads that run such ones get an alternate stack of ours. Runs
 * in host frames, cold; sigaltstack() goes on telling the program what it has set.
 */
#include "sp_signal.h"

#include "sp_compiler.h"
#include "sp_pages.h"
#include "sp_syscall.h"

#include <stdatomic.h>
#include <sys/auxv.h>

#define OWN_STACK_BYTES ((size_t)64 * 1024)
/* What our handler needs beside two signal frames, its own and the program's. */
#define TWO_HANDLERS_BYTES ((size_t)8 * 1024)
#define SMALL_STACK_BYTES ((size_t)16 * 1024)
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

static _Atomic bool are_own_stacks_used;

/* Only the thread itself looks at it, our handler never. */
static SP_TLS struct {
	void *pages;	 /* ours, NULL until needed */
	stack_t program; /* what the program believes to be set, while ours is */
	bool is_set;	 /* the kernel has ours */
} self;

static int set_kernel_stack(const stack_t *stack, stack_t *old)
{
	return (int)sp_syscall2(SYS_sigaltstack, stack, old);
}

static bool is_small(const stack_t *stack)
{
	size_t frame_bytes = (size_t)getauxval(AT_MINSIGSTKSZ);
	size_t needed_bytes = TWO_HANDLERS_BYTES + 2 * frame_bytes;

	if (needed_bytes < SMALL_STACK_BYTES)
		needed_bytes = SMALL_STACK_BYTES;
	return (stack->ss_flags & SS_DISABLE) == 0 && stack->ss_size < needed_bytes;
}

bool sp_signal_uses_own_stacks(void)
{
	/* Relaxed: a thread that needs a stack set this itself, or was started or
	 * handed its coroutine by one that did. */
	return atomic_load_explicit(&are_own_stacks_used, memory_order_relaxed);
}

SP_COLD void sp_signal_use_own_stack(void)
{
	stack_t current, own = {.ss_size = OWN_STACK_BYTES};

	if (self.is_set || !sp_signal_is_installed())
		return;
	/* On the alternate stack now: it cannot be changed under a handler. */
	if (set_kernel_stack(NULL, &current) < 0 || (current.ss_flags & SS_ONSTACK) != 0)
		return;
	if ((current.ss_flags & SS_DISABLE) != 0 || is_small(&current)) {
		if (self.pages == NULL)
			self.pages = sp_pages_map(OWN_STACK_BYTES);
		if (self.pages == NULL)
			return;
		own.ss_sp = self.pages;
		/* A handler of the program that asks for an alternate stack without
		 * having one may run on ours, switch away and never come back: then
		 * the stack must not be thought free. */
		if ((current.ss_flags & SS_DISABLE) != 0)
			own.ss_flags = (int)SS_AUTODISARM;
		if (set_kernel_stack(&own, NULL) < 0)
			return;
		self.program = current;
		self.is_set = true;
	}
	atomic_store_explicit(&are_own_stacks_used, true, memory_order_relaxed);
	sp_signal_ask_for_stack();
}

void sp_signal_thread_end(void)
{
	static const stack_t none = {.ss_flags = SS_DISABLE};

	if (self.pages == NULL)
		return;
	if (self.is_set && set_kernel_stack(&none, NULL) < 0)
		return; /* running on it: it stays */
	self.is_set = false;
	sp_pages_unmap(self.pages, OWN_STACK_BYTES);
	self.pages = NULL;
}

/* What a read-back says: the program's stack; whether it is in use, from the kernel. */
static void show_program_stack(stack_t *shown, const stack_t *program)
{
	int is_in_use = shown->ss_flags & SS_ONSTACK;

	*shown = *program;
	if ((program->ss_flags & SS_DISABLE) == 0)
		shown->ss_flags |= is_in_use;
}

int sp_signal_set_program_stack(const stack_t *stack, stack_t *old,
				int (*next)(const stack_t *, stack_t *),
				bool *is_small_stack)
{
	bool was_set = self.is_set;
	int result = next(stack, old);

	*is_small_stack = false;
	if (result != 0)
		return result;
	if (was_set && old != NULL)
		show_program_stack(old, &self.program);
	if (stack == NULL)
		return result;
	/* The kernel took it, so it can be read. */
	*is_small_stack = is_small(stack);
	self.is_set = false;
	if (sp_signal_uses_own_stacks() && (was_set || *is_small_stack))
		sp_signal_use_own_stack();
	return result;
}
