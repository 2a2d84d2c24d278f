/*
 * The folder for the profiles takes long to open, as one of a network may: no program
 * waits for that before its main(). Its own calls are looked at by a filter of system
 * calls that asks this test, which holds our thread back at that folder.
 */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SECCOMP_USER_NOTIF_FLAG_CONTINUE
#define SECCOMP_USER_NOTIF_FLAG_CONTINUE 1U
#endif

/* Where the victim has the other end of the filter. */
#define LISTENER 100
/* No wait of the constructor is longer. */
#define START_WAIT_NS 100000000

struct watch {
	const struct victim *victim;
	int listener;
	uint64_t held[2];     /* calls that wait for an answer: of our thread, of main; 0:
				 none */
	uint64_t word, value; /* what main wants to wait for */
	bool has_met_folder, has_waited;
};
enum { OF_THREAD, OF_MAIN };

static void watch_calls(void *context)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = 5, .filter = steps};
	int fd = -1;

	(void)context;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
				  SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (fd < 0 || dup2(fd, LISTENER) < 0)
		_exit(77);
}

/* -1 when the victim has ended before there was one, or nobody may have it. */
static int take_listener(const struct victim *victim)
{
	int pidfd = (int)syscall(SYS_pidfd_open, victim->pid, 0), fd;

	ck_assert_int_ge(pidfd, 0);
	do {
		struct pollfd end = {.fd = pidfd, .events = POLLIN};

		fd = (int)syscall(SYS_pidfd_getfd, pidfd, LISTENER, 0);
		if (fd < 0 && (errno != EBADF || poll(&end, 1, 1) != 0))
			break;
	} while (fd < 0);
	close(pidfd);
	return fd;
}

static bool read_memory(const struct watch *watch, uint64_t address, void *out,
			size_t bytes)
{
	struct iovec local = {out, bytes};
	struct iovec remote = {(void *)(uintptr_t)address, bytes};

	return process_vm_readv(watch->victim->pid, &local, 1, &remote, 1, 0) ==
	       (ssize_t)bytes;
}

static void answer(const struct watch *watch, uint64_t id)
{
	struct seccomp_notif_resp go_on = {.id = id,
					   .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

	ioctl(watch->listener, SECCOMP_IOCTL_NOTIF_SEND, &go_on);
}

static bool is_folder(const struct watch *watch, const struct seccomp_notif *call)
{
	char path[sizeof(watch->victim->profiles)] = "";

	return call->data.nr == SYS_openat &&
	       read_memory(watch, call->data.args[1], path,
			   strlen(watch->victim->profiles) + 1) &&
	       strcmp(path, watch->victim->profiles) == 0;
}

/* With a time-out: a wait of the constructor's. The word is no more than a page away. */
static bool is_wait_at_start(const struct watch *watch, const struct seccomp_notif *call)
{
	struct timespec timeout;

	return call->data.nr == SYS_futex && (int)call->pid == watch->victim->pid &&
	       ((int)call->data.args[1] & FUTEX_CMD_MASK) == FUTEX_WAIT &&
	       call->data.args[3] != 0 &&
	       read_memory(watch, call->data.args[3], &timeout, sizeof(timeout)) &&
	       timeout.tv_sec == 0 && timeout.tv_nsec <= START_WAIT_NS;
}

/* Once our thread is held at the folder: does main wait for it all the same? */
static void judge(struct watch *watch)
{
	uint32_t now = 0;

	if (!watch->held[OF_MAIN] || !watch->has_met_folder)
		return;
	ck_assert(read_memory(watch, watch->word, &now, sizeof(now)));
	watch->has_waited |= now == (uint32_t)watch->value;
	answer(watch, watch->held[OF_MAIN]);
	watch->held[OF_MAIN] = 0;
}

static void look_at_call(struct watch *watch, const struct seccomp_notif *call)
{
	if (!watch->has_met_folder && is_folder(watch, call)) {
		watch->has_met_folder = true;
		watch->held[OF_THREAD] = call->id;
	} else if (is_wait_at_start(watch, call)) {
		watch->held[OF_MAIN] = call->id;
		watch->word = call->data.args[0];
		watch->value = call->data.args[2];
	} else {
		answer(watch, call->id);
	}
	judge(watch);
}

/* Until the program says that it is in its main(), and on until its end. */
static void watch_to_the_end(struct watch *watch)
{
	struct pollfd event = {.fd = watch->listener, .events = POLLIN};
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/begun", watch->victim->folder);
	for (;;) {
		struct seccomp_notif call;

		if (watch->held[OF_THREAD] && access(path, F_OK) == 0) {
			answer(watch, watch->held[OF_THREAD]);
			watch->held[OF_THREAD] = 0;
		}
		if (poll(&event, 1, 10) == 0)
			continue;
		if (!(event.revents & POLLIN))
			return;
		memset(&call, 0, sizeof(call));
		if (ioctl(watch->listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0)
			look_at_call(watch, &call);
	}
}

START_TEST(main_does_not_wait_for_the_folder)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"perl", "-e",
					      "open F, '>begun'; close F; print 'done'",
					      NULL},
		.before_exec = watch_calls,
	};
	struct victim *victim = victim_start(&setup);
	struct watch watch = {.victim = victim, .listener = take_listener(victim)};
	char path[PATH_MAX];

	if (watch.listener < 0) {
		printf("no such filter is permitted here\n");
		kill(victim->pid, SIGKILL);
		victim_finish(victim);
		victim_free(victim);
		return;
	}
	watch_to_the_end(&watch);
	close(watch.listener);
	victim_finish(victim);
	victim_assert_success(victim);
	ck_assert_str_eq(victim->output, "done");
	ck_assert(watch.has_met_folder);
	ck_assert_msg(!watch.has_waited, "its start waited for the folder");
	victim_profile(victim, 0, path);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, main_does_not_wait_for_the_folder);
}

int main(void)
{
	return victim_main("slow_folder", add);
}
