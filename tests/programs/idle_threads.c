/*
 * idle_threads COUNT: COUNT threads that use a page or two of stack and then sleep.
 * Tells what memory the process has once all of them do, and its own bookkeeping in the
 * kernel with it: "memory_kib". Status 77: so many threads are not to be had.
 */
#include "burn.h"

#include <pthread.h>
#include <string.h>

static pthread_barrier_t all_there;

/* Frames end anywhere in a page: what static thread-local storage costs is then seen on
 * average, not by luck. */
static NOINLINE void use_stack(size_t bytes)
{
	volatile char *frame = __builtin_alloca(bytes + 64);

	for (size_t i = 0; i < bytes + 64; i += 64)
		frame[i] = 1;
}

static void *sleep_on(void *number)
{
	use_stack((size_t)(uintptr_t)number % 16 * 256);
	pthread_barrier_wait(&all_there);
	for (;;)
		pause();
	return number;
}

static int64_t status_kib(const char *name)
{
	FILE *file = fopen("/proc/self/status", "r");
	int64_t kib = 0;
	char line[256];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, name, strlen(name)) == 0)
			kib = strtoll(line + strlen(name), NULL, 10);
	if (file != NULL)
		fclose(file);
	return kib;
}

int main(int argc, char **argv)
{
	int64_t count = number_argument(argc, argv, 1, 100);
	pthread_t thread;

	pthread_barrier_init(&all_there, NULL, (unsigned)count + 1);
	for (int64_t i = 0; i < count; i++)
		if (pthread_create(&thread, NULL, sleep_on, (void *)(uintptr_t)i) != 0)
			_exit(77);
	pthread_barrier_wait(&all_there);
	/* The agent has looked at all of them by then. */
	nanosleep(&(struct timespec){.tv_sec = 3}, NULL);
	tell("memory_kib",
	     status_kib("RssAnon:") + status_kib("RssShmem:") + status_kib("VmPTE:"));
	return 0;
}
