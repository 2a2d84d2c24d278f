/*
 * heap_children MODE: a process with blocks in use makes children in that way. Where a
 * child stays in this program it frees and resizes blocks of its parent and allocates
 * its own. Each process tells what it did.
 */
#include "burn.h"

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PARENT_BLOCKS 100
#define CHILD_FREES 40
#define CHILD_RESIZES 20
#define CHILD_BLOCKS 200
#define CHILD_KEEPS 50
#define PARENT_FREES 10
#define STORM_THREADS 3
#define STORM_FORKS 25

extern char **environ;
static void *blocks[PARENT_BLOCKS];
static _Atomic int is_storm_over;
/* Not known to the compiler, which would leave its free out. */
static void *volatile nothing;

NOINLINE void *parent_allocate(size_t bytes);
NOINLINE void *child_allocate(size_t bytes);
NOINLINE void *child_resize(void *old, size_t bytes);
NOINLINE void *storm_allocate(size_t bytes);

void *parent_allocate(size_t bytes)
{
	void *block = malloc(bytes);

	__asm__ volatile("" : "+r"(block));
	return block;
}

void *child_allocate(size_t bytes)
{
	void *block = malloc(bytes);

	__asm__ volatile("" : "+r"(block));
	return block;
}

void *child_resize(void *old, size_t bytes)
{
	void *block = realloc(old, bytes);

	__asm__ volatile("" : "+r"(block));
	return block;
}

void *storm_allocate(size_t bytes)
{
	void *block = malloc(bytes);

	__asm__ volatile("" : "+r"(block));
	return block;
}

/* One write and no stream: children share the output. */
static void say(const char *name, int64_t value)
{
	char line[64];
	int bytes = snprintf(line, sizeof(line), "%s=%lld\n", name, (long long)value);

	if (write(1, line, (size_t)bytes) != bytes)
		_exit(9);
}

/* Blocks of the parent with what it wrote into them. */
static bool is_as_parent_left_it(const unsigned char *block, int number)
{
	for (int i = 0; i < 500; i++)
		if (block[i] != (unsigned char)number)
			return false;
	return true;
}

static void child_work(void)
{
	int right = 0;
	void *block;

	say("child_pid", getpid());
	for (int i = 0; i < CHILD_FREES; i++) {
		right += is_as_parent_left_it(blocks[i], i);
		free(blocks[i]);
		free(nothing);
	}
	for (int i = CHILD_FREES; i < CHILD_FREES + CHILD_RESIZES; i++) {
		blocks[i] = child_resize(blocks[i], 3000);
		right += is_as_parent_left_it(blocks[i], i);
	}
	for (int i = 0; i < CHILD_BLOCKS; i++) {
		block = child_allocate(700);
		if (i >= CHILD_KEEPS)
			free(block);
	}
	say("right_blocks", right);
}

static pid_t start_child(const char *mode)
{
	static char *const true_argv[] = {"true", NULL};
	bool is_raw = strcmp(mode, "clone") == 0;
	pid_t pid = -1;

	if (strcmp(mode, "vfork") == 0) {
		pid = vfork();
		if (pid == 0) {
			execv("/bin/true", true_argv);
			_exit(8);
		}
		return pid;
	}
	if (strcmp(mode, "spawn") == 0)
		return posix_spawn(&pid, "/bin/true", NULL, NULL, true_argv, environ) == 0
			       ? pid
			       : -1;
	if (is_raw)
		pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	else if (strcmp(mode, "_Fork") == 0)
		pid = _Fork();
	else
		pid = fork();
	if (pid == 0) {
		child_work();
		if (is_raw)
			syscall(SYS_exit_group, 0);
		if (strcmp(mode, "fork") == 0)
			exit(0);
		_exit(0);
	}
	return pid;
}

/* Without end: the forks come in the midst of it. */
static void *storm(void *unused)
{
	void *kept[16] = {NULL};

	for (unsigned i = 0; !atomic_load(&is_storm_over); i++) {
		free(kept[i % 16]);
		kept[i % 16] = storm_allocate(i % 1000);
	}
	for (int i = 0; i < 16; i++)
		free(kept[i]);
	return unused;
}

static int fork_in_a_storm(void)
{
	pthread_t threads[STORM_THREADS];
	int status;

	for (int i = 0; i < STORM_THREADS; i++)
		if (pthread_create(&threads[i], NULL, storm, NULL) != 0)
			return 5;
	for (int i = 0; i < STORM_FORKS; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			for (int j = 0; j < CHILD_BLOCKS; j++)
				free(child_allocate(500));
			free(blocks[0]);
			exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			return 4;
	}
	atomic_store(&is_storm_over, 1);
	for (int i = 0; i < STORM_THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "fork";
	int status = 0, right = 0;
	pid_t pid;

	say("parent_pid", getpid());
	for (int i = 0; i < PARENT_BLOCKS; i++) {
		blocks[i] = parent_allocate(500);
		memset(blocks[i], i, 500);
	}
	if (strcmp(mode, "storm") == 0) {
		status = fork_in_a_storm();
	} else {
		pid = start_child(mode);
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return 4;
	}
	for (int i = 0; i < PARENT_BLOCKS; i++)
		right += is_as_parent_left_it(blocks[i], i);
	for (int i = 0; i < PARENT_FREES; i++)
		free(blocks[i]);
	say("right_blocks_of_parent", right);
	return status == 0 ? 0 : 6;
}
