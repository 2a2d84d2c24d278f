/*
 * Our signal's handler: installed once, for ever, found again if somebody replaced
 * it, passing on what is not ours. Runs in host frames and in the signal itself; uses
 * the kernel's calls only, since the C library refuses to name this signal.
 */
#include "sp_signal.h"

#include "sp_compiler.h"
#include "sp_next.h"
#include "sp_syscall.h"

#include <errno.h>
#include <stdatomic.h>

/* The C library's SIGCANCEL: below SIGRTMIN as programs know it. */
#define HIDDEN_SIGNAL 32
/* SIGRTMIN and SIGRTMAX, which are calls. */
#define OPEN_SIGNAL_MIN 34
#define OPEN_SIGNAL_MAX 64
#define KERNEL_SIGSET_BYTES 8
#define KERNEL_SA_RESTORER UINT64_C(0x04000000)

/* signal_restorer.S */
extern const char sp_signal_restorer[];

static _Atomic int number = HIDDEN_SIGNAL;
static void (*_Atomic own_handler)(int, siginfo_t *, void *);
static _Atomic uint64_t own_flags;

/* What the signal would do without us. Written rarely, handler last. */
static struct {
	void *_Atomic handler;
	_Atomic uint64_t flags;
	_Atomic uint64_t mask;
} program;

int sp_signal_number(void)
{
	/* Relaxed: changes once, before there is a second thread. */
	return atomic_load_explicit(&number, memory_order_relaxed);
}

int sp_signal_read_action(int signo, struct sp_signal_action *action)
{
	return (int)sp_syscall4(SYS_rt_sigaction, signo, NULL, action,
				KERNEL_SIGSET_BYTES);
}

int sp_signal_write_action(int signo, const struct sp_signal_action *action,
			   struct sp_signal_action *replaced)
{
	return (int)sp_syscall4(SYS_rt_sigaction, signo, action, replaced,
				KERNEL_SIGSET_BYTES);
}

/* In the calling thread. */
static void unblock(void)
{
	uint64_t mask = sp_signal_bit(sp_signal_number());

	sp_syscall4(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, NULL, KERNEL_SIGSET_BYTES);
}

int sp_signal_choose(int wanted)
{
	struct sp_signal_action action;

	if (wanted == 0)
		wanted = HIDDEN_SIGNAL;
	if (wanted != HIDDEN_SIGNAL) {
		if (wanted < OPEN_SIGNAL_MIN || wanted > OPEN_SIGNAL_MAX)
			return -EINVAL;
		if (sp_signal_read_action(wanted, &action) < 0)
			return -EINVAL;
		if (action.handler != (void *)SIG_DFL &&
		    action.handler != (void *)SIG_IGN)
			return -EBUSY;
	}
	atomic_store_explicit(&number, wanted, memory_order_relaxed);
	return wanted;
}

static struct sp_signal_action own_action(void)
{
	return (struct sp_signal_action){
		.handler =
			(void *)atomic_load_explicit(&own_handler, memory_order_relaxed),
		.flags = atomic_load_explicit(&own_flags, memory_order_relaxed),
		.restorer = (void *)sp_signal_restorer,
		.mask = ~UINT64_C(0),
	};
}

static void keep_for_program(const struct sp_signal_action *action)
{
	atomic_store_explicit(&program.flags, action->flags, memory_order_relaxed);
	atomic_store_explicit(&program.mask, action->mask, memory_order_relaxed);
	/* Pairs with the acquire in sp_signal_forward(): who sees the handler sees
	 * the flags and mask that belong to it. */
	atomic_store_explicit(&program.handler, action->handler, memory_order_release);
}

bool sp_signal_is_installed(void)
{
	return atomic_load_explicit(&own_handler, memory_order_relaxed) != NULL;
}

/*
 * Compiled code that has the stack pointer in a heap, with nothing to spare below it.
 * Erlang's lays down by a sigaction() of its own that handlers run on alternate stacks;
 * where others have one it does no harm. OCaml's needs it since its version 5, which has
 * this function.
 */
static bool has_stacks_in_heap(void)
{
	return !sp_next_is_ours_first("sigaction") ||
	       sp_next_find_first("caml_try_realloc_stack", NULL) != NULL;
}

int sp_signal_install(void (*handler)(int, siginfo_t *, void *))
{
	struct sp_signal_action action, replaced;
	int err;

	atomic_store_explicit(&own_handler, handler, memory_order_relaxed);
	atomic_fetch_or_explicit(&own_flags, SA_SIGINFO | SA_RESTART | KERNEL_SA_RESTORER,
				 memory_order_relaxed);
	err = sp_signal_read_action(sp_signal_number(), &replaced);
	if (err < 0)
		return err;
	keep_for_program(&replaced);
	action = own_action();
	err = sp_signal_write_action(sp_signal_number(), &action, NULL);
	if (err < 0)
		return err;
	if (has_stacks_in_heap())
		sp_signal_use_own_stack();
	unblock();
	return 0;
}

SP_COLD bool sp_signal_verify(void)
{
	struct sp_signal_action found, own = own_action();

	if (own.handler == NULL || sp_signal_read_action(sp_signal_number(), &found) < 0)
		return false;
	/* Runtimes with small stacks (Go) ask for the alternate stack by editing the
	 * action they find; that wish outlives any later replacement. */
	if ((found.flags & SA_ONSTACK) != 0 && found.handler != (void *)SIG_DFL &&
	    found.handler != (void *)SIG_IGN)
		own.flags |= atomic_fetch_or_explicit(&own_flags, SA_ONSTACK,
						      memory_order_relaxed) |
			     SA_ONSTACK;
	if (found.handler == own.handler)
		return false;
	/* Kept before it is replaced: a cancellation may arrive between the two. */
	keep_for_program(&found);
	if (sp_signal_write_action(sp_signal_number(), &own, &found) < 0)
		return false;
	if (found.handler != own.handler)
		keep_for_program(&found);
	return true;
}

void sp_signal_ask_for_stack(void)
{
	struct sp_signal_action found, own;
	uint64_t before =
		atomic_fetch_or_explicit(&own_flags, SA_ONSTACK, memory_order_relaxed);

	if ((before & SA_ONSTACK) != 0)
		return;
	/* Not installed yet, or replaced: installing and verifying use the flags. */
	own = own_action();
	if (own.handler != NULL &&
	    sp_signal_read_action(sp_signal_number(), &found) == 0 &&
	    found.handler == own.handler)
		sp_signal_write_action(sp_signal_number(), &own, NULL);
}

/* The default action of a real-time signal ends the process. */
static SP_COLD void end_process(int signo)
{
	static const struct sp_signal_action by_default = {.handler = NULL};
	long pid = sp_syscall0(SYS_getpid);

	sp_signal_write_action(signo, &by_default, NULL);
	sp_syscall3(SYS_tgkill, pid, sp_syscall0(SYS_gettid), signo);
	unblock();
}

void sp_signal_forward(int signo, siginfo_t *info, void *context)
{
	const ucontext_t *interrupted = context;
	/* Pairs with the release in keep_for_program(). */
	void *handler = atomic_load_explicit(&program.handler, memory_order_acquire);
	uint64_t flags, mask;

	if (handler == (void *)SIG_IGN)
		return;
	if (handler == (void *)SIG_DFL) {
		/* A timer's signal may outlive the timer, but never ends a program. */
		if (info->si_code != SI_TIMER)
			end_process(signo);
		return;
	}
	/* The kernel's own arithmetic, so that a handler that never returns (it unwinds
	 * a cancelled thread) leaves the mask that it would have left without us. */
	flags = atomic_load_explicit(&program.flags, memory_order_relaxed);
	mask = atomic_load_explicit(&program.mask, memory_order_relaxed) |
	       *(const uint64_t *)&interrupted->uc_sigmask;
	if ((flags & SA_NODEFER) == 0)
		mask |= sp_signal_bit(signo);
	sp_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, KERNEL_SIGSET_BYTES);
	((void (*)(int, siginfo_t *, void *))handler)(signo, info, context);
}
