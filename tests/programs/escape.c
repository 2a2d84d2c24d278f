/*
 * escape MODE [CPU_MS]: does what servers do to get away from where they were
 * started, burns before and after, returns 0. 77: not permitted here.
 */
#include "burn.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define NOBODY 65534

static int drop_privileges(void)
{
	if (getuid() != 0)
		return 77;
	if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
		return 3;
	return 0;
}

/* Into an empty folder: nothing of what the agent may want is there. */
static int enter_empty_root(void)
{
	if (mkdir("empty", 0755) != 0 || chroot("empty") != 0)
		return 77;
	return chdir("/");
}

static int close_all(int first)
{
	for (int fd = first; fd < 1024; fd++)
		close(fd);
	return 0;
}

static int hide_shared_memory(void)
{
	if (unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return 77;
	return mount("none", "/dev/shm", "tmpfs", 0, "size=64k") == 0 ? 0 : 77;
}

/* The most a network namespace asks: opened before, joined after leaving it. */
static int change_namespaces(void)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || unshare(CLONE_NEWNET) != 0 || setns(fd, CLONE_NEWNET) != 0)
		return 77;
	return close(fd);
}

/* Those of a child, into which the kernel lets only a process of one thread. */
static int enter_users_of_child(void)
{
	char path[64], byte;
	int fd, pipe_fds[2], result;
	pid_t child;

	if (pipe(pipe_fds) != 0)
		return 3;
	child = fork();
	if (child == 0) {
		close(pipe_fds[0]);
		if (unshare(CLONE_NEWUSER) == 0 && write(pipe_fds[1], "", 1) == 1)
			pause();
		_exit(0);
	}
	close(pipe_fds[1]);
	if (child < 0 || read(pipe_fds[0], &byte, 1) != 1)
		return 77;
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)child);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	result = fd >= 0 && syscall(SYS_setns, fd, CLONE_NEWUSER) == 0 ? 0 : 77;
	close(fd);
	close(pipe_fds[0]);
	kill(child, SIGKILL);
	return result;
}

/* For which the agent's thread makes room; whether they may is all the same. */
static void *change_often(void *argument)
{
	int fd = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);

	for (int i = 0; i < 100; i++) {
		setns(fd, 0);
		syscall(SYS_setns, fd, CLONE_NEWNS);
	}
	close(fd);
	return argument;
}

static int change_in_threads(void)
{
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		if (pthread_create(&threads[i], NULL, change_often, NULL) != 0)
			return 3;
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

/* Nothing of it may keep the folder of its start in use. */
static int count_tasks_elsewhere(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	int count = 0;

	if (!tasks)
		return -1;
	while ((entry = readdir(tasks)) != NULL) {
		char path[300], folder[8] = "";

		snprintf(path, sizeof(path), "/proc/self/task/%s/cwd", entry->d_name);
		if (entry->d_name[0] == '.')
			continue;
		if (readlink(path, folder, sizeof(folder) - 1) < 0)
			return -1;
		count += strcmp(folder, "/") != 0;
	}
	closedir(tasks);
	return count;
}

static int escape(const char *mode)
{
	if (strcmp(mode, "chdir") == 0 || strcmp(mode, "chdir_tasks") == 0)
		return chdir("/");
	if (strcmp(mode, "chroot") == 0)
		return enter_empty_root();
	if (strcmp(mode, "setuid") == 0)
		return drop_privileges();
	if (strcmp(mode, "close_fds") == 0)
		return close_all(3);
	if (strcmp(mode, "close_all_fds") == 0)
		return close_all(0);
	if (strcmp(mode, "close_range") == 0)
		return (int)syscall(SYS_close_range, 3, ~0u, 0);
	if (strcmp(mode, "unshare_user") == 0)
		return unshare(CLONE_NEWUSER) == 0 ? 0 : 77;
	if (strcmp(mode, "unshare_user_by_number") == 0)
		return syscall(SYS_unshare, CLONE_NEWUSER) == 0 ? 0 : 77;
	if (strcmp(mode, "unshare_mount") == 0)
		return hide_shared_memory();
	if (strcmp(mode, "unshare_pid") == 0)
		return unshare(CLONE_NEWPID) == 0 ? 0 : 77;
	if (strcmp(mode, "setns") == 0)
		return change_namespaces();
	if (strcmp(mode, "setns_threads") == 0)
		return change_in_threads();
	if (strcmp(mode, "setns_user_by_number") == 0)
		return enter_users_of_child();
	if (strcmp(mode, "not_dumpable") == 0)
		return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (strcmp(mode, "clean_environment") == 0)
		return clearenv();
	if (strcmp(mode, "umask") == 0)
		return umask(0777), 0;
	return 2;
}

int main(int argc, char **argv)
{
	int64_t cpu_ns = number_argument(argc, argv, 2, 300) * NS_PER_MS;
	int status;

	burn(cpu_ns);
	status = escape(argc > 1 ? argv[1] : "chdir");
	if (status != 0)
		return status;
	burn(cpu_ns);
	if (argc > 1 && strcmp(argv[1], "chdir_tasks") == 0)
		printf("%d tasks elsewhere\n", count_tasks_elsewhere());
	printf("escaped\n");
	return 0;
}
