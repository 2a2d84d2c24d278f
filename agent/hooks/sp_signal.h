/*
 * The signal of the CPU timers, out of the program's sight and reach.
 *
 * It is the kernel's first real-time signal (32). The C library keeps that number
 * for itself, cancellation and timer threads, and takes it out of every set, mask,
 * action and range that a program works with: no program can block it, wait for
 * it, ignore it, reset it or read it back, in handlers and after siglongjmp() no
 * less than elsewhere. Debuggers pass it on silently, and Go's runtime leaves its
 * handler alone but for asking for the alternate stack. A hidden application
 * signal would need a shadow of every mask, and still show in a handler's saved
 * context.
 *
 * What the C library itself does with the number goes on: its timer threads wait for
 * theirs with the signal blocked, and its cancellation handler, installed at the
 * first pthread_cancel(), is found, kept and called for what is not from our timers.
 *
 *   thread stack          handler runs on it, unless ...
 *   small thread stack,   sp_signal_use_own_stack(): an alternate stack of ours
 *     small coroutine,    for this thread, unseen by sigaltstack()
 *     sigaction() of the
 *     program's own, OCaml 5
 *   program's small       masked while a handler of the program runs on it
 *     alternate stack
 */
#ifndef SP_SIGNAL_H
#define SP_SIGNAL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a stack must offer so that our handler fits beside what the program does
 * on it. Stacks of threads and coroutines below it get help. */
#define SP_SIGNAL_STACK_BYTES_MIN ((size_t)64 * 1024)

/* As the kernel reads and writes it. */
struct sp_signal_action {
	void *handler;
	uint64_t flags;
	void *restorer;
	uint64_t mask;
};

static inline uint64_t sp_signal_bit(int signo)
{
	return UINT64_C(1) << (signo - 1);
}

/*
 * Context: init. wanted 0: the hidden signal. Any other real-time signal may be named
 * for a program that uses that one by system calls of its own; it is then as open to
 * the program as any. Returns the number, or -EINVAL, or -EBUSY when the
 * named signal has a handler already.
 */
int sp_signal_choose(int wanted);

/* Context: signal. The number in force, whether or not it is installed yet. */
int sp_signal_number(void);

/*
 * Context: init, after sp_signal_choose(). Installs the handler with all signals
 * masked and SA_RESTART, and unblocks the signal in the calling thread.
 * handler must pass what its timers did not send to sp_signal_forward(). 0 or -errno.
 */
int sp_signal_install(void (*handler)(int, siginfo_t *, void *));

/* Context: signal. Has sp_signal_install() succeeded? */
bool sp_signal_is_installed(void);

/*
 * Context: hook; one system call. Puts our handler back if somebody replaced it,
 * keeping the replacement for sp_signal_forward(). True when it had to.
 */
bool sp_signal_verify(void);

/*
 * Context: signal. Does what the program's side would have done with a signal of our
 * number that our timers did not send. Must be the handler's last deed with all of
 * its state released: a cancelled thread never returns from it.
 */
void sp_signal_forward(int signo, siginfo_t *info, void *context);

/* Context: signal. Actions as the kernel keeps them; 0 or -errno. */
int sp_signal_read_action(int signo, struct sp_signal_action *action);
int sp_signal_write_action(int signo, const struct sp_signal_action *action,
			   struct sp_signal_action *replaced);

/* Context: hook. From now on the handler uses a thread's alternate stack. */
void sp_signal_ask_for_stack(void);

/*
 * Context: hook; cold, maps memory. The calling thread has, or will switch to, a stack
 * below SP_SIGNAL_STACK_BYTES_MIN: from now on the handler runs on an alternate stack
 * of ours there, unless the program gave the thread a large enough one. Nothing before
 * sp_signal_install().
 */
void sp_signal_use_own_stack(void);

/* Context: hook, at a thread's end. Gives that stack back. */
void sp_signal_thread_end(void);

/* Context: signal. Is any thread's handler on a stack of its own? */
bool sp_signal_uses_own_stacks(void);

/* Context: hook, before a jump that may leave a handler and restore a mask. */
void sp_signal_before_jump(void);

/*
 * Context: hook. sigaltstack() as the program sees it; next is the real one.
 * Afterwards *is_small says whether the stack it has set is too small for two handlers.
 */
int sp_signal_set_program_stack(const stack_t *stack, stack_t *old,
				int (*next)(const stack_t *, stack_t *), bool *is_small);

#endif
