/*
 * What allocating costs: one small loop over the heap, timed from inside by the CPU
 * clocks, so that start-up and end do not count.
 *
 *   heap_pairs [KEY=NUMBER ...] MODE [KEY=NUMBER ...] [, MODE ...]
 *
 *   pair     malloc and free of size= bytes, on stacks of depth= frames (10 and more)
 *   replace  frees one of blocks= live blocks at random, allocates another; sizes of
 *            16 to 1024 bytes, small ones more often; size= fixes it
 *   cross    one thread allocates size= bytes, another frees
 *   realloc  grows a block from 16 bytes to 64 KiB by half each time
 *   usable   prints malloc_usable_size() of 100 bytes: which allocator is this?
 *
 *   threads=    that do so at once, 1 or more (cross: pairs of threads)
 *   pause_us=   sleep between chunks, in which a profiler may tidy up
 *   live=, live_size=, settle_ms=   before the first mode: blocks that are kept all the
 *               while and never touched, and a sleep after they were allocated
 *
 * Prints two numbers for each mode, ns per operation: the median over chunks of about a
 * millisecond of the threads' own CPU time, and the mean of the whole process's.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#define THREADS_MAX 16
/* Few: how fast a loop is depends on where the loader put things, so that many short
 * runs tell more than a long one. */
#define CHUNKS 11
#define CHUNK_NS UINT64_C(1000000)
#define BATCH_BLOCKS 1024
#define BATCHES 2
#define GROWN_BYTES ((size_t)64 << 10)
/* From _start to the loop's own, without levels. */
#define FRAMES_MIN 10
#define NOINLINE __attribute__((noinline))

static size_t live_blocks, live_size_bytes, settle_ms;
/* Of one mode; see set_defaults(). */
static size_t size_bytes, depth_frames, replace_blocks, thread_count, pause_us;
static pthread_barrier_t barrier;
static uint64_t process_start_ns;

struct worker {
	uint64_t random_state;
	void **blocks;	  /* replace */
	double median_ns; /* of its chunks, per operation */
	uint64_t operations;
	/* cross: this one allocates, its other thread frees. */
	void *batches[BATCHES][BATCH_BLOCKS];
	size_t turn;
	sem_t full, empty;
	uint64_t freeing_ns;
};

static struct worker workers[THREADS_MAX];

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static uint64_t thread_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void fail(const char *what, const char *word)
{
	fprintf(stderr, "heap_pairs: %s: %s\n", what, word);
	exit(EXIT_FAILURE);
}

static void *checked(void *ptr)
{
	if (!ptr)
		fail("malloc", "out of memory");
	/* Neither this block nor its free may be optimised away. */
	__asm__ volatile("" : : "r"(ptr) : "memory");
	return ptr;
}

static uint64_t next_random(struct worker *self)
{
	uint64_t x = self->random_state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return self->random_state = x;
}

/* --- the loops: all return the operations done, about as many as asked for --- */

static size_t pair(struct worker *self, size_t operations)
{
	size_t bytes = size_bytes;

	(void)self;
	for (size_t i = 0; i < operations; i++)
		free(checked(malloc(bytes)));
	return operations;
}

static size_t random_size(struct worker *self)
{
	uint64_t bits = next_random(self);

	if (size_bytes)
		return size_bytes;
	/* 16 to 1024: each doubling as likely as the next. */
	return (size_t)16 << bits % 6 | (bits >> 8 & 15);
}

static size_t replace(struct worker *self, size_t operations)
{
	for (size_t i = 0; i < operations; i++) {
		void **block = &self->blocks[next_random(self) % replace_blocks];

		free(*block);
		*block = checked(malloc(random_size(self)));
		**(char **)block = 1;
	}
	return operations;
}

static size_t grow(struct worker *self, size_t operations)
{
	size_t done = 0;

	(void)self;
	while (done < operations) {
		void *ptr = checked(malloc(16));

		for (size_t bytes = 24; bytes <= GROWN_BYTES; bytes += bytes / 2, done++)
			ptr = checked(realloc(ptr, bytes));
		free(ptr);
	}
	return done;
}

static void *free_batches(void *argument)
{
	struct worker *self = argument;

	for (size_t turn = 0;; turn++) {
		void **batch = self->batches[turn % BATCHES];
		uint64_t start_ns;

		while (sem_wait(&self->full) != 0)
			;
		if (!batch[0])
			return NULL;
		start_ns = thread_ns();
		for (size_t i = 0; i < BATCH_BLOCKS; i++)
			free(batch[i]);
		__atomic_fetch_add(&self->freeing_ns, thread_ns() - start_ns,
				   __ATOMIC_RELAXED);
		sem_post(&self->empty);
	}
}

/* --- frames of different shapes that call one another in turn, so that a deep stack
 * is not one rule over and over --- */

typedef size_t (*loop)(struct worker *self, size_t operations);
typedef size_t (*level)(loop leaf, struct worker *self, size_t operations, size_t left);

static const level levels[];

#define LEVEL(number)                                                                    \
	static NOINLINE size_t level_##number(loop leaf, struct worker *self,            \
					      size_t operations, size_t left)            \
	{                                                                                \
		char local[16 + (number)*24];                                            \
		size_t done;                                                             \
                                                                                         \
		__asm__ volatile("" : : "r"(local) : "memory");                          \
		done = left ? levels[left % 10](leaf, self, operations, left - 1)        \
			    : leaf(self, operations);                                    \
		__asm__ volatile("" : "+r"(done) : : "memory");                          \
		return done;                                                             \
	}

LEVEL(0)
LEVEL(1)
LEVEL(2)
LEVEL(3)
LEVEL(4)
LEVEL(5)
LEVEL(6)
LEVEL(7)
LEVEL(8)
LEVEL(9)

static const level levels[10] = {
	level_0, level_1, level_2, level_3, level_4,
	level_5, level_6, level_7, level_8, level_9,
};

/* Its CPU time. */
static NOINLINE uint64_t run_chunk(loop leaf, struct worker *self, size_t *operations)
{
	uint64_t start_ns = thread_ns();

	*operations = depth_frames > FRAMES_MIN ? level_0(leaf, self, *operations,
							  depth_frames - FRAMES_MIN - 1)
						: leaf(self, *operations);
	return thread_ns() - start_ns;
}

/* One chunk is a batch; what the other thread took for it is added at the end. */
static size_t allocate_batches(struct worker *self, size_t operations)
{
	size_t done;

	for (done = 0; done < operations; done += BATCH_BLOCKS) {
		void **batch = self->batches[self->turn++ % BATCHES];

		while (sem_wait(&self->empty) != 0)
			;
		for (size_t i = 0; i < BATCH_BLOCKS; i++)
			batch[i] = checked(malloc(size_bytes));
		sem_post(&self->full);
	}
	return done;
}

static void end_batches(struct worker *self, pthread_t other)
{
	/* All are back: whichever is next carries the end. */
	for (size_t i = 0; i < BATCHES; i++)
		while (sem_wait(&self->empty) != 0)
			;
	for (size_t i = 0; i < BATCHES; i++)
		self->batches[i][0] = NULL;
	sem_post(&self->full);
	pthread_join(other, NULL);
}

/* --- the measurement --- */

static int by_value(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return left < right ? -1 : left > right;
}

static NOINLINE void measure(struct worker *self, loop leaf)
{
	double chunk_ns[CHUNKS];
	size_t operations = 32, done;

	do {
		operations *= 2;
		done = operations;
	} while (run_chunk(leaf, self, &done) < CHUNK_NS / 2);
	if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
		process_start_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	__atomic_store_n(&self->freeing_ns, 0, __ATOMIC_RELAXED);
	for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
		const struct timespec pause = {.tv_nsec = (long)pause_us * 1000};
		uint64_t took_ns;

		done = operations;
		took_ns = run_chunk(leaf, self, &done);
		chunk_ns[chunk] = (double)took_ns / (double)done;
		self->operations += done;
		if (pause_us)
			nanosleep(&pause, NULL);
	}
	qsort(chunk_ns, CHUNKS, sizeof(chunk_ns[0]), by_value);
	self->median_ns = chunk_ns[CHUNKS / 2];
}

static loop chosen_loop;

static NOINLINE void *work(void *argument)
{
	struct worker *self = argument;
	pthread_t other;

	if (chosen_loop == replace) {
		self->blocks = checked(calloc(replace_blocks, sizeof(void *)));
		for (size_t i = 0; i < replace_blocks; i++)
			self->blocks[i] = checked(malloc(random_size(self)));
	}
	if (chosen_loop == allocate_batches) {
		sem_init(&self->full, 0, 0);
		sem_init(&self->empty, 0, BATCHES);
		pthread_create(&other, NULL, free_batches, self);
	}
	measure(self, chosen_loop);
	if (chosen_loop == allocate_batches) {
		end_batches(self, other);
		self->median_ns += (double)self->freeing_ns / (double)self->operations;
	}
	return NULL;
}

static void keep_live_blocks(void)
{
	const struct timespec settle = {.tv_sec = (time_t)(settle_ms / 1000),
					.tv_nsec = (long)(settle_ms % 1000) * 1000000};

	/* Only the allocator's own words in them are touched; a huge page for each
	 * would be more memory than there is. */
	if (live_blocks)
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	for (size_t i = 0; i < live_blocks; i++)
		(void)checked(malloc(live_size_bytes));
	nanosleep(&settle, NULL);
}

static NOINLINE void run(void)
{
	pthread_t threads[THREADS_MAX];
	uint64_t process_ns, operations = 0;
	double sum_ns = 0;

	memset(workers, 0, sizeof(workers));
	pthread_barrier_init(&barrier, NULL, (unsigned int)thread_count);
	for (size_t i = 0; i < thread_count; i++)
		workers[i].random_state = UINT64_C(0x9e3779b97f4a7c15) * (i + 1);
	/* The last is this thread: with one the process has no other of its own. */
	for (size_t i = 1; i < thread_count; i++)
		pthread_create(&threads[i], NULL, work, &workers[i]);
	work(&workers[0]);
	for (size_t i = 1; i < thread_count; i++)
		pthread_join(threads[i], NULL);
	process_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - process_start_ns;
	for (size_t i = 0; i < thread_count; i++) {
		sum_ns += workers[i].median_ns;
		operations += workers[i].operations;
	}
	printf("%.3f %.3f\n", sum_ns / (double)thread_count,
	       (double)process_ns / (double)operations);
}

static void set_defaults(void)
{
	size_bytes = pause_us = 0;
	depth_frames = FRAMES_MIN;
	replace_blocks = 20000;
	thread_count = 1;
}

static bool set_number(const char *argument)
{
	static const struct {
		const char *name;
		size_t *value;
	} numbers[] = {
		{"size", &size_bytes},		 {"threads", &thread_count},
		{"depth", &depth_frames},	 {"blocks", &replace_blocks},
		{"pause_us", &pause_us},	 {"live", &live_blocks},
		{"live_size", &live_size_bytes}, {"settle_ms", &settle_ms},
	};
	const char *equals = strchr(argument, '=');
	char *end;

	for (size_t i = 0; equals && i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (strlen(numbers[i].name) != (size_t)(equals - argument) ||
		    strncmp(numbers[i].name, argument, (size_t)(equals - argument)) != 0)
			continue;
		errno = 0;
		*numbers[i].value = strtoul(equals + 1, &end, 10);
		return !errno && !*end && end != equals + 1;
	}
	return false;
}

static void usable(void)
{
	printf("%zu\n", malloc_usable_size(checked(malloc(100))));
}

/* argv up to a comma or the end; returns what comes after. */
static char **run_mode(char **argv)
{
	static const struct {
		const char *name;
		loop leaf;
	} modes[] = {
		{"pair", pair},
		{"replace", replace},
		{"cross", allocate_batches},
		{"realloc", grow},
	};
	const char *mode = *argv++;

	set_defaults();
	for (; *argv && strcmp(*argv, ",") != 0; argv++)
		if (!set_number(*argv))
			fail("no such number", *argv);
	if (thread_count < 1 || thread_count > THREADS_MAX)
		fail("bad number of threads in mode", mode);
	chosen_loop = NULL;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(mode, modes[i].name) == 0)
			chosen_loop = modes[i].leaf;
	if (chosen_loop)
		run();
	else if (strcmp(mode, "usable") == 0)
		usable();
	else
		fail("no such mode", mode);
	return *argv ? argv + 1 : argv;
}

int main(int argc, char **argv)
{
	(void)argc;
	for (argv++; *argv && strchr(*argv, '='); argv++)
		if (!set_number(*argv))
			fail("no such number", *argv);
	keep_live_blocks();
	while (*argv)
		argv = run_mode(argv);
	return EXIT_SUCCESS;
}
