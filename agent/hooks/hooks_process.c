/*
 * Whose process this is, and what changes that: _Fork, clone, chroot, and the calls
 * that refuse a process with more than one thread. Each hook asks first whether this is
 * our process at all: a vfork child shares our memory, and what it does is not ours to
 * report. Context: hook, cold.
 */
#include "sp_hooks.h"

#include "sp_capture.h"
#include "sp_compiler.h"
#include "sp_next.h"
#include "sp_signal.h"
#include "sp_syscall.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static const struct sp_hook_calls *_Atomic hook_calls;

void sp_hooks_set_calls(const struct sp_hook_calls *calls)
{
	atomic_store_explicit(&hook_calls, calls, memory_order_release);
}

bool sp_hooks_is_own_process(void)
{
	/* A child in another namespace may have its parent's number. */
	return sp_capture_is_own_process() &&
	       (uint32_t)sp_syscall0(SYS_getpid) ==
		       atomic_load_explicit(&sp_capture.process_id, memory_order_relaxed);
}

bool sp_hooks_are_set(void)
{
	return atomic_load_explicit(&hook_calls, memory_order_acquire) != NULL;
}

const struct sp_hook_calls *sp_hooks_own_calls(void)
{
	const struct sp_hook_calls *calls =
		atomic_load_explicit(&hook_calls, memory_order_acquire);

	return calls && sp_hooks_is_own_process() ? calls : NULL;
}

/* A fork that runs no fork handlers; the child may be one of a signal handler. */
SP_EXPORT pid_t _Fork(void)
{
	const struct sp_hook_calls *calls = sp_hooks_own_calls();
	pid_t pid = SP_NEXT(_Fork)();

	if (pid == 0 && calls) {
		int saved_errno = errno;

		calls->forked();
		errno = saved_errno;
	}
	return pid;
}

struct clone_child {
	int (*function)(void *);
	void *argument;
	const struct sp_hook_calls *calls; /* another thread may take them away */
};

/* In a process of its own, with a copy of its parent's frames. */
static int run_clone_child(void *argument)
{
	const struct clone_child child = *(const struct clone_child *)argument;
	const struct sp_hook_calls *calls;
	int saved_errno = errno;
	int status;

	/* Nobody knows how small the program's stack is. */
	sp_signal_use_own_stack();
	child.calls->forked();
	errno = saved_errno;
	status = child.function(child.argument);
	/* The C library goes on to the bare system call. */
	calls = sp_hooks_own_calls();
	if (calls)
		calls->before_exit();
	return status;
}

/* What a child that is not one of these shares with us, it could not do without. */
#define CLONE_SHARED (CLONE_VM | CLONE_FILES | CLONE_SETTLS)

SP_EXPORT int clone(int (*function)(void *), void *stack, int flags, void *argument, ...)
{
	struct clone_child child = {.function = function, .argument = argument};
	pid_t *parent_tid, *child_tid;
	void *thread_pointer;
	va_list list;

	/* Those that are not there are not looked at. */
	va_start(list, argument);
	parent_tid = va_arg(list, pid_t *);
	thread_pointer = va_arg(list, void *);
	child_tid = va_arg(list, pid_t *);
	va_end(list);
	if (function && !(flags & CLONE_SHARED))
		child.calls = sp_hooks_own_calls();
	if (child.calls) {
		function = run_clone_child;
		argument = &child;
	}
	return SP_NEXT(clone)(function, stack, flags, argument, parent_tid,
			      thread_pointer, child_tid);
}

/* Our thread keeps the root it was started with, once it has run. */
SP_EXPORT int chroot(const char *path)
{
	const struct sp_hook_calls *calls = sp_hooks_own_calls();

	if (calls) {
		int saved_errno = errno;

		calls->before_chroot();
		errno = saved_errno;
	}
	return SP_NEXT(chroot)(path);
}

/* The kernel lets only a process of one thread into another user or time
 * namespace, and the mount namespace wants a file system state of one's own. */
#define ALONE_FLAGS (CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)
#define ALONE_NAMESPACES (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWTIME)

static bool unshares_alone(long flags)
{
	return flags & ALONE_FLAGS;
}

static bool enters_alone(long type)
{
	return !type || type & ALONE_NAMESPACES;
}

/* For who is to be told that it is over; NULL: it was not needed, or cannot be had. */
static const struct sp_hook_calls *be_alone(bool is_needed)
{
	const struct sp_hook_calls *calls = is_needed ? sp_hooks_own_calls() : NULL;

	return calls && calls->pause_reporter() ? calls : NULL;
}

static void be_alone_no_more(const struct sp_hook_calls *calls)
{
	int saved_errno = errno;

	if (calls)
		calls->resume_reporter();
	errno = saved_errno;
}

SP_EXPORT int unshare(int flags)
{
	const struct sp_hook_calls *calls = be_alone(unshares_alone(flags));
	int result = SP_NEXT(unshare)(flags);

	be_alone_no_more(calls);
	return result;
}

SP_EXPORT int setns(int namespace_fd, int type)
{
	const struct sp_hook_calls *calls = be_alone(enters_alone(type));
	int result = SP_NEXT(setns)(namespace_fd, type);

	be_alone_no_more(calls);
	return result;
}

/* By syscall(), as programs do that were written before the C library had them. */
long sp_hooks_move_by_syscall(long number, long first, long second)
{
	const struct sp_hook_calls *calls = be_alone(
		number == SYS_unshare ? unshares_alone(first) : enters_alone(second));
	long result = SP_NEXT(syscall)(number, first, second);

	be_alone_no_more(calls);
	return result;
}
