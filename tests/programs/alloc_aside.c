/*
 * alloc_aside: allocates in the first spans of 200 threads at once.
 * alloc_aside late: has a first span, after which the loader stores in one of our slots
 * what it found before, and one when that is mended.
 * alloc_aside LIBRARY LIBRARY: whom calls of malloc() meet, before a thread has its first
 * span and after, and how many blocks were allocated in spans: by the program itself, by
 * the C library for it, by a library that it opened before the first span and by one that
 * it opens after, by a thread that was there before and by one with a small stack, which
 * has the first span. Says whom only if told to.
 */
#include <spanprof/span.h>

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BLOCKS 1000
#define CROWD 200

typedef void allocating(int blocks);

static pthread_barrier_t barrier;
static int is_alike = 1;

static const char *who_serves(void)
{
	void *(*volatile called)(size_t) = malloc;
	Dl_info info;

	is_alike &= (void *)called == dlsym(RTLD_DEFAULT, "malloc");
	if (dladdr(dlsym(RTLD_NEXT, "malloc"), &info) &&
	    strstr(info.dli_fname, "libspanprof"))
		return "agent";
	return "other";
}

static void *keep(void *block)
{
	__asm__ volatile("" : "+r"(block));
	return block;
}

static void allocate_here(int blocks)
{
	for (int i = 0; i < blocks / 5; i++) {
		void *ptr;

		free(keep(malloc(24)));
		free(keep(calloc(3, 8)));
		free(keep(realloc(NULL, 24)));
		free(keep(reallocarray(NULL, 3, 8)));
		if (posix_memalign(&ptr, 64, 24) == 0)
			free(keep(ptr));
	}
}

static void allocate_in_c_library(int blocks)
{
	for (int i = 0; i < blocks; i++)
		free(keep(strdup("twenty-three characters")));
}

static void measure(const char *name, allocating *allocate)
{
	struct spanprof_callsite site = SPANPROF_CALLSITE(NULL, NULL);
	spanprof_span span;

	site.name = name;
	span = spanprof_begin(&site);
	allocate(BLOCKS);
	spanprof_end(span);
}

static void *work(void *unused)
{
	allocate_here(BLOCKS);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	measure("thread", allocate_here);
	return unused;
}

/* On a stack with nothing to spare. */
static void *begin_small(void *unused)
{
	measure("small", allocate_here);
	return unused;
}

static void run_small(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN);
	pthread_create(&thread, &attributes, begin_small, NULL);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attributes);
}

/* Whose first spans begin at the same time. */
static void *begin_in_crowd(void *unused)
{
	pthread_barrier_wait(&barrier);
	measure("crowd", allocate_here);
	return unused;
}

static void run_crowd(void)
{
	pthread_t threads[CROWD];

	pthread_barrier_init(&barrier, NULL, CROWD);
	for (int i = 0; i < CROWD; i++)
		pthread_create(&threads[i], NULL, begin_in_crowd, NULL);
	for (int i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
}

/* What our calls of malloc() go by; the loader has made it read-only. */
static void *volatile *find_slot(void)
{
	uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
	void *volatile *slot;

	__asm__("lea malloc@GOTPCREL(%%rip), %0" : "=r"(slot));
	mprotect((void *)((uintptr_t)slot / page_bytes * page_bytes), page_bytes,
		 PROT_READ | PROT_WRITE);
	return slot;
}

static void run_late(void)
{
	void *found = dlsym(RTLD_DEFAULT, "malloc");
	void *volatile *slot = find_slot();
	const struct timespec tick = {.tv_nsec = 1000000};

	run_small();
	*slot = found;
	for (int i = 0; i < 10000 && *slot == found; i++)
		nanosleep(&tick, NULL);
	measure("mended", allocate_here);
}

static allocating *open_library(const char *path)
{
	void *library = dlopen(path, RTLD_LAZY), *found;

	found = library ? dlsym(library, "allocate_late") : NULL;
	if (!found) {
		fprintf(stderr, "%s: %s\n", path, dlerror());
		exit(2);
	}
	return (allocating *)found;
}

int main(int argc, char **argv)
{
	const char *before, *after;
	allocating *late;
	pthread_t thread;

	if (argc != 3) {
		if (argc == 2)
			run_late();
		else
			run_crowd();
		return 0;
	}
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, work, NULL);
	pthread_barrier_wait(&barrier);
	late = open_library(argv[1]);
	late(BLOCKS);
	allocate_here(BLOCKS);
	before = who_serves();
	run_small();
	measure("program", allocate_here);
	measure("c library", allocate_in_c_library);
	measure("late library", late);
	measure("later library", open_library(argv[2]));
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	after = who_serves();
	if (getenv("ALLOC_ASIDE_TELLS"))
		printf("before %s after %s\n", before, after);
	printf("the same for all: %d\n", is_alike);
	return 0;
}
