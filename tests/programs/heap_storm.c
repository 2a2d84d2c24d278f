/*
 * heap_storm THREADS MS [KILLED]: threads that allocate, hand each other blocks through
 * queues and free what they are handed, all with an account in the file "storm"
 * (heap_storm.h). They end after MS, leaving what is in their queues; at 0 never. With
 * a third argument threads also end and begin all the time.
 *
 * Then tells what of the process's memory is not the program's own: pages of shared
 * files and of areas that it did not ask for.
 */
#include "heap_storm.h"
#include "burn.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#define QUEUE_BLOCKS 16
#define THREADS_MAX 4096
#define STACK_BYTES 65536
/* Steps of a thread that is to end soon. */
#define SHORT_STEPS 2000

struct block {
	void *address;
	unsigned site;
};

struct queue {
	pthread_mutex_t lock;
	unsigned count;
	struct block blocks[QUEUE_BLOCKS];
};

static const size_t sizes[HEAP_STORM_SITES] = HEAP_STORM_SIZES;
static struct heap_storm *account;
static struct queue queues[THREADS_MAX];
static long thread_count;
static int64_t end_ns;
static int is_ending_threads;

#define SITE(number)                                                                     \
	NOINLINE void *storm_##number(void);                                             \
	void *storm_##number(void)                                                       \
	{                                                                                \
		void *block = malloc(sizes[number]);                                     \
                                                                                         \
		__asm__ volatile("" : "+r"(block));                                      \
		return block;                                                            \
	}

SITE(0)
SITE(1)
SITE(2)
SITE(3)
SITE(4)
SITE(5)
SITE(6)
SITE(7)

static void *(*const storm_sites[HEAP_STORM_SITES])(void) = {
	storm_0, storm_1, storm_2, storm_3, storm_4, storm_5, storm_6, storm_7};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static struct block allocate(unsigned site)
{
	struct block block = {.site = site};

	atomic_fetch_add(&account->sites[site].allocs_begun, 1);
	block.address = storm_sites[site]();
	if (block.address == NULL)
		_exit(4);
	atomic_fetch_add(&account->sites[site].allocs_done, 1);
	*(volatile unsigned char *)block.address = (unsigned char)site;
	return block;
}

static void give_back(struct block block)
{
	if (*(volatile unsigned char *)block.address != (unsigned char)block.site)
		_exit(6);
	atomic_fetch_add(&account->sites[block.site].frees_begun, 1);
	free(block.address);
	atomic_fetch_add(&account->sites[block.site].frees_done, 1);
}

/* The larger, the rarer. */
static unsigned any_site(uint64_t *random)
{
	return (unsigned)__builtin_ctzll(next_random(random) |
					 1U << (HEAP_STORM_SITES - 1));
}

/* Into somebody's queue; what has no room there is freed at once. */
static void hand_over(struct queue *queue, struct block block)
{
	bool is_taken = false;

	pthread_mutex_lock(&queue->lock);
	if (queue->count < QUEUE_BLOCKS) {
		queue->blocks[queue->count++] = block;
		is_taken = true;
	}
	pthread_mutex_unlock(&queue->lock);
	if (!is_taken)
		give_back(block);
}

static void take_one(struct queue *queue)
{
	struct block block = {NULL, 0};

	pthread_mutex_lock(&queue->lock);
	if (queue->count > 0)
		block = queue->blocks[--queue->count];
	pthread_mutex_unlock(&queue->lock);
	if (block.address != NULL)
		give_back(block);
}

static void *storm(void *number)
{
	uint64_t random = ((uint64_t)(uintptr_t)number + 1) * 0x9e3779b97f4a7c15U ^
			  (uint64_t)clock_ns(CLOCK_MONOTONIC);
	struct queue *own = &queues[(uintptr_t)number];

	for (long i = 0; !is_ending_threads || i < SHORT_STEPS; i++) {
		if (end_ns && i % 64 == 0 && clock_ns(CLOCK_MONOTONIC) >= end_ns)
			break;
		hand_over(&queues[next_random(&random) % (uint64_t)thread_count],
			  allocate(any_site(&random)));
		take_one(own);
	}
	return NULL;
}

/* One life after the other. */
static void *keep_going(void *number)
{
	pthread_t thread;

	do {
		if (pthread_create(&thread, NULL, storm, number) != 0 ||
		    pthread_join(thread, NULL) != 0)
			_exit(5);
	} while (!end_ns || clock_ns(CLOCK_MONOTONIC) < end_ns);
	return NULL;
}

static void open_account(void)
{
	int fd = open(HEAP_STORM_FILE, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || ftruncate(fd, sizeof(*account)) != 0)
		_exit(2);
	account = mmap(NULL, sizeof(*account), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (account == MAP_FAILED)
		_exit(2);
	close(fd);
}

int main(int argc, char **argv)
{
	int64_t duration_ms = number_argument(argc, argv, 2, 1000);
	static pthread_t threads[THREADS_MAX];
	pthread_attr_t attributes;

	thread_count = number_argument(argc, argv, 1, 4);
	is_ending_threads = argc > 3;
	if (thread_count < 1 || thread_count > THREADS_MAX)
		return 2;
	open_account();
	for (long i = 0; i < thread_count; i++)
		pthread_mutex_init(&queues[i].lock, NULL);
	if (duration_ms)
		end_ns = clock_ns(CLOCK_MONOTONIC) + duration_ms * NS_PER_MS;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (long i = 0; i < thread_count; i++) {
		if (pthread_create(&threads[i], &attributes,
				   is_ending_threads ? keep_going : storm,
				   (void *)i) != 0)
			return 5;
		atomic_fetch_add(&account->threads, 1);
	}
	for (long i = 0; i < thread_count; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
