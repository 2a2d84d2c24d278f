/*
 * confined MODE: burns 300 ms, gives up system calls or the time stamp counter as
 * MODE says, works on for longer than a timer's period, writes "done", ends. With
 * "dispatch..." all system calls of that work are SIGSYS, for which there is no handler.
 */
#include "burn.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define ALLOW(call)                                                                      \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1),                           \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static struct sock_filter few_calls[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	ALLOW(write),
	ALLOW(exit),
	ALLOW(exit_group),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

static struct sock_filter all_but_reboot[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_reboot, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

/* The agent needs it to tell the user what became of the profiles. */
static struct sock_filter all_but_poll[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_poll, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static struct sock_fprog strict_filter = {
	.len = sizeof(few_calls) / sizeof(few_calls[0]),
	.filter = few_calls,
};
static struct sock_fprog loose_filter = {
	.len = sizeof(all_but_reboot) / sizeof(all_but_reboot[0]),
	.filter = all_but_reboot,
};
static struct sock_fprog no_poll_filter = {
	.len = sizeof(all_but_poll) / sizeof(all_but_poll[0]),
	.filter = all_but_poll,
};

/* What the kernel looks at before each system call: are they SIGSYS? */
static volatile char dispatch_selector = SYSCALL_DISPATCH_FILTER_ALLOW;

/* No system call: some 100 ms. */
static NOINLINE void work_on(void)
{
	for (uint64_t i = 0; i < 200000000; i++)
		__asm__ volatile("" : "+r"(i));
}

static void *work_beside(void *argument)
{
	for (;;)
		__asm__ volatile("");
	return argument;
}

static long confine(const char *mode)
{
	if (strcmp(mode, "strict") == 0)
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	if (strcmp(mode, "no_counter") == 0)
		return prctl(PR_SET_TSC, PR_TSC_SIGSEGV);
	if (strcmp(mode, "dispatch") == 0)
		return prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0,
			     &dispatch_selector);
	if (strcmp(mode, "dispatch_syscall") == 0)
		return syscall(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH,
			       PR_SYS_DISPATCH_ON, 0, 0, &dispatch_selector);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	if (strcmp(mode, "filter") == 0)
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &strict_filter);
	if (strcmp(mode, "filter_loose") == 0)
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &loose_filter);
	if (strcmp(mode, "filter_syscall") == 0)
		return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &strict_filter);
	if (strcmp(mode, "filter_no_poll") == 0)
		return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			       SECCOMP_FILTER_FLAG_TSYNC, &no_poll_filter);
	if (strcmp(mode, "filter_prctl") == 0)
		return syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
			       &strict_filter);
	if (strcmp(mode, "filter_refused") == 0)
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) == -1 ? 0 : -1;
	/* As libseccomp asks whether the kernel knows the call. */
	if (strcmp(mode, "strict_refused") == 0)
		return syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL) == -1 ? 0
										    : -1;
	/* filter_all_threads */
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
		       &strict_filter);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	bool has_thread = strcmp(mode, "filter_all_threads") == 0;
	pthread_t thread;

	if (has_thread && pthread_create(&thread, NULL, work_beside, NULL) != 0)
		return 1;
	burn(300 * NS_PER_MS);
	if (confine(mode) != 0)
		return 77;
	dispatch_selector = SYSCALL_DISPATCH_FILTER_BLOCK;
	work_on();
	dispatch_selector = SYSCALL_DISPATCH_FILTER_ALLOW;
	if (write(STDOUT_FILENO, "done\n", 5) != 5)
		return 1;
	/* exit_group is more than the strict mode allows. */
	if (strcmp(mode, "strict") == 0)
		syscall(SYS_exit, 0);
	return 0;
}
