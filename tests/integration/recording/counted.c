/*
 * counted THREADS LIFE_MS: threads that burn for ever, or for so long before another
 * takes their place (0: for ever), and keep account of it in the file "counted".
 * Threads = 0: only main burns. Ends by being killed.
 */
#include "counted.h"
#include "../../programs/burn.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

static struct counted *counted;
static int64_t life_ns;

NOINLINE void counted_work(int place);

/* Also tells how much it was, again and again. */
void counted_work(int place)
{
	int64_t end_ns = life_ns ? life_ns : INT64_MAX;

	while (thread_cpu_ns() < end_ns) {
		burn_here(20000);
		atomic_store(&counted->running_ns[place], thread_cpu_ns());
	}
}

static void *run_one_life(void *place)
{
	counted_work((int)(intptr_t)place);
	return NULL;
}

/* One life after the other; the last word of each is kept. */
static void *run_for_ever(void *argument)
{
	int place = (int)(intptr_t)argument;
	pthread_t thread;

	if (!life_ns)
		return run_one_life(argument);
	for (;;) {
		if (pthread_create(&thread, NULL, run_one_life, argument) != 0 ||
		    pthread_join(thread, NULL) != 0)
			_exit(3);
		atomic_fetch_add(&counted->ended_ns,
				 atomic_exchange(&counted->running_ns[place], 0));
		atomic_fetch_add(&counted->ended_threads, 1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int64_t threads = number_argument(argc, argv, 1, 0);
	int fd = open(COUNTED_FILE, O_RDWR | O_CREAT, 0600);
	pthread_t thread;

	life_ns = number_argument(argc, argv, 2, 0) * NS_PER_MS;
	if (fd < 0 || ftruncate(fd, sizeof(*counted)) != 0 ||
	    threads >= COUNTED_THREADS_MAX)
		return 2;
	counted = mmap(NULL, sizeof(*counted), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counted == MAP_FAILED)
		return 2;
	for (int64_t i = 1; i <= threads; i++)
		if (pthread_create(&thread, NULL, run_for_ever, (void *)(intptr_t)i) != 0)
			return 3;
	if (threads == 0)
		counted_work(0);
	for (;;)
		pause();
}
