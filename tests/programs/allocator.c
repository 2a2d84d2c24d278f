/*
 * allocator MODE [NUMBER]: what another allocator behind malloc() must get right.
 *
 *   align    every function, many sizes and alignments: aligned to 16 bytes or more,
 *            usable to the end, kept by realloc; tells what 100 bytes take
 *   foreign  blocks that the C library made behind the agent's back: resized, asked for
 *            their size and freed by name
 *   forks    NUMBER children, forked while three threads allocate all the time; each
 *            allocates too, the last before it forks one itself
 *   threads  NUMBER threads that leave blocks to the main thread and to their
 *            destructors when they end
 *   short    blocks of NUMBER bytes until there are no more, with little memory; then
 *            20 threads make their first allocation; tells how many calls succeeded,
 *            and how many failed
 */
#include "burn.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define LIVE_BLOCKS 500
#define CHURNING_THREADS 3

static void fail(const char *what, size_t size_bytes)
{
	printf("%s of %zu bytes\n", what, size_bytes);
	fflush(stdout);
	_exit(5);
}

/* --- align --- */

static void check(const char *what, void *block, size_t size_bytes, size_t alignment)
{
	/* Seen, not assumed from the function's attributes. */
	__asm__ volatile("" : "+r"(block));
	if (!block || (uintptr_t)block % (alignment < 16 ? 16 : alignment) != 0 ||
	    malloc_usable_size(block) < size_bytes)
		fail(what, size_bytes);
	memset(block, 0x5a, malloc_usable_size(block));
}

static void check_resized(const unsigned char *block, size_t kept_bytes)
{
	for (size_t i = 0; i < kept_bytes; i++)
		if (block[i] != 0x5a)
			fail("realloc loses", i);
}

static void check_zero(const unsigned char *block, size_t size_bytes)
{
	for (size_t i = 0; i < size_bytes; i++)
		if (block[i] != 0)
			fail("calloc is not zero at", i);
}

static void try_size(size_t size_bytes)
{
	void *block = malloc(size_bytes);

	check("malloc", block, size_bytes, 16);
	block = realloc(block, size_bytes * 3 + 1);
	check_resized(block, size_bytes);
	check("larger", block, size_bytes * 3 + 1, 16);
	block = realloc(block, size_bytes / 2 + 1);
	check_resized(block, size_bytes / 2 + 1);
	check("smaller", block, size_bytes / 2 + 1, 16);
	free(block);
	block = calloc(size_bytes, 1);
	check_zero(block, size_bytes);
	check("calloc", block, size_bytes, 16);
	free(block);
	for (size_t alignment = 1; alignment <= 65536; alignment *= 4) {
		block = memalign(alignment, size_bytes);
		check("memalign", block, size_bytes, alignment);
		free(block);
		block = aligned_alloc(alignment, size_bytes);
		check("aligned_alloc", block, size_bytes, alignment);
		free(block);
		if (alignment < sizeof(void *))
			continue;
		if (posix_memalign(&block, alignment, size_bytes) != 0)
			fail("posix_memalign", size_bytes);
		check("posix_memalign", block, size_bytes, alignment);
		free(block);
	}
	block = valloc(size_bytes);
	check("valloc", block, size_bytes, 4096);
	free(block);
	block = pvalloc(size_bytes);
	check("pvalloc", block, (size_bytes + 4095) / 4096 * 4096, 4096);
	free(block);
}

static int align(void)
{
	void *block = malloc(100);

	for (size_t size_bytes = 0; size_bytes <= 300; size_bytes++)
		try_size(size_bytes);
	for (size_t size_bytes = 301; size_bytes < 3000000; size_bytes += size_bytes / 5)
		try_size(size_bytes);
	printf("usable=%zu\n", malloc_usable_size(block));
	free(block);
	return 0;
}

/* --- foreign --- */

static int foreign(void)
{
	void *library = dlopen("libc.so.6", RTLD_NOW);
	void *(*get)(size_t) = NULL;
	void *(*get_aligned)(size_t, size_t) = NULL;

	/* Of that library, whoever stands in front of it. */
	*(void **)&get = dlsym(library, "malloc");
	*(void **)&get_aligned = dlsym(library, "memalign");
	if (get == NULL || get_aligned == NULL)
		fail("the C library's own malloc", 0);
	for (size_t i = 0; i < 3000; i++) {
		size_t size_bytes = i * i % 300000;
		void *block = i % 2 ? get(size_bytes) : get_aligned(64, size_bytes);

		if (malloc_usable_size(block) < size_bytes)
			fail("usable size", size_bytes);
		memset(block, 0x5a, size_bytes);
		if (i % 3 == 0) {
			block = realloc(block, size_bytes * 2 + 1);
			check_resized(block, size_bytes);
		}
		free(block);
	}
	free(realloc(get(100), 0));
	printf("done\n");
	return 0;
}

/* --- forks --- */

static void churn(uint64_t seed, size_t times)
{
	static _Thread_local unsigned char *blocks[LIVE_BLOCKS];
	uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < times; i++) {
		unsigned char **block;
		size_t size_bytes;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		block = &blocks[random % LIVE_BLOCKS];
		size_bytes = (size_t)1 << (random >> 32) % 17;
		free(*block);
		*block = malloc(size_bytes);
		if (*block == NULL)
			fail("malloc", size_bytes);
		**block = 1;
	}
	for (size_t i = 0; i < LIVE_BLOCKS; i++) {
		free(blocks[i]);
		blocks[i] = NULL;
	}
}

static _Atomic bool is_over;

static void *churn_on(void *argument)
{
	for (uint64_t turn = 1; !is_over; turn++)
		churn((uintptr_t)argument + turn, 5000);
	return NULL;
}

static int wait_for(pid_t pid)
{
	int status = -1;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		fail("a child ended badly, status", (size_t)status);
	return 0;
}

static int forks(int64_t children)
{
	pthread_t threads[CHURNING_THREADS];

	for (uintptr_t i = 0; i < CHURNING_THREADS; i++)
		if (pthread_create(&threads[i], NULL, churn_on, (void *)(i * 1000)))
			return 3;
	for (int64_t i = 0; i < children; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			churn((uint64_t)i, 1000);
			if (i == children - 1) {
				pid = fork();
				churn((uint64_t)pid, 1000);
				_exit(pid == 0 ? 0 : wait_for(pid));
			}
			_exit(0);
		}
		wait_for(pid);
	}
	is_over = true;
	for (size_t i = 0; i < CHURNING_THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("done\n");
	return 0;
}

/* --- threads --- */

static pthread_key_t key;

/* Runs after the allocator's own destructor, or before, and again. */
static void destroy(void *argument)
{
	free(*(void **)argument);
	free(argument);
	churn(7, 100);
}

static void *leave_blocks(void *argument)
{
	void **kept = malloc(sizeof(void *));

	*kept = malloc(5000);
	pthread_setspecific(key, kept);
	churn((uintptr_t)argument, 3000);
	return malloc((uintptr_t)argument % 5000);
}

static int threads(int64_t count)
{
	pthread_key_create(&key, destroy);
	for (int64_t i = 0; i < count; i += 4) {
		pthread_t together[4];
		void *block;

		for (uintptr_t j = 0; j < 4; j++)
			if (pthread_create(&together[j], NULL, leave_blocks,
					   (void *)((uintptr_t)i + j)))
				return 3;
		for (size_t j = 0; j < 4; j++) {
			pthread_join(together[j], &block);
			free(block);
		}
	}
	printf("done\n");
	return 0;
}

/* --- short --- */

#define LATE_THREADS 20

static pthread_barrier_t memory_is_gone;
static _Atomic int64_t allocations, failures;

static void *counted(void *block)
{
	allocations += block != NULL;
	failures += block == NULL;
	return block;
}

static void *allocate_late(void *argument)
{
	void *block, *other;

	pthread_barrier_wait(&memory_is_gone);
	block = counted(malloc(100));
	other = counted(calloc(3, 1000));
	free(argument);
	free(block);
	free(other);
	return NULL;
}

static int run_short(size_t size_bytes)
{
	const struct rlimit limit = {500 << 20, 500 << 20};
	pthread_t late[LATE_THREADS];
	void **first = NULL;

	/* They are there, and have not allocated yet. */
	pthread_barrier_init(&memory_is_gone, NULL, LATE_THREADS + 1);
	for (size_t i = 0; i < LATE_THREADS; i++)
		if (pthread_create(&late[i], NULL, allocate_late,
				   counted(malloc(size_bytes))))
			return 3;
	if (setrlimit(RLIMIT_DATA, &limit) != 0)
		return 3;
	for (;;) {
		void **block = counted(malloc(size_bytes));

		if (block == NULL)
			break;
		*block = first;
		first = block;
	}
	if (errno != ENOMEM)
		return 4;
	pthread_barrier_wait(&memory_is_gone);
	for (size_t i = 0; i < LATE_THREADS; i++)
		pthread_join(late[i], NULL);
	while (first != NULL) {
		void *next = *first;

		free(first);
		first = next;
	}
	/* There is memory again. */
	first = counted(malloc(size_bytes));
	if (first == NULL)
		return 5;
	free(first);
	printf("allocations=%lld failures=%lld\n", (long long)allocations,
	       (long long)failures);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	int64_t number = number_argument(argc, argv, 2, 100);

	if (strcmp(mode, "align") == 0)
		return align();
	if (strcmp(mode, "foreign") == 0)
		return foreign();
	if (strcmp(mode, "forks") == 0)
		return forks(number);
	if (strcmp(mode, "threads") == 0)
		return threads(number);
	if (strcmp(mode, "short") == 0)
		return run_short((size_t)number);
	return 2;
}
