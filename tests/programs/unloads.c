/*
 * unloads FIRST SECOND ROUNDS: one thread opens and closes two libraries of the same
 * layout by turns, and calls what each does from a function of its own: which library it
 * was stays in the stacks. Most are gone before anybody can have looked at them. Two
 * others allocate with ever other stacks, so that somebody who follows all of it never
 * rests. Tells how often the second lay where the first had.
 */
#include "burn.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define BLOCKS_SHORT 20
#define BLOCKS_LONG 400
#define LONG_EACH 8
#define DEPTH_MAX 24

static atomic_bool is_over;
static const char *paths[2];
static int64_t rounds, same_places;
static int blocks;

NOINLINE int64_t call_first(int64_t (*work)(int blocks));
NOINLINE int64_t call_second(int64_t (*work)(int blocks));

int64_t call_first(int64_t (*work)(int blocks))
{
	return work(blocks) + 1;
}

int64_t call_second(int64_t (*work)(int blocks))
{
	return work(blocks) + 2;
}

/* Where it lay. */
static uintptr_t open_and_call(int which)
{
	static const char *const names[] = {"work_in_first", "work_in_second"};
	void *library = dlopen(paths[which], RTLD_NOW | RTLD_LOCAL);
	int64_t (*work)(int);
	uintptr_t place;

	if (library == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		_exit(4);
	}
	*(void **)&work = dlsym(library, names[which]);
	place = ((struct link_map *)library)->l_addr;
	if (which == 0)
		call_first(work);
	else
		call_second(work);
	dlclose(library);
	return place;
}

static void *churn(void *unused)
{
	for (int64_t i = 0; i < rounds; i++) {
		uintptr_t first;

		blocks = i % LONG_EACH ? BLOCKS_SHORT : BLOCKS_LONG;
		first = open_and_call(0);
		same_places += open_and_call(1) == first;
	}
	is_over = true;
	return unused;
}

static NOINLINE void descend(uint64_t path, int depth)
{
	void *block = malloc(32);

	__asm__ volatile("" : "+r"(block));
	/* Two ways down at each step. */
	if (depth > 0 && path & 1)
		descend(path >> 1, depth - 1);
	else if (depth > 0)
		descend(path >> 1, depth - 1);
	__asm__ volatile("" : "+r"(block));
	free(block);
}

static void *storm(void *unused)
{
	for (uint64_t i = 1; !is_over; i++)
		descend(i * UINT64_C(0x9e3779b97f4a7c15), (int)(i % DEPTH_MAX));
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t ids[3];

	rounds = number_argument(argc, argv, 3, 100);
	if (argc < 3)
		return 3;
	paths[0] = argv[1];
	paths[1] = argv[2];
	pthread_create(&ids[0], NULL, churn, NULL);
	pthread_create(&ids[1], NULL, storm, NULL);
	pthread_create(&ids[2], NULL, storm, NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(ids[i], NULL);
	tell("same_places", (long long)same_places);
	return 0;
}
