/*
 * The few calls by which a program touches what our signal depends on. The signal's
 * number itself is out of their reach (sp_signal.h); what is left is alternate
 * stacks too small for two handlers, and the C library's own handler of that number.
 * Runs in host frames, mostly as one load and one branch before the real function.
 */
#include "sp_signal.h"

#include "sp_compiler.h"
#include "sp_next.h"
#include "sp_span_capture.h"
#include "sp_syscall.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define SIGNAL_COUNT 64
/* The C library's SIGSETXID, which no mask of a program may hold. */
#define SETXID_SIGNAL 33

/*
 * Set once a thread has an alternate stack too small for our handler on top of the
 * program's. From then on the kernel masks our signal while handlers run that
 * use alternate stacks; programs never see that bit.
 */
static _Atomic bool has_small_stacks;

static bool masks_handlers(void)
{
	/* Relaxed: the thread that set it re-installed the actions itself. */
	return sp_unlikely(atomic_load_explicit(&has_small_stacks, memory_order_relaxed));
}

static bool uses_alternate_stack(void *handler, uint64_t flags)
{
	return (flags & SA_ONSTACK) != 0 && handler != (void *)SIG_DFL &&
	       handler != (void *)SIG_IGN;
}

static uint64_t *first_word(sigset_t *set)
{
	return (uint64_t *)set;
}

static uint64_t own_bit(void)
{
	return sp_signal_bit(sp_signal_number());
}

/* Adds our bit to one installed action, without losing one installed meanwhile. */
static void mask_installed_handler(int signo)
{
	struct sp_signal_action seen, masked, replaced;

	if (sp_signal_read_action(signo, &seen) < 0)
		return;
	while (uses_alternate_stack(seen.handler, seen.flags) &&
	       (seen.mask & own_bit()) == 0) {
		masked = seen;
		masked.mask |= own_bit();
		if (sp_signal_write_action(signo, &masked, &replaced) < 0)
			return;
		if (replaced.handler == seen.handler && replaced.flags == seen.flags &&
		    replaced.mask == seen.mask)
			return;
		/* Another thread was faster: its action must be the last. */
		if (sp_signal_write_action(signo, &replaced, NULL) < 0)
			return;
		seen = replaced;
	}
}

static SP_COLD void begin_masking_handlers(void)
{
	if (atomic_exchange_explicit(&has_small_stacks, true, memory_order_relaxed))
		return;
	for (int signo = 1; signo <= SIGNAL_COUNT; signo++)
		if (signo != sp_signal_number() && signo != SETXID_SIGNAL)
			mask_installed_handler(signo);
}

static void note_for_spans(const stack_t *stack)
{
	uint64_t low = (uint64_t)(uintptr_t)stack->ss_sp;

	if (stack->ss_flags & SS_DISABLE)
		sp_span_set_signal_stack(0, 0);
	else
		sp_span_set_signal_stack(low, low + stack->ss_size);
}

static SP_COLD int set_alternate_stack(const stack_t *stack, stack_t *old)
{
	stack_t given;
	bool is_small;
	int result;

	/* The kernel writes the old one where the program says, also over this. */
	if (stack != NULL && stack == old) {
		given = *stack;
		stack = &given;
	}
	result = sp_signal_set_program_stack(stack, old, SP_NEXT(sigaltstack), &is_small);
	if (is_small && sp_signal_is_installed())
		begin_masking_handlers();
	if (result == 0 && stack != NULL)
		note_for_spans(stack);
	return result;
}

SP_EXPORT int sigaltstack(const stack_t *stack, stack_t *old)
{
	/* Asked from a handler, the answer depends on where the stack pointer is: a
	 * jump, so that no frame of ours lies between. */
	if (stack == NULL && !sp_signal_uses_own_stacks())
		return SP_NEXT(sigaltstack)(stack, old);
	return set_alternate_stack(stack, old);
}

static SP_COLD int set_masked_action(int signo, const struct sigaction *action,
				     struct sigaction *old)
{
	struct sigaction masked;
	int result;

	/* The C library looks at the action only when the number is right. */
	if (action != NULL && signo > 0 && signo <= SIGNAL_COUNT &&
	    uses_alternate_stack((void *)action->sa_handler,
				 (uint64_t)action->sa_flags)) {
		masked = *action;
		*first_word(&masked.sa_mask) |= own_bit();
		action = &masked;
	}
	result = SP_NEXT(sigaction)(signo, action, old);
	if (result == 0 && old != NULL &&
	    uses_alternate_stack((void *)old->sa_handler, (uint64_t)old->sa_flags))
		*first_word(&old->sa_mask) &= ~own_bit();
	return result;
}

SP_EXPORT int sigaction(int signo, const struct sigaction *action, struct sigaction *old)
{
	if (masks_handlers())
		return set_masked_action(signo, action, old);
	return SP_NEXT(sigaction)(signo, action, old);
}

/* Exported by the C library, declared by nobody. */
SP_EXPORT int __sigaction(int signo, const struct sigaction *action,
			  struct sigaction *old);

SP_EXPORT int __sigaction(int signo, const struct sigaction *action,
			  struct sigaction *old)
{
	return sigaction(signo, action, old);
}

/*
 * A handler on a small alternate stack that sets a mask: the C library takes our
 * signal out of the mask, which would let it in. 0 or an error number.
 */
static SP_COLD int set_mask_within_handler(int how, const sigset_t *set, sigset_t *old)
{
	int (*next)(int, const sigset_t *, sigset_t *) = SP_NEXT(pthread_sigmask);
	uint64_t current = 0, wanted;
	int result;

	sp_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &current, sizeof(current));
	if ((current & own_bit()) == 0)
		return next(how, set, old);
	if (set != NULL && how == SIG_SETMASK) {
		wanted = *(const uint64_t *)set;
		wanted &= ~sp_signal_bit(SETXID_SIGNAL);
		wanted |= own_bit();
		result = -(int)sp_syscall4(SYS_rt_sigprocmask, how, &wanted, old,
					   sizeof(wanted));
	} else {
		result = next(how, set, old);
	}
	if (result == 0 && old != NULL)
		*first_word(old) &= ~own_bit();
	return result;
}

SP_EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	if (masks_handlers())
		return set_mask_within_handler(how, set, old);
	return SP_NEXT(pthread_sigmask)(how, set, old);
}

SP_EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	if (masks_handlers()) {
		int err = set_mask_within_handler(how, set, old);

		if (err != 0)
			errno = err;
		return err == 0 ? 0 : -1;
	}
	return SP_NEXT(sigprocmask)(how, set, old);
}

/*
 * The jump out of such a handler restores the mask first and leaves the stack after:
 * a signal of ours that waits would come in between. It is taken now and counts as
 * never sent; the thread's exact CPU time makes up for its weight.
 */
static SP_COLD void drop_waiting_tick(void)
{
	static const struct timespec at_once = {0, 0};
	uint64_t current = 0, own = own_bit();
	siginfo_t info;

	sp_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &current, sizeof(current));
	if ((current & own) == 0 ||
	    sp_syscall4(SYS_rt_sigtimedwait, &own, &info, &at_once, sizeof(own)) < 0)
		return;
	if (info.si_code != SI_TIMER) /* a cancellation: not ours to drop */
		sp_syscall3(SYS_tgkill, sp_syscall0(SYS_getpid), sp_syscall0(SYS_gettid),
			    sp_signal_number());
}

void sp_signal_before_jump(void)
{
	if (masks_handlers())
		drop_waiting_tick();
}

/*
 * The first call installs the C library's handler over ours: ours comes back at
 * once and passes on to that one.
 */
SP_EXPORT int pthread_cancel(pthread_t thread)
{
	static _Atomic bool is_taken_over;
	int result;

	/* Relaxed: at worst two threads verify. */
	if (sp_likely(atomic_load_explicit(&is_taken_over, memory_order_relaxed)))
		return SP_NEXT(pthread_cancel)(thread);
	sp_signal_verify();
	result = SP_NEXT(pthread_cancel)(thread);
	if (sp_signal_verify())
		atomic_store_explicit(&is_taken_over, true, memory_order_relaxed);
	return result;
}
