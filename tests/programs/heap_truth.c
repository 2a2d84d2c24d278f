/*
 * heap_truth exact|drift|volume [SEED]: allocates at known places and tells for each of
 * them the truth: how many blocks of which size, how many of them are in use at its
 * end, and how many were at the peak (see heap_oracle.h).
 *
 *   exact   few blocks of everything, by five threads that free each other's; the peak
 *           is one large step above all before
 *   drift   the same, but the peak is come to in small steps while three threads are
 *           busy
 *   volume  much of a few, so that sampling at 512 KiB has a hundred samples of each;
 *           one thread after the other
 */
#include "heap_truth_sites.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>

#define WORKERS 4
#define WORKER_STEPS 6000
#define OWNED_MAX 64
#define PEAK_BLOCKS 64
#define DRIFT_BLOCKS 8000
#define BUSY_THREADS 3

struct owned {
	void *address;
	size_t bytes;
	unsigned site;
};

struct worker {
	uint64_t random;
	struct owned owned[OWNED_MAX];
	unsigned count;
	/* What the neighbour hands over to be freed here. */
	pthread_mutex_t lock;
	struct owned handed[OWNED_MAX];
	unsigned handed_count;
};

static struct heap_site_rows sites[HEAP_ORACLE_SITES];
static struct worker workers[WORKERS + 1]; /* the last is main's own */
static pthread_barrier_t before_peak, after_peak;
static _Atomic int is_peak_over;
static void (*oracle_mark_peak)(void);

static uint64_t next_random(uint64_t *state)
{
	uint64_t value = *state += UINT64_C(0x9e3779b97f4a7c15);

	value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

static struct owned allocate_at(const struct site *site, size_t bytes)
{
	struct owned block = {site->allocate(bytes), bytes, site->number};

	if (block.address == NULL)
		exit(4);
	heap_site_count(&sites[site->number], bytes, 1, 1);
	return block;
}

static void release(struct owned block)
{
	heap_site_count(&sites[block.site], block.bytes, 0, -1);
	free(block.address);
}

static struct owned reallocate_at(const struct resite *site, struct owned old,
				  size_t bytes)
{
	struct owned block = {site->reallocate(old.address, bytes), bytes, site->number};

	heap_site_count(&sites[old.site], old.bytes, 0, -1);
	/* Of nothing there is nothing. */
	if (bytes == 0)
		return block;
	if (block.address == NULL)
		exit(4);
	heap_site_count(&sites[site->number], bytes, 1, 1);
	return block;
}

static void keep(struct worker *worker, struct owned block)
{
	if (block.address == NULL)
		return;
	if (worker->count == OWNED_MAX)
		release(worker->owned[--worker->count]);
	worker->owned[worker->count++] = block;
}

static struct owned take_any(struct worker *worker)
{
	unsigned i = (unsigned)(next_random(&worker->random) % worker->count);
	struct owned block = worker->owned[i];

	worker->owned[i] = worker->owned[--worker->count];
	return block;
}

static void hand_to(struct worker *other, struct owned block)
{
	bool is_taken = false;

	pthread_mutex_lock(&other->lock);
	if (other->handed_count < OWNED_MAX) {
		other->handed[other->handed_count++] = block;
		is_taken = true;
	}
	pthread_mutex_unlock(&other->lock);
	if (!is_taken)
		release(block);
}

static void release_handed(struct worker *worker)
{
	struct owned handed[OWNED_MAX];
	unsigned count;

	pthread_mutex_lock(&worker->lock);
	count = worker->handed_count;
	memcpy(handed, worker->handed, count * sizeof(*handed));
	worker->handed_count = 0;
	pthread_mutex_unlock(&worker->lock);
	while (count > 0)
		release(handed[--count]);
}

/* Large blocks seldom, so that the peak is elsewhere. */
static const struct site *any_site(uint64_t *random)
{
	for (;;) {
		const struct site *site =
			&all_sites[next_random(random) % COUNT_OF(all_sites)];

		if (site->sizes[0] < 256 * KIB || next_random(random) % 32 == 0)
			return site;
	}
}

static void step(struct worker *worker)
{
	static const size_t new_sizes[] = {0, 1, 24, 100, 1000, 5000, 70000, 300000};
	uint64_t kind = next_random(&worker->random) % 16;
	struct worker *other = &workers[(worker - workers + 1) % (WORKERS + 1)];

	if (worker->count == 0 || kind < 8) {
		const struct site *site = any_site(&worker->random);

		keep(worker, allocate_at(site, site->sizes[next_random(&worker->random) %
							   site->size_count]));
	} else if (kind < 11) {
		release(take_any(worker));
	} else if (kind < 14) {
		uint64_t random = next_random(&worker->random);

		keep(worker, reallocate_at(&all_resites[random % COUNT_OF(all_resites)],
					   take_any(worker),
					   new_sizes[random / 16 % COUNT_OF(new_sizes)]));
	} else {
		hand_to(other, take_any(worker));
		release_handed(worker);
	}
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	for (int i = 0; i < WORKER_STEPS; i++)
		step(worker);
	pthread_barrier_wait(&before_peak);
	pthread_barrier_wait(&after_peak);
	/* So that an end has no more than was there before the peak. */
	while (worker->count > OWNED_MAX / 4)
		release(take_any(worker));
	release_handed(worker);
	return NULL;
}

static void *be_busy(void *unused)
{
	static const struct site site = {42, site_42, {40}, 1};

	while (!atomic_load(&is_peak_over))
		release(allocate_at(&site, site.sizes[0]));
	return unused;
}

static void mark_peak(void)
{
	for (unsigned i = 0; i < HEAP_ORACLE_SITES; i++)
		heap_site_mark_peak(&sites[i]);
	if (oracle_mark_peak != NULL)
		oracle_mark_peak();
}

static void make_peak_in_one_step(void)
{
	static const struct site site = {41, site_41, {8 * MIB}, 1};
	struct owned blocks[PEAK_BLOCKS];

	for (int i = 0; i < PEAK_BLOCKS; i++)
		blocks[i] = allocate_at(&site, site.sizes[0]);
	mark_peak();
	for (int i = 0; i < PEAK_BLOCKS; i++)
		release(blocks[i]);
}

/* Each step is a small part of the whole. */
static void make_peak_in_small_steps(void)
{
	static const struct site large = {41, site_41, {8 * MIB, 10000}, 2};
	static struct owned blocks[PEAK_BLOCKS + DRIFT_BLOCKS];
	pthread_t busy[BUSY_THREADS];
	int count = 0;

	for (int i = 0; i < BUSY_THREADS; i++)
		pthread_create(&busy[i], NULL, be_busy, NULL);
	while (count < PEAK_BLOCKS / 4)
		blocks[count++] = allocate_at(&large, large.sizes[0]);
	while (count < PEAK_BLOCKS / 4 + DRIFT_BLOCKS)
		blocks[count++] = allocate_at(&large, large.sizes[1]);
	mark_peak();
	while (count > 0)
		release(blocks[--count]);
	atomic_store(&is_peak_over, 1);
	for (int i = 0; i < BUSY_THREADS; i++)
		pthread_join(busy[i], NULL);
}

static void run_few(uint64_t seed, bool is_drifting)
{
	struct worker *own = &workers[WORKERS];
	pthread_t threads[WORKERS];

	pthread_barrier_init(&before_peak, NULL, WORKERS + 1);
	pthread_barrier_init(&after_peak, NULL, WORKERS + 1);
	for (int i = 0; i <= WORKERS; i++) {
		workers[i].random = seed * 1000 + (uint64_t)i;
		pthread_mutex_init(&workers[i].lock, NULL);
	}
	/* Each at least once in main. */
	for (size_t i = 0; i < COUNT_OF(all_sites); i++)
		for (unsigned j = 0; j < all_sites[i].size_count; j++)
			keep(own, allocate_at(&all_sites[i], all_sites[i].sizes[j]));
	for (size_t i = 0; i < COUNT_OF(library_sites); i++)
		for (unsigned j = 0; j < library_sites[i].size_count; j++)
			if (library_sites[i].allocate(library_sites[i].sizes[j]) == NULL)
				exit(4);
	for (int i = 0; i < WORKERS; i++)
		if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
			exit(5);
	for (int i = 0; i < WORKER_STEPS; i++)
		step(own);
	pthread_barrier_wait(&before_peak);
	if (is_drifting)
		make_peak_in_small_steps();
	else
		make_peak_in_one_step();
	pthread_barrier_wait(&after_peak);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	/* Blocks of threads that are gone. */
	for (int i = 0; i < WORKERS; i++)
		while (workers[i].count > OWNED_MAX / 8)
			release(take_any(&workers[i]));
}

/* Samples to expect of each; in use at the end where it says so. */
#define VOLUME_SAMPLES 110
#define MIXED_SAMPLES 450

struct volume {
	const struct site *site;
	unsigned samples;
	bool is_kept;
	double rate_bytes;
};

/* 1 - exp(-x), without the mathematics library. */
static double sampled_share(double x)
{
	double term = x, sum = 0;

	if (x > 40)
		return 1;
	if (x > 1) {
		double half = sampled_share(x / 2);

		return half * (2 - half);
	}
	for (int i = 2; i < 25; i++) {
		sum += term;
		term *= -x / i;
	}
	return sum;
}

static void *allocate_volume(void *argument)
{
	const struct volume *volume = argument;
	const struct site *site = volume->site;
	double expected = 0;

	for (unsigned i = 0; expected < volume->samples; i++) {
		size_t bytes = site->sizes[i % site->size_count];
		struct owned block = allocate_at(site, bytes);

		expected += sampled_share((double)bytes / volume->rate_bytes);
		if (!volume->is_kept)
			release(block);
	}
	return NULL;
}

/* A buffer that grows and shrinks, by old blocks in new sizes alone. */
static void reallocate_volume(double rate_bytes)
{
	static const size_t sizes[] = {1000,  3000,   9000,  30000,
				       90000, 300000, 50000, 5000};
	struct owned block = allocate_at(&all_sites[8], 1000);
	double expected = 0;

	for (unsigned i = 1; expected < MIXED_SAMPLES; i++) {
		size_t bytes = sizes[i % COUNT_OF(sizes)];

		block = reallocate_at(&all_resites[0], block, bytes);
		expected += sampled_share((double)bytes / rate_bytes);
	}
	release(block);
}

static void run_volume(double rate_bytes)
{
	/* Numbers of all_sites, less 1. */
	static const struct {
		unsigned index;
		bool is_kept, is_own_thread;
	} plan[] = {
		{1, false, false},  {3, false, true},	{5, false, false},
		{7, false, false},  {8, false, true},	{10, false, false},
		{10, true, true},   {12, false, false}, {13, true, false},
		{14, false, false}, {15, false, true},	{16, false, false},
		{17, true, false},  {18, false, false}, {19, false, true},
		{21, false, false}, {23, false, false}, {25, false, true},
		{26, false, false}, {27, false, false}, {28, false, true},
		{34, false, false}, {36, false, false}, {38, true, false},
		{39, true, false},
	};

	for (size_t i = 0; i < COUNT_OF(plan); i++) {
		const struct site *site = &all_sites[plan[i].index];
		struct volume volume = {
			site, site->size_count > 1 ? MIXED_SAMPLES : VOLUME_SAMPLES,
			plan[i].is_kept, rate_bytes};
		pthread_t thread;

		if (!plan[i].is_own_thread)
			allocate_volume(&volume);
		else if (pthread_create(&thread, NULL, allocate_volume, &volume) != 0 ||
			 pthread_join(thread, NULL) != 0)
			exit(5);
	}
	reallocate_volume(rate_bytes);
	mark_peak();
}

/* A function of the second opinion, if it is said to be there: a search in vain would
 * allocate its message. */
static void *find(const char *name)
{
	return getenv("HEAP_ORACLE") != NULL ? dlsym(RTLD_DEFAULT, name) : NULL;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "exact";
	uint64_t seed = (uint64_t)number_argument(argc, argv, 2, 1);
	void (*oracle_tell)(void) = (void (*)(void))find("heap_oracle_tell");

	oracle_enter = (void (*)(unsigned))find("heap_oracle_enter");
	oracle_mark_peak = (void (*)(void))find("heap_oracle_mark_peak");
	if (strcmp(mode, "volume") == 0)
		run_volume(512.0 * 1024);
	else
		run_few(seed, strcmp(mode, "drift") == 0);
	for (unsigned i = 1; i < HEAP_ORACLE_SITES; i++)
		heap_site_tell("", i, &sites[i]);
	if (oracle_tell != NULL)
		oracle_tell();
	return 0;
}
