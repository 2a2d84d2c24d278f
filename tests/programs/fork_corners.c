/*
 * fork_corners MODE: children of unusual circumstances. Prints the same in every run.
 *
 *   small_stack      a thread of 16 KiB forks; its child starts a thread and burns
 *   exit_in_malloc   children that are at work in malloc() when a signal's handler
 *                    ends them by _exit(); every other child has two threads, so that
 *                    malloc() holds a lock
 */
#include "burn.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>

#define SMALL_STACK_BYTES (16 * 1024)
#define CHILD_CPU_NS (300 * NS_PER_MS)
#define CHILDREN 20
#define BLOCKS 512

NOINLINE void child_work(void);
NOINLINE void child_allocate(void);

static volatile sig_atomic_t is_in_malloc;

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

static void ask_for_signal(long after_us)
{
	struct itimerval once = {.it_value = {.tv_usec = after_us}};

	/* By CPU time: the child is sampled before it ends, however busy the machine. */
	setitimer(ITIMER_PROF, &once, NULL);
}

static void end_if_in_malloc(int number)
{
	(void)number;
	if (is_in_malloc)
		_exit(6);
	ask_for_signal(100);
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
			ask_for_signal(40000 + 1700 * i);
			child_allocate();
		}
		waitpid(pid, &status, 0);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 6)
			return 4;
		say("child ended\n");
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "small_stack") == 0)
		return run_small_stack();
	if (argc > 1 && strcmp(argv[1], "exit_in_malloc") == 0)
		return run_exit_in_malloc();
	return 2;
}
