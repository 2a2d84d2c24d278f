/* busy [CPU_MS [THREADS]]: burns in main and in threads, tells, returns 0. */
#include "burn.h"

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
	pthread_t ids[256];

	cpu_ns = number_argument(argc, argv, 1, 300) * NS_PER_MS;
	if (threads > 256)
		return 2;
	for (int64_t i = 0; i < threads; i++) {
		if (pthread_create(&ids[i], NULL, worker, NULL) != 0)
			return 3;
	}
	burn(cpu_ns);
	for (int64_t i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	printf("done\n");
	return 0;
}
