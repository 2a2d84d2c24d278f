/*
 * heap_info statistics: what the C library says of its heap, and lets be set there,
 * before anybody has allocated, and after.
 *
 * heap_info stack LIBRARY: a fork child whose thread gets the stack of the agent's, with
 * the table of thread-local storage that belongs to it, makes that larger by opening
 * copies of the library, and gives it back. Tells where the table was (address / 2^38),
 * whether it is still there (mapped), and whether all variables had their values.
 */
#include "burn.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* More than the C library has room for in advance. */
#define COPIES 24
#define FILLED_BYTES 100
/* As large as that of the agent's thread, and larger than all that are kept for reuse. */
#define SMALL_STACK_BYTES ((size_t)1 << 20)
#define LARGE_STACK_BYTES ((size_t)128 << 20)

static void *libraries[COPIES];
static uintptr_t table;
static int right_values;

static void tell_statistics(void)
{
	struct mallinfo2 info = mallinfo2();

	printf("arena %zu, in use %zu, free %zu in %zu, mapped %zu in %zu\n", info.arena,
	       info.uordblks, info.fordblks, info.ordblks, info.hblkhd, info.hblks);
}

static int tell_all_statistics(void)
{
	static char buffer[4096];
	unsigned char *block;
	int filled = 0;

	setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
	printf("mallopt: %d\n", mallopt(M_PERTURB, 0xa5));
	tell_statistics();
	block = malloc(FILLED_BYTES);
	__asm__ volatile("" : : "r"(block) : "memory");
	for (int i = 0; i < FILLED_BYTES; i++)
		filled += block[i] == 0x5a;
	printf("filled: %d\n", filled);
	tell_statistics();
	malloc_info(0, stdout);
	printf("trimmed: %d\n", malloc_trim(0));
	free(block);
	tell_statistics();
	return 0;
}

/* The second word of what the thread register points to. */
static uintptr_t own_table(void)
{
	uintptr_t address;

	__asm__("movq %%fs:8, %0" : "=r"(address));
	return address;
}

static void copy_library(const char *from, const char *to)
{
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT, 0700);
	struct stat status;

	if (in < 0 || out < 0 || fstat(in, &status) != 0 ||
	    sendfile(out, in, NULL, (size_t)status.st_size) != status.st_size)
		_exit(5);
	close(in);
	close(out);
}

static void open_copies(const char *library)
{
	for (int i = 0; i < COPIES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "./copy%d.so", i);
		copy_library(library, name);
		libraries[i] = dlopen(name, RTLD_NOW);
		if (libraries[i] == NULL)
			_exit(6);
	}
}

static void *use_copies(void *library)
{
	table = own_table();
	open_copies(library);
	for (int i = 0; i < COPIES; i++) {
		int *(*value)(void) =
			(int *(*)(void))dlsym(libraries[i], "thread_local_value");

		right_values += *value() == 17;
	}
	return NULL;
}

static void *do_nothing(void *unused)
{
	return unused;
}

typedef int (*creating)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

/* By the C library's own function: at ours the child would have its own thread of the
 * agent, with that stack. */
static void run(size_t stack_bytes, void *(*start)(void *), void *argument)
{
	void *library = dlopen("libc.so.6", RTLD_NOW);
	creating create = (creating)dlsym(library, "pthread_create");
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, stack_bytes);
	if (create(&thread, &attributes, start, argument) != 0)
		_exit(4);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attributes);
}

static int use_stack_of_another(char *library)
{
	uintptr_t page;

	run(SMALL_STACK_BYTES, use_copies, library);
	/* Its stack is too much to be kept, and so are all others then. */
	run(LARGE_STACK_BYTES, do_nothing, NULL);
	page = table & ~(uintptr_t)4095;
	tell("table", (long long)(table >> 38));
	tell("mapped", msync((void *)page, 4096, MS_ASYNC) == 0);
	tell("values", right_values);
	return 0;
}

int main(int argc, char **argv)
{
	int status = 0;

	if (argc < 3)
		return tell_all_statistics();
	if (fork() == 0)
		return use_stack_of_another(argv[2]);
	wait(&status);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 9;
}
