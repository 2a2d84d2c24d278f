/*
 * drain_signals OFFSET: allocates on ever new paths, as fast as it can, while a signal
 * comes often. Tells how often its handler met the thread with the lock of the
 * recording's aggregates, which is at that offset of its file in XDG_RUNTIME_DIR.
 */
#include "burn.h"

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

#define WORK_NS (2000 * NS_PER_MS)
#define DEPTH 24
#define BLOCKS 4096

NOINLINE void *go_left(unsigned path, int depth);
NOINLINE void *go_right(unsigned path, int depth);

static const _Atomic uint32_t *lock_holder;
static uint32_t own_thread;
static volatile sig_atomic_t meetings;

static void on_alarm(int signal_number)
{
	(void)signal_number;
	if (atomic_load(lock_holder) == own_thread)
		meetings++;
}

static void *descend(unsigned path, int depth)
{
	if (depth == 0)
		return malloc(64);
	return path & 1 ? go_left(path >> 1, depth - 1) : go_right(path >> 1, depth - 1);
}

void *go_left(unsigned path, int depth)
{
	void *block = descend(path, depth);

	__asm__ volatile("" : "+r"(block));
	return block;
}

void *go_right(unsigned path, int depth)
{
	void *block = descend(path, depth);

	__asm__ volatile("" : "+r"(block) : : "memory");
	return block;
}

static const void *map_recording(void)
{
	const void *pages = MAP_FAILED;
	char pattern[4096];
	glob_t found;
	int fd;

	snprintf(pattern, sizeof(pattern), "%s/*.%d.*.spanprof",
		 getenv("XDG_RUNTIME_DIR"), (int)getpid());
	if (glob(pattern, 0, NULL, &found) != 0)
		return NULL;
	fd = open(found.gl_pathv[0], O_RDONLY | O_CLOEXEC);
	globfree(&found);
	if (fd >= 0) {
		pages = mmap(NULL, 1 << 20, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	return pages == MAP_FAILED ? NULL : pages;
}

int main(int argc, char **argv)
{
	const struct itimerval often = {{0, 200}, {0, 200}};
	int64_t offset = number_argument(argc, argv, 1, 0);
	const char *recording = map_recording();
	static void *blocks[BLOCKS];
	int64_t start_ns = thread_cpu_ns();

	if (!recording)
		return 3;
	lock_holder = (const _Atomic uint32_t *)(const void *)(recording + offset);
	own_thread = (uint32_t)syscall(SYS_gettid);
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &often, NULL);
	for (unsigned i = 0; thread_cpu_ns() - start_ns < WORK_NS; i++) {
		free(blocks[i % BLOCKS]);
		blocks[i % BLOCKS] = descend(i * 2654435761U, DEPTH);
	}
	tell("meetings", meetings);
	return 0;
}
