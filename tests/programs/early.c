/*
 * early: the program of lib_early. Tells what came of the constructor's doings,
 * then begins threads and a child after exit() has begun, from an exit handler.
 */
#include "burn.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

extern int early_child_status, early_signals;
extern int64_t early_thread_cpu_ns;
int early_join(void);

NOINLINE void late_thread_work(void);

void late_thread_work(void)
{
	burn_here(200 * NS_PER_MS);
}

static void *late_thread(void *unused)
{
	late_thread_work();
	return unused;
}

static void begin_late(void)
{
	pthread_t id;
	int status = -1;
	pid_t pid;

	if (pthread_create(&id, NULL, late_thread, NULL) == 0)
		pthread_join(id, NULL);
	pid = fork();
	if (pid == 0)
		_exit(43);
	waitpid(pid, &status, 0);
	tell("late_child", WEXITSTATUS(status));
}

int main(void)
{
	sigset_t blocked;

	raise(SIGUSR1);
	raise(SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, NULL, &blocked);
	burn(200 * NS_PER_MS);
	tell("joined", early_join());
	tell("early_child", WEXITSTATUS(early_child_status));
	tell("early_signals", early_signals);
	tell("is_usr2_blocked", sigismember(&blocked, SIGUSR2));
	fflush(stdout);
	atexit(begin_late);
	return 0;
}
