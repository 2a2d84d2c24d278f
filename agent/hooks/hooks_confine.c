/*
 * prctl() and syscall(). Programs that give up system calls (seccomp), send them to a
 * handler of their own (syscall user dispatch) or give up the time stamp counter, and
 * those that fork, end, name a thread or change namespaces by the bare system call. Where
 * the agent could not go on without ending them, it ends its own work first. Filters that
 * leave it what it needs change nothing. Context: hook, cold; the observer of syscall()
 * runs before every one of them.
 */
#include "sp_hooks.h"

#include "sp_compiler.h"
#include "sp_next.h"
#include "sp_pages.h"
#include "sp_sample_labels.h"
#include "sp_seccomp_filter.h"
#include "sp_seccomp_needs.h"
#include "sp_syscall.h"

#include <errno.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

void *sp_observe_syscall(long number, long operation, long flags, const void *argument);

static bool read_own_memory(const void *address, void *out, size_t bytes)
{
	struct iovec local = {.iov_base = out, .iov_len = bytes};
	struct iovec remote = {.iov_base = (void *)(uintptr_t)address, .iov_len = bytes};

	return sp_syscall6(SYS_process_vm_readv, sp_syscall0(SYS_gettid), (long)&local, 1,
			   (long)&remote, 1, 0) == (long)bytes;
}

static bool leaves(const struct sock_filter *filter, uint32_t length,
		   const struct sp_seccomp_need *needs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!sp_seccomp_is_survivable(
			    sp_seccomp_filter_run(filter, length, needs[i].number)))
			return false;
	return true;
}

/* Also true where the kernel will refuse the program, as with an address of NULL,
 * by which some ask what it knows. */
static bool can_live_with(const void *address)
{
	struct sock_fprog program;
	struct sock_filter *filter;
	size_t bytes;
	bool can_live = true;

	/* Not profiled, perhaps for a filter that kills for what would be called here. */
	if (!address || !sp_hooks_own_calls())
		return true;
	if (!read_own_memory(address, &program, sizeof(program)))
		return false;
	if (!program.len || program.len > BPF_MAXINSNS)
		return true;
	bytes = program.len * sizeof(*filter);
	filter = sp_pages_map(bytes);
	if (!filter)
		return false;
	can_live = read_own_memory(program.filter, filter, bytes) &&
		   leaves(filter, program.len, sp_seccomp_needs, sp_seccomp_need_count);
	if (can_live &&
	    !leaves(filter, program.len, sp_seccomp_rights, sp_seccomp_rights_count))
		sp_hooks_rights_forbid();
	sp_pages_unmap(filter, bytes);
	return can_live;
}

static void announce_confinement(void)
{
	const struct sp_hook_calls *calls = sp_hooks_own_calls();

	if (calls)
		calls->before_confinement();
}

/* Does this prctl() take from us what we need? */
static bool is_confining(int option, unsigned long mode, const void *filter)
{
	switch (option) {
	case PR_SET_SECCOMP:
		return mode == SECCOMP_MODE_STRICT ||
		       (mode == SECCOMP_MODE_FILTER && !can_live_with(filter));
	case PR_SET_TSC:
		return mode == PR_TSC_SIGSEGV;
	case PR_SET_SYSCALL_USER_DISPATCH:
		/* Our handler's own return is a call of those, with SIGSYS masked. */
		return mode != PR_SYS_DISPATCH_OFF;
	default:
		return false;
	}
}

/* As is_confining(), of seccomp(). The strict mode takes neither flags nor an argument:
 * libseccomp gives it some to learn whether the kernel has the call. */
static bool is_confining_by_seccomp(long operation, long flags, const void *filter)
{
	if ((unsigned int)operation == SECCOMP_SET_MODE_STRICT)
		return !(unsigned int)flags && !filter;
	return (unsigned int)operation == SECCOMP_SET_MODE_FILTER &&
	       !can_live_with(filter);
}

static void announce_end(void)
{
	const struct sp_hook_calls *calls = sp_hooks_own_calls();

	if (calls)
		calls->before_exit();
}

SP_EXPORT int prctl(int option, ...)
{
	unsigned long arguments[4];
	int saved_errno = errno, result;
	va_list list;

	/* As many as the kernel takes; those that are not there are not looked at. */
	va_start(list, option);
	for (size_t i = 0; i < SP_ARRAY_COUNT(arguments); i++)
		arguments[i] = va_arg(list, unsigned long);
	va_end(list);
	if (is_confining(option, arguments[0], (const void *)arguments[1]))
		announce_confinement();
	errno = saved_errno;
	result = SP_NEXT(prctl)(option, arguments[0], arguments[1], arguments[2],
				arguments[3]);
	if (option == PR_SET_NAME)
		sp_sample_thread_name_changed();
	return result;
}

/*
 * Does it make a process that goes on here, in memory, descriptors and thread pointer of
 * its own?
 */
static bool is_fork(long number, long first, long second)
{
	const unsigned long shared = CLONE_VM | CLONE_FILES | CLONE_SETTLS;
	struct clone_args arguments;

	switch (number) {
	case SYS_fork:
		return true;
	case SYS_clone:
		return !((unsigned long)first & shared) && !second;
	case SYS_clone3:
		return second >= CLONE_ARGS_SIZE_VER0 &&
		       read_own_memory((const void *)first, &arguments,
				       CLONE_ARGS_SIZE_VER0) &&
		       !(arguments.flags & shared) && !arguments.stack;
	default:
		return false;
	}
}

static long fork_by_syscall(long number, long first, long second, long third, long fourth,
			    long fifth)
{
	const struct sp_hook_calls *calls = sp_hooks_own_calls();
	long pid = SP_NEXT(syscall)(number, first, second, third, fourth, fifth);

	if (pid == 0 && calls) {
		int saved_errno = errno;

		calls->forked();
		errno = saved_errno;
	}
	return pid;
}

static long name_by_syscall(long number, long operation, long name)
{
	long result = SP_NEXT(syscall)(number, operation, name);

	sp_sample_thread_name_changed();
	return result;
}

void *sp_observe_syscall(long number, long operation, long flags, const void *argument)
{
	int saved_errno;

	if (sp_unlikely(number == SYS_seccomp)) {
		saved_errno = errno;
		if (is_confining_by_seccomp(operation, flags, argument))
			announce_confinement();
		errno = saved_errno;
	} else if (sp_unlikely(number == SYS_prctl)) {
		saved_errno = errno;
		if (is_confining((int)operation, (unsigned long)flags, argument))
			announce_confinement();
		errno = saved_errno;
		if ((int)operation == PR_SET_NAME)
			return (void *)name_by_syscall;
	} else if (sp_unlikely(number == SYS_exit_group)) {
		announce_end();
	} else if (sp_unlikely(number == SYS_fork || number == SYS_clone ||
			       number == SYS_clone3)) {
		/* Where nobody is told, nobody need know. */
		if (sp_hooks_own_calls() && is_fork(number, operation, flags))
			return (void *)fork_by_syscall;
	} else if (sp_unlikely(number == SYS_unshare || number == SYS_setns)) {
		return (void *)sp_hooks_move_by_syscall;
	}
	return (void *)SP_NEXT(syscall);
}
