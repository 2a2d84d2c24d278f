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
#include "burn.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#define PATTERN 0x5a
#define MEMORY_BYTES 65536
/* What code may use below the stack pointer. */
#define RED_ZONE_BYTES 128

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

static void set_alternate_stack(void)
{
	stack_t stack = {.ss_size = (size_t)sysconf(_SC_SIGSTKSZ)};

	stack.ss_sp = malloc(stack.ss_size);
	if (stack.ss_sp == NULL || sigaltstack(&stack, NULL))
		exit(3);
}

/* How many bytes below the stack pointer were not as they should be afterwards. */
static intptr_t work_above_memory(void)
{
	unsigned char *memory = malloc(MEMORY_BYTES);
	size_t count = MEMORY_BYTES / 2 - RED_ZONE_BYTES;
	intptr_t overwritten = 0;
	int64_t start_ns = thread_cpu_ns();

	if (memory == NULL)
		exit(3);
	memset(memory, PATTERN, MEMORY_BYTES);
	do {
		long rounds = 5000000;

		__asm__ volatile("mov %%rsp, %%rbx\n\t"
				 "mov %1, %%rsp\n\t"
				 "1: dec %0\n\t"
				 "jnz 1b\n\t"
				 "mov %%rbx, %%rsp"
				 : "+r"(rounds)
				 : "r"(memory + MEMORY_BYTES / 2)
				 : "rbx", "cc", "memory");
	} while (thread_cpu_ns() - start_ns < 300 * NS_PER_MS);
	for (size_t i = 0; i < count; i++)
		overwritten += memory[i] != PATTERN;
	free(memory);
	return overwritten;
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
