/*
 * threads COUNT CPU_MS [AT_ONCE]: COUNT threads burn CPU_MS each, at most
 * AT_ONCE (default: all) alive together. Tells the sum of the threads' clocks,
 * main's included, and the process's CPU.
 */
#include "burn.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

static int64_t cpu_ns;
static _Atomic int64_t threads_cpu_ns;
static sem_t places;

NOINLINE void *thread_entry(void *unused);

void *thread_entry(void *unused)
{
	burn(cpu_ns);
	threads_cpu_ns += thread_cpu_ns();
	sem_post(&places);
	return unused;
}

int main(int argc, char **argv)
{
	int64_t count = number_argument(argc, argv, 1, 8);
	int64_t at_once = number_argument(argc, argv, 3, count);
	pthread_attr_t attributes;
	pthread_t id;

	cpu_ns = number_argument(argc, argv, 2, 500) * NS_PER_MS;
	sem_init(&places, 0, (unsigned)at_once);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	for (int64_t i = 0; i < count; i++) {
		sem_wait(&places);
		if (pthread_create(&id, &attributes, thread_entry, NULL) != 0)
			return 3;
	}
	for (int64_t i = 0; i < at_once; i++)
		sem_wait(&places);
	threads_cpu_ns += thread_cpu_ns();
	tell("threads_cpu_ns", threads_cpu_ns);
	tell("self_cpu_ns", process_cpu_ns());
	return 0;
}
