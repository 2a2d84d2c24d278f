/*
 * own_wrappers: a program that stands in front of functions of the C library and reaches
 * them by others of that library's names: a sigaction() that goes on to the next
 * __sigaction() and puts all handlers on alternate stacks, as that of Erlang's beam.smp,
 * and an execv() that goes on to execl(). It never calls its pthread_sigmask() and
 * prctl(). Like that program it works with the stack pointer right above memory in use.
 * Tells how often somebody else called those two (called_by_others), how much of that
 * memory somebody changed (overwritten), how often its handler ran (handled), and then
 * executes echo.
 */
#include "above_memory.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

static volatile sig_atomic_t handled;
static volatile sig_atomic_t called_by_others;

int prctl(int option, ...);

int sigaction(int signo, const struct sigaction *action, struct sigaction *old)
{
	int (*next)(int, const struct sigaction *, struct sigaction *);
	struct sigaction changed = *action;

	*(void **)&next = dlsym(RTLD_NEXT, "__sigaction");
	changed.sa_flags |= SA_ONSTACK;
	return next(signo, &changed, old);
}

int execv(const char *path, char *const arguments[])
{
	return execl(path, arguments[0], arguments[1], (char *)NULL);
}

int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	called_by_others++;
	return syscall(SYS_rt_sigprocmask, how, set, old, _NSIG / 8) ? -1 : 0;
}

int prctl(int option, ...)
{
	(void)option;
	called_by_others++;
	return 0;
}

static void on_signal(int signo)
{
	(void)signo;
	handled++;
}

static void *work_in_thread(void *argument)
{
	(void)argument;
	set_alternate_stack();
	return (void *)work_above_memory();
}

int main(void)
{
	char *const arguments[] = {(char[]){"echo"}, (char[]){"executed=1"}, NULL};
	struct sigaction action = {.sa_handler = on_signal};
	intptr_t overwritten;
	pthread_t thread;
	void *result;

	set_alternate_stack();
	if (sigaction(SIGUSR1, &action, NULL) || raise(SIGUSR1))
		return 1;
	if (pthread_create(&thread, NULL, work_in_thread, NULL))
		return 1;
	overwritten = work_above_memory();
	pthread_join(thread, &result);
	tell("overwritten", overwritten + (intptr_t)result);
	tell("handled", handled);
	tell("called_by_others", called_by_others);
	fflush(stdout);
	execv("/bin/echo", arguments);
	return 2;
}
