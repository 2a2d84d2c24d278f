/*
 * Where the agent's thread looks up what the kernel says of the process. What it looks
 * up below a thread's own folder in /proc, the kernel forgets when that thread has ended,
 * and whoever waits for the process spins meanwhile; so it is to look elsewhere.
 */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

struct seen {
	unsigned paths, of_process, of_thread;
	char last_of_thread[256];
	bool has_tried_descriptor; /* to link it by itself */
};

/* The path that a system call is about, or "". */
static void read_path(int tid, const struct user_regs_struct *regs, char *path,
		      size_t bytes)
{
	struct iovec local = {path, bytes - 1}, remote = {NULL, bytes - 1};
	ssize_t got;

	memset(path, 0, bytes);
	switch (regs->orig_rax) {
	case SYS_open:
		remote.iov_base = (void *)(uintptr_t)regs->rdi;
		break;
	case SYS_openat:
	case SYS_readlinkat:
	case SYS_newfstatat:
	case SYS_linkat:
		remote.iov_base = (void *)(uintptr_t)regs->rsi;
		break;
	default:
		return;
	}
	/* A path may lie at the end of what can be read. */
	do {
		got = process_vm_readv(tid, &local, 1, &remote, 1, 0);
		local.iov_len = remote.iov_len /= 2;
	} while (got <= 0 && local.iov_len > 0);
}

static void look_at_call(int tid, struct seen *seen)
{
	struct user_regs_struct regs;
	char path[256];

	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) != 0)
		return;
	read_path(tid, &regs, path, sizeof(path));
	seen->paths += path[0] != '\0';
	if (regs.orig_rax == SYS_linkat && regs.r8 & AT_EMPTY_PATH)
		seen->has_tried_descriptor = true;
	seen->of_process += strncmp(path, "/proc/self/", 11) == 0;
	if (strncmp(path, "/proc/thread-self/", 18) != 0)
		return;
	/* Where nothing else is permitted. */
	if (regs.orig_rax == SYS_linkat && seen->has_tried_descriptor)
		return;
	seen->of_thread++;
	memcpy(seen->last_of_thread, path, sizeof(path));
}

/* From call to call, until it has ended. False where it is not permitted. */
static bool follow(int tid, struct seen *seen)
{
	int status;

	if (ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_TRACESYSGOOD) != 0) {
		ck_assert_int_eq(errno, EPERM);
		return false;
	}
	ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, tid, NULL, NULL), 0);
	while (waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status)) {
		int stop = WSTOPSIG(status);

		if (stop == (SIGTRAP | 0x80))
			look_at_call(tid, seen);
		/* What the thread was sent, and no stop of ours, it is to get. */
		ptrace(PTRACE_SYSCALL, tid, NULL,
		       status >> 16 || stop == (SIGTRAP | 0x80) ? 0 : stop);
	}
	return true;
}

START_TEST(own_thread_looks_below_the_main_thread)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"busy", "1000", "2", NULL},
	};
	struct victim *victim = victim_start(&setup);
	struct seen seen = {0};
	bool is_permitted = follow(victim_own_thread(victim), &seen);

	victim_finish(victim);
	victim_assert_success(victim);
	if (is_permitted) {
		ck_assert_uint_gt(seen.paths, 0);
		ck_assert_uint_gt(seen.of_process, 0);
		ck_assert_msg(seen.of_thread == 0, "%u, the last one %s", seen.of_thread,
			      seen.last_of_thread);
	} else {
		printf("no ptrace is permitted here\n");
	}
	victim_free(victim);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, own_thread_looks_below_the_main_thread);
}

int main(void)
{
	return victim_main("look_ups", add_tests);
}
