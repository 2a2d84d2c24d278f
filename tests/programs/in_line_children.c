/*
 * Children of the bare system call, which no hook meets, of a program with two threads.
 * Each does what there is to do: frees its parent's blocks and allocates, enters a span,
 * starts a thread and a child, runs a command and ends by exit(). Their parent waits, and
 * keeps blocks of its own. Prints the same in every run.
 */
#include "burn.h"

#include <pthread.h>
#include <signal.h>
#include <spanprof/span.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CHILDREN 4
#define WORK_NS (50 * NS_PER_MS)
#define KEPT 1000
#define KEPT_BYTES 1000

NOINLINE void parent_keep(void);
NOINLINE void parent_work(void);
NOINLINE void child_work(void);

static void *kept[KEPT];

static long fork_in_line(void)
{
	long pid = SYS_fork;

	__asm__ volatile("syscall" : "+a"(pid) : : "rcx", "r11", "memory");
	return pid;
}

void parent_keep(void)
{
	for (int i = 0; i < KEPT; i++)
		kept[i] = malloc(KEPT_BYTES);
}

void parent_work(void)
{
	burn_here(WORK_NS);
}

void child_work(void)
{
	void *volatile block;

	burn_here(WORK_NS);
	for (size_t i = 0; i < 5000; i++) {
		block = malloc(1100 + i);
		free(block);
	}
}

static void *working_thread(void *unused)
{
	child_work();
	return unused;
}

static void *pausing_thread(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static int end_of(pid_t pid)
{
	int status = -1;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* In a span; half of its parent's blocks are freed, and as many kept in their place. */
static int work_with_thread(void)
{
	SPANPROF_SCOPE("in line");
	pthread_t id;

	for (int i = 0; i < KEPT; i += 2) {
		free(kept[i]);
		kept[i] = malloc(KEPT_BYTES);
	}
	if (pthread_create(&id, NULL, working_thread, NULL) != 0)
		return 3;
	child_work();
	return pthread_join(id, NULL) == 0 ? 0 : 4;
}

static int run_child(void)
{
	int result = work_with_thread();
	pid_t pid;

	if (result != 0)
		return result;
	pid = fork();
	if (pid == 0) {
		child_work();
		exit(6);
	}
	if (end_of(pid) != 6)
		return 7;
	return system("exit 8") == 8 << 8 ? 5 : 9;
}

int main(void)
{
	char line[64];
	pthread_t id;

	if (pthread_create(&id, NULL, pausing_thread, NULL) != 0)
		return 3;
	parent_keep();
	for (int i = 0; i < CHILDREN; i++) {
		long pid = fork_in_line();
		int bytes;

		if (pid == 0)
			exit(run_child());
		parent_work();
		bytes = snprintf(line, sizeof(line), "child: %d\n", end_of((pid_t)pid));
		if (write(1, line, (size_t)bytes) != bytes)
			return 4;
	}
	for (int i = 0; i < KEPT; i += 4)
		free(kept[i]);
	return 0;
}
