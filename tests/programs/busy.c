/*
 * busy [CPU_MS [THREADS [HZ]]]: burns in main and in threads, tells, returns 0. The main
 * thread has a timer of its own where a rate is given.
 */
#include "burn.h"
#include "own_timer.h"

#include <pthread.h>

static int64_t cpu_ns;

static void *worker(void *unused)
{
	burn(cpu_ns);
	return unused;
}

int main(int argc, char **argv)
{
	int64_t threads = number_argument(argc, argv, 2, 0);
	int64_t own_timer_hz = number_argument(argc, argv, 3, 0);
	pthread_t ids[256];

	cpu_ns = number_argument(argc, argv, 1, 300) * NS_PER_MS;
	if (threads > 256)
		return 2;
	for (int64_t i = 0; i < threads; i++) {
		if (pthread_create(&ids[i], NULL, worker, NULL) != 0)
			return 3;
	}
	if (own_timer_hz > 0)
		own_timer_start(1000000000 / own_timer_hz);
	burn(cpu_ns);
	for (int64_t i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	printf("done\n");
	return 0;
}
