/*
 * heap_drain BLOCKS: allocates them, makes the file "allocated", frees them bit by bit,
 * while another thread allocates and frees others, and makes the file "drained". The last
 * quarter goes one by one, until there is a file "enough".
 */
#include "heap_sites.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#define STEP_BLOCKS 1000
#define STEP_NS 2000000

HEAP_SITE(drain_first)
HEAP_SITE(drain_beside)

static _Atomic int is_over;

static void *work_beside(void *unused)
{
	void *blocks[64] = {NULL};

	for (unsigned i = 0; !atomic_load(&is_over); i++) {
		free(blocks[i % 64]);
		blocks[i % 64] = drain_beside(i % 500);
	}
	for (int i = 0; i < 64; i++)
		free(blocks[i]);
	return unused;
}

static void make_file(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		_exit(6);
	close(fd);
}

int main(int argc, char **argv)
{
	long count = (long)number_argument(argc, argv, 1, 100000);
	void **blocks = malloc((size_t)count * sizeof(*blocks));
	const struct timespec pause = {.tv_nsec = STEP_NS};
	pthread_t thread;

	if (blocks == NULL)
		return 4;
	for (long i = 0; i < count; i++)
		blocks[i] = drain_first(40);
	if (pthread_create(&thread, NULL, work_beside, NULL) != 0)
		return 5;
	make_file("allocated");
	for (long i = 0; i < count; i++) {
		free(blocks[i]);
		if (i % STEP_BLOCKS == 0 ||
		    (i >= count / 4 * 3 && access("enough", F_OK) != 0))
			nanosleep(&pause, NULL);
	}
	make_file("drained");
	atomic_store(&is_over, 1);
	pthread_join(thread, NULL);
	free(blocks);
	return 0;
}
