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
 *   reuse    three threads put blocks of one size into each other's places, NUMBER
 *            times and for many sizes in turn, so that memory of one size becomes that
 *            of another; what was written into a block is there until it is freed
 *   ends     NUMBER threads, one after the other, end soon after they freed blocks of
 *            many sizes: the process does not grow by what each had at hand
 *   idle     60 threads that freed blocks of many sizes: none of them keeps more than
 *            2 MiB
 *   late     the same of NUMBER threads that allocate and free in each round of their
 *            destructors, half of them there for the first time
 *   short    blocks of NUMBER bytes until there are no more, with little memory; then
 *            20 threads make their first allocation; tells how many calls succeeded,
 *            and how many failed
 */
#include "burn.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
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

/* --- reuse --- */

#define SHARED_BLOCKS 400
#define REUSING_THREADS 3

struct filled {
	size_t size_bytes;
	unsigned char bytes[];
};

static struct filled *_Atomic shared[SHARED_BLOCKS];
static size_t reuse_bytes, reuse_times;

static unsigned char filling(const struct filled *block)
{
	return (unsigned char)((uintptr_t)block >> 4 ^ block->size_bytes);
}

static struct filled *fill(struct filled *block, size_t size_bytes)
{
	if (block == NULL)
		fail("malloc", size_bytes);
	block->size_bytes = size_bytes;
	memset(block->bytes, filling(block), size_bytes);
	return block;
}

static void check_filled(const struct filled *block)
{
	for (size_t i = 0; i < block->size_bytes; i++)
		if (block->bytes[i] != filling(block))
			fail("somebody wrote into a block", block->size_bytes);
}

static void replace_shared(size_t index, struct filled *block)
{
	block = atomic_exchange(&shared[index], block);
	if (block == NULL)
		return;
	check_filled(block);
	free(block);
}

static void *reuse_one_size(void *argument)
{
	uint64_t random = (uintptr_t)argument;

	for (size_t i = 0; i < reuse_times; i++) {
		struct filled *block;
		size_t size_bytes;

		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		size_bytes = reuse_bytes - (random >> 40) % (reuse_bytes / 8 + 1);
		block = i % 7 ? malloc(sizeof(*block) + size_bytes)
			      : memalign(64, sizeof(*block) + size_bytes);
		fill(block, size_bytes);
		if (i % 5 == 0) {
			size_bytes += (random >> 50) % 64;
			/* It may move, and what is in it depends on where it is. */
			block = realloc(block, sizeof(*block) + size_bytes);
			fill(block, size_bytes);
		}
		replace_shared((random >> 33) % SHARED_BLOCKS, block);
	}
	return NULL;
}

static int reuse(int64_t times)
{
	pthread_t threads[REUSING_THREADS];

	for (reuse_bytes = 700000; reuse_bytes > 8; reuse_bytes -= reuse_bytes / 4) {
		/* The large ones take longer. */
		reuse_times = (size_t)times * 100 / (reuse_bytes / 16 + 100) + 1;
		for (uintptr_t i = 0; i < REUSING_THREADS; i++)
			if (pthread_create(&threads[i], NULL, reuse_one_size,
					   (void *)(i + reuse_bytes)))
				return 3;
		for (size_t i = 0; i < REUSING_THREADS; i++)
			pthread_join(threads[i], NULL);
		for (size_t i = 0; i < SHARED_BLOCKS; i++)
			replace_shared(i, NULL);
	}
	printf("done\n");
	return 0;
}

/* --- ends --- */

/* Twice what one thread may keep for itself, and then some. */
#define ENDS_GROWTH_BYTES_MAX ((size_t)32 << 20)
#define WARMING_THREADS 50

static size_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	size_t pages = 0;

	if (file == NULL || fscanf(file, "%*u %zu", &pages) != 1)
		fail("/proc/self/statm", 0);
	fclose(file);
	return pages * 4096;
}

static void *free_and_end(void *unused)
{
	void *blocks[8];

	(void)unused;
	for (size_t size_bytes = 16; size_bytes <= 131072; size_bytes += size_bytes / 4) {
		for (size_t i = 0; i < 8; i++) {
			blocks[i] = malloc(size_bytes);
			if (blocks[i] == NULL)
				fail("malloc", size_bytes);
			memset(blocks[i], 1, size_bytes);
		}
		for (size_t i = 0; i < 8; i++)
			free(blocks[i]);
	}
	return NULL;
}

static int end_many(int64_t count, void *(*start)(void *), size_t growth_bytes_max)
{
	size_t before_bytes = 0;

	for (int64_t i = 0; i < count + WARMING_THREADS; i++) {
		pthread_t thread;

		if (i == WARMING_THREADS)
			before_bytes = resident_bytes();
		if (pthread_create(&thread, NULL, start, (void *)(uintptr_t)i))
			return 3;
		pthread_join(thread, NULL);
	}
	if (resident_bytes() > before_bytes + growth_bytes_max)
		fail("ended threads keep memory", resident_bytes() - before_bytes);
	printf("done\n");
	return 0;
}

/* --- idle --- */

#define IDLE_THREADS 60
#define IDLE_BYTES_MAX ((size_t)2 << 20) /* of a thread, its stack included */

static pthread_barrier_t are_idle;

/* One block of each size at a time, so that all but one could be kept. */
static void *free_and_wait(void *unused)
{
	(void)unused;
	for (size_t size_bytes = 16; size_bytes <= 524288; size_bytes += size_bytes / 5) {
		void *block = malloc(size_bytes);

		if (block == NULL)
			fail("malloc", size_bytes);
		memset(block, 1, size_bytes);
		/* Or nobody would write what nobody reads. */
		__asm__ volatile("" : : "r"(block) : "memory");
		free(block);
	}
	pthread_barrier_wait(&are_idle);
	pthread_barrier_wait(&are_idle);
	return NULL;
}

static int idle(void)
{
	pthread_t threads[IDLE_THREADS];
	size_t before_bytes = resident_bytes(), bytes;

	pthread_barrier_init(&are_idle, NULL, IDLE_THREADS + 1);
	for (size_t i = 0; i < IDLE_THREADS; i++)
		if (pthread_create(&threads[i], NULL, free_and_wait, NULL))
			return 3;
	pthread_barrier_wait(&are_idle);
	bytes = (resident_bytes() - before_bytes) / IDLE_THREADS;
	pthread_barrier_wait(&are_idle);
	for (size_t i = 0; i < IDLE_THREADS; i++)
		pthread_join(threads[i], NULL);
	if (bytes > IDLE_BYTES_MAX)
		fail("idle threads keep memory", bytes);
	printf("done\n");
	return 0;
}

/* --- late --- */

/* Of the C library, or of what else there is once: a thread of which something is left
 * would leave a page at least. */
#define LATE_GROWTH_BYTES_MAX ((size_t)1 << 20)

static pthread_key_t late_key;

static void use_block(size_t size_bytes)
{
	volatile char *block = malloc(size_bytes);

	__asm__ volatile("" : "+r"(block));
	if (block == NULL)
		fail("malloc", size_bytes);
	block[0] = 1;
	free((void *)(uintptr_t)block);
}

static void free_late(void *rounds)
{
	use_block(1000000);
	use_block(100);
	if ((uintptr_t)rounds > 1)
		pthread_setspecific(late_key, (void *)((uintptr_t)rounds - 1));
}

static void *end_late(void *number)
{
	if ((uintptr_t)number % 2 == 0)
		use_block((uintptr_t)number % 1000 + 1);
	pthread_setspecific(late_key, (void *)(uintptr_t)PTHREAD_DESTRUCTOR_ITERATIONS);
	return NULL;
}

static int late(int64_t count)
{
	use_block(100);
	if (pthread_key_create(&late_key, free_late) != 0)
		return 3;
	return end_many(count, end_late, LATE_GROWTH_BYTES_MAX);
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
	if (strcmp(mode, "reuse") == 0)
		return reuse(number);
	if (strcmp(mode, "ends") == 0)
		return end_many(number, free_and_end, ENDS_GROWTH_BYTES_MAX);
	if (strcmp(mode, "idle") == 0)
		return idle();
	if (strcmp(mode, "late") == 0)
		return late(number);
	if (strcmp(mode, "short") == 0)
		return run_short((size_t)number);
	return 2;
}
