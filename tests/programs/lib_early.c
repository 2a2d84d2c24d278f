/*
 * A library that does in its constructor, before that of a preloaded library
 * has run, what programs otherwise do after main's start: a thread, a signal
 * handler and mask, a child. What happened is kept for the program to tell.
 */
#include "burn.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

extern int early_child_status, early_signals;
extern int64_t early_thread_cpu_ns;
int early_join(void);

int early_child_status = -1, early_signals;
int64_t early_thread_cpu_ns;
static pthread_t thread;

NOINLINE void early_thread_work(void);

static void count_signal(int number)
{
	(void)number;
	early_signals++;
}

void early_thread_work(void)
{
	early_thread_cpu_ns = burn_here(400 * NS_PER_MS);
}

static void *early_thread(void *unused)
{
	early_thread_work();
	return unused;
}

__attribute__((constructor)) static void begin_early(void)
{
	struct sigaction action = {.sa_handler = count_signal};
	sigset_t blocked;
	pid_t pid;

	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGRTMIN + 3, &action, NULL);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	raise(SIGUSR1);
	raise(SIGRTMIN + 3);
	pthread_create(&thread, NULL, early_thread, NULL);
	pid = fork();
	if (pid == 0)
		_exit(42);
	waitpid(pid, &early_child_status, 0);
	free(malloc(100));
}

int early_join(void)
{
	return pthread_join(thread, NULL);
}
