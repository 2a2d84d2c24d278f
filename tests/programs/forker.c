/*
 * forker MODE [CPU_MS [CHILDREN]]: burns while each child is started in that
 * way; children burn too (in child_work) where they stay in this program. Each
 * process tells its pid and its own CPU.
 */
#include "burn.h"

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;
static int64_t cpu_ns;

NOINLINE void child_work(void);
NOINLINE void parent_work(void);

void child_work(void)
{
	burn_here(cpu_ns);
}

void parent_work(void)
{
	burn_here(cpu_ns);
}

/* One write: children share the output. */
static void tell_process(const char *who)
{
	char line[128];
	int bytes = snprintf(line, sizeof(line), "%s_pid=%d %s_cpu_ns=%lld\n", who,
			     (int)getpid(), who, (long long)process_cpu_ns());

	if (write(1, line, (size_t)bytes) != bytes)
		_exit(9);
}

static void child_main(void)
{
	child_work();
	tell_process("child");
}

/* A child that only the kernel knows of: neither a hook nor a handler is met. */
static pid_t fork_in_line(void)
{
	long pid = SYS_fork;

	__asm__ volatile("syscall" : "+a"(pid) : : "rcx", "r11", "memory");
	return (pid_t)pid;
}

static volatile pid_t forked_in_handler = -1;

static void fork_here(int signal_number)
{
	(void)signal_number;
	forked_in_handler = _Fork();
	if (forked_in_handler == 0) {
		child_main();
		_exit(0);
	}
}

static pid_t fork_by_number(const char *mode)
{
	struct clone_args arguments = {.exit_signal = SIGCHLD};

	if (strcmp(mode, "clone3") == 0)
		return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
	if (strcmp(mode, "fork_by_number") == 0)
		return (pid_t)syscall(SYS_fork);
	return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static int run_clone(void *unused)
{
	(void)unused;
	child_main();
	return 0;
}

/* On a stack that is just large enough for it, with nothing below. */
static pid_t clone_on_small_stack(void)
{
	char *pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED || mprotect(pages, 4096, PROT_NONE) != 0)
		return -1;
	return clone(run_clone, pages + 3 * 4096, SIGCHLD, NULL);
}

static pid_t start_child(const char *mode)
{
	static char *const true_argv[] = {"true", NULL};
	pid_t pid = -1;

	if (strcmp(mode, "fork") == 0 || strcmp(mode, "fork_at_once") == 0) {
		pid = fork();
		if (pid == 0) {
			child_main();
			exit(0);
		}
	} else if (strcmp(mode, "fork_exit_now") == 0) {
		pid = fork();
		if (pid == 0)
			_exit(0);
	} else if (strcmp(mode, "_Fork") == 0) {
		pid = _Fork();
		if (pid == 0) {
			child_main();
			_exit(0);
		}
	} else if (strcmp(mode, "_Fork_in_handler") == 0) {
		signal(SIGUSR1, fork_here);
		raise(SIGUSR1);
		pid = forked_in_handler;
	} else if (strcmp(mode, "clone_exit") == 0 || strcmp(mode, "clone3") == 0) {
		pid = fork_by_number(mode);
		if (pid == 0) {
			child_main();
			_exit(0);
		}
	} else if (strcmp(mode, "clone") == 0 || strcmp(mode, "fork_by_number") == 0) {
		pid = fork_by_number(mode);
		if (pid == 0) {
			child_main();
			syscall(SYS_exit_group, 0);
		}
	} else if (strcmp(mode, "clone_function") == 0) {
		pid = clone_on_small_stack();
	} else if (strcmp(mode, "in_line") == 0) {
		pid = fork_in_line();
		if (pid == 0) {
			child_work();
			_exit(0);
		}
	} else if (strcmp(mode, "vfork") == 0) {
		pid = vfork();
		if (pid == 0) {
			execv("/bin/true", true_argv);
			_exit(8);
		}
	} else if (strcmp(mode, "vfork_fails") == 0) {
		pid = vfork();
		if (pid == 0) {
			execv("/nonexistent/program", true_argv);
			_exit(0);
		}
	} else if (strcmp(mode, "spawn") == 0) {
		if (posix_spawn(&pid, "/bin/true", NULL, NULL, true_argv, environ) != 0)
			return -1;
	} else if (strcmp(mode, "system") == 0) {
		return system("true") == 0 ? 0 : -1;
	}
	return pid;
}

/* Leaves the terminal, its parent and its session like any old server. */
static int daemonise(void)
{
	pid_t pid;

	parent_work();
	pid = fork();
	if (pid < 0)
		return 3;
	if (pid > 0) {
		tell_process("parent");
		return 0;
	}
	setsid();
	pid = fork();
	if (pid != 0)
		_exit(pid < 0);
	child_main();
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "fork";
	int64_t children = number_argument(argc, argv, 3, 1);
	int status;

	cpu_ns = number_argument(argc, argv, 2, 500) * NS_PER_MS;
	if (strcmp(mode, "daemon") == 0)
		return daemonise();
	for (int64_t i = 0; i < children; i++) {
		pid_t pid;

		/* At once: before the agent had time for anything. */
		if (strcmp(mode, "fork_at_once") != 0)
			parent_work();
		pid = start_child(mode);
		if (pid < 0)
			return 3;
		parent_work();
		if (pid > 0 && (waitpid(pid, &status, 0) != pid || status != 0))
			return 4;
	}
	tell_process("parent");
	return 0;
}
