/*
 * fork_corners MODE: children of unusual circumstances. Prints the same in every run.
 *
 *   small_stack      a thread of 16 KiB forks; its child starts a thread and burns
 *   exit_in_malloc   children that are at work in malloc() when a signal's handler
 *                    ends them by _exit(), after 40 ms of CPU time and some of the
 *                    kernel's ticks; every other child has two threads, so that malloc()
 *                    holds a lock
 *   jump_out         a signal's handler jumps out of fork(), which never returns to
 *                    its caller, and the program goes on
 *   same_number      a child of a raw clone() that has its parent's process number, in
 *                    a namespace of its own; no hook is met
 *   same_number_by_call  the same by syscall()
 *   vfork_first      a child whose own vfork child allocates before it does anything;
 *                    prints its number
 *   vfork_allocates  a vfork child allocates at length
 *   no_environment   a child whose parent has cleared its environment is killed
 *   first_in_putenv  children whose first allocation is the one in which putenv() moves
 *                    the environment; the variables before it are as many as make it
 *                    move in one of two
 *   killed           a child allocates 1000 blocks of 100 bytes, frees them, burns and is
 *                    killed; prints its number
 *   abort_and_jump   a child's handler of SIGABRT jumps out of abort(), and it goes on
 */
#include "burn.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#define SMALL_STACK_BYTES (16 * 1024)
#define CHILD_CPU_NS (300 * NS_PER_MS)
#define CHILDREN 20
#define TICKS_MIN 8
#define BLOCKS 512
#define KILLED_BLOCKS 1000
#define KILLED_BLOCK_BYTES 100
/* The kernel copies the tables of that for some tens to hundreds of microseconds. */
#define COPIED_BYTES ((size_t)256 << 20)
#define JUMP_TRIES 200

NOINLINE void child_work(void);
NOINLINE void child_allocate(void);

static volatile sig_atomic_t is_in_malloc, ticks_left;
static int64_t end_cpu_ns;

static void say(const char *text)
{
	if (write(1, text, strlen(text)) < 0)
		_exit(9);
}

void child_work(void)
{
	burn_here(CHILD_CPU_NS);
}

static void *child_thread(void *unused)
{
	child_work();
	return unused;
}

static void *forking_thread(void *result)
{
	int status = -1;
	pid_t pid = fork();
	pthread_t id;

	if (pid == 0) {
		if (pthread_create(&id, NULL, child_thread, NULL) != 0)
			_exit(3);
		child_work();
		if (pthread_join(id, NULL) != 0)
			_exit(4);
		say("child done\n");
		exit(5);
	}
	waitpid(pid, &status, 0);
	*(int *)result = status;
	return NULL;
}

static int run_small_stack(void)
{
	pthread_attr_t attributes;
	pthread_t id;
	int status = -1;

	pthread_attr_init(&attributes);
	if (pthread_attr_setstacksize(&attributes, SMALL_STACK_BYTES) != 0 ||
	    pthread_create(&id, &attributes, forking_thread, &status) != 0 ||
	    pthread_join(id, NULL) != 0)
		return 3;
	return WIFEXITED(status) && WEXITSTATUS(status) == 5 ? 0 : 4;
}

/* By its own CPU time: a tick that brings the signal is one that samples the thread. On a
 * busy machine few of them find it, so they are counted. */
static void ask_for_signals(void)
{
	const struct itimerspec often = {{0, NS_PER_MS}, {0, NS_PER_MS}};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
	timer_t timer;

	event._sigev_un._tid = gettid();
	if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) != 0 ||
	    timer_settime(timer, 0, &often, NULL) != 0)
		_exit(3);
}

static void end_if_in_malloc(int number)
{
	(void)number;
	if (ticks_left > 0)
		ticks_left--;
	else if (is_in_malloc && thread_cpu_ns() >= end_cpu_ns)
		_exit(6);
}

static void *pausing_thread(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/* Beyond what a thread keeps for itself, in no order: malloc() has a lot to do. */
void child_allocate(void)
{
	static void *blocks[BLOCKS];

	for (unsigned state = 1;; state = state * 1103515245 + 12345) {
		unsigned place = state >> 16 & (BLOCKS - 1);

		is_in_malloc = 1;
		free(blocks[place]);
		blocks[place] = malloc(1100 + (state >> 8 & 0xffff));
		is_in_malloc = 0;
	}
}

static int run_exit_in_malloc(void)
{
	struct sigaction action = {.sa_handler = end_if_in_malloc};
	pthread_t id;

	sigaction(SIGPROF, &action, NULL);
	for (int i = 0; i < CHILDREN; i++) {
		int status = -1;
		pid_t pid = fork();

		if (pid == 0) {
			if (i % 2 && pthread_create(&id, NULL, pausing_thread, NULL) != 0)
				_exit(3);
			ticks_left = TICKS_MIN;
			end_cpu_ns = 40 * NS_PER_MS + i * NS_PER_MS * 17 / 10;
			ask_for_signals();
			child_allocate();
		}
		waitpid(pid, &status, 0);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 6)
			return 4;
		say("child ended\n");
	}
	return 0;
}

static volatile sig_atomic_t is_in_fork, has_jumped;
static sigjmp_buf out_of_fork;

static void jump_out(int number)
{
	(void)number;
	if (!is_in_fork)
		return;
	is_in_fork = 0;
	has_jumped = 1;
	siglongjmp(out_of_fork, 1);
}

static void try_to_jump(long delay_us)
{
	const struct itimerval once = {.it_value = {.tv_usec = delay_us}};
	pid_t pid;

	if (sigsetjmp(out_of_fork, 1) != 0)
		return;
	is_in_fork = 1;
	setitimer(ITIMER_REAL, &once, NULL);
	pid = fork();
	if (pid == 0)
		_exit(0);
	is_in_fork = 0;
	waitpid(pid, NULL, 0);
}

static int run_jump_out(void)
{
	char *memory = malloc(COPIED_BYTES);

	if (!memory)
		return 3;
	memset(memory, 1, COPIED_BYTES);
	signal(SIGALRM, jump_out);
	for (int i = 0; i < JUMP_TRIES && !has_jumped; i++)
		try_to_jump(50 + i % 10 * 50);
	child_work();
	say(has_jumped ? "jumped\n" : "no jump\n");
	return memory[COPIED_BYTES / 2] != 1;
}

/* No hook is met. */
static long clone_in_line(long flags)
{
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;
	long pid;

	__asm__ volatile("syscall"
			 : "=a"(pid)
			 : "0"(SYS_clone), "D"(flags), "S"(0), "d"(0), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return pid;
}

static long clone_by_call(long flags)
{
	return syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
}

static int run_as_first_process(long (*clone_with)(long flags))
{
	int status = -1;
	long pid;

	child_work();
	pid = clone_with(CLONE_NEWPID | SIGCHLD);
	if (pid == 0)
		_exit(getpid() == 1 ? 7 : 8);
	if (pid < 0 || waitpid((pid_t)pid, &status, 0) != (pid_t)pid)
		return 3;
	child_work();
	return WIFEXITED(status) && WEXITSTATUS(status) == 7 ? 5 : 4;
}

static int run_same_number(long (*clone_with)(long flags))
{
	int status = -1;
	pid_t pid;

	if (unshare(CLONE_NEWPID) != 0)
		return 77;
	pid = fork();
	if (pid == 0)
		exit(run_as_first_process(clone_with));
	waitpid(pid, &status, 0);
	say("child done\n");
	return WIFEXITED(status) && WEXITSTATUS(status) == 5 ? 0 : 4;
}

/* In its parent's memory, and for good. */
static int allocate_in_vfork_child(int blocks)
{
	int status = -1;
	pid_t pid = vfork();

	if (pid == 0) {
		for (int i = 0; i < blocks; i++)
			if (!malloc(32))
				_exit(3);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid ? status : -1;
}

static int run_vfork_first(void)
{
	char text[64];
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		if (allocate_in_vfork_child(100) != 0)
			_exit(3);
		child_work();
		exit(0);
	}
	snprintf(text, sizeof(text), "child_pid=%d\n", (int)pid);
	say(text);
	waitpid(pid, &status, 0);
	return status != 0;
}

static int run_vfork_allocates(void)
{
	child_work();
	for (int i = 0; i < 10; i++)
		if (allocate_in_vfork_child(100000) != 0)
			return 3;
	return 0;
}

static sigjmp_buf out_of_abort;

static void leave_abort(int number)
{
	(void)number;
	siglongjmp(out_of_abort, 1);
}

static int run_abort_and_jump(void)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGABRT, leave_abort);
		if (sigsetjmp(out_of_abort, 1) == 0)
			abort();
		child_work();
		say("child done\n");
		exit(5);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 5 ? 0 : 4;
}

static int run_killed(int blocks)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		for (int i = 0; i < blocks; i++) {
			void *volatile block = malloc(KILLED_BLOCK_BYTES);

			free(block);
		}
		child_work();
		raise(SIGKILL);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return 1;
	if (blocks)
		printf("child_pid=%d\n", (int)child);
	return !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL;
}

static int run_no_environment(void)
{
	clearenv();
	return run_killed(0);
}

static int run_first_in_putenv(void)
{
	static char variables[][4] = {"A=1", "B=2", "C=3", "D=4",
				      "E=5", "F=6", "G=7", "H=8"};
	size_t count = sizeof(variables) / sizeof(variables[0]);
	int status;

	clearenv();
	for (size_t i = 0; i + 1 < count; i++) {
		pid_t pid;

		/* With a block behind it the environment cannot grow where it is. */
		if (putenv(variables[i]) != 0 || !malloc(1000))
			return 3;
		pid = fork();
		if (pid == 0) {
			if (putenv(variables[i + 1]) != 0)
				_exit(4);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			return 5;
	}
	say("all moved\n");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "no_environment") == 0)
		return run_no_environment();
	if (argc > 1 && strcmp(argv[1], "first_in_putenv") == 0)
		return run_first_in_putenv();
	if (argc > 1 && strcmp(argv[1], "killed") == 0)
		return run_killed(KILLED_BLOCKS);
	if (argc > 1 && strcmp(argv[1], "abort_and_jump") == 0)
		return run_abort_and_jump();
	if (argc > 1 && strcmp(argv[1], "small_stack") == 0)
		return run_small_stack();
	if (argc > 1 && strcmp(argv[1], "exit_in_malloc") == 0)
		return run_exit_in_malloc();
	if (argc > 1 && strcmp(argv[1], "jump_out") == 0)
		return run_jump_out();
	if (argc > 1 && strcmp(argv[1], "same_number") == 0)
		return run_same_number(clone_in_line);
	if (argc > 1 && strcmp(argv[1], "same_number_by_call") == 0)
		return run_same_number(clone_by_call);
	if (argc > 1 && strcmp(argv[1], "vfork_first") == 0)
		return run_vfork_first();
	if (argc > 1 && strcmp(argv[1], "vfork_allocates") == 0)
		return run_vfork_allocates();
	return 2;
}
