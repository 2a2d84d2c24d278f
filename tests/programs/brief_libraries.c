/*
 * brief_libraries LIBRARY ROUNDS: opens and closes a library many times without any work
 * in it, then works in it for a moment, and so on: each time that it works it is another
 * one, which is gone before long. Tells how much CPU time it has worked in the library.
 */
#include "burn.h"

#include <dlfcn.h>
#include <unistd.h>

#define IDLE_TIMES 100
#define IDLE_US 100
#define BLOCKS 300

static void *open_it(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (library == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		_exit(4);
	}
	return library;
}

int main(int argc, char **argv)
{
	int64_t rounds = number_argument(argc, argv, 2, 40), work_ns = 0;

	if (argc < 2)
		return 3;
	for (int64_t i = 0; i < rounds; i++) {
		int64_t (*work)(int blocks);
		void *library;

		for (int j = 0; j < IDLE_TIMES; j++) {
			library = open_it(argv[1]);
			usleep(IDLE_US);
			dlclose(library);
		}
		library = open_it(argv[1]);
		*(void **)&work = dlsym(library, "work_in_first");
		work_ns += work(BLOCKS);
		dlclose(library);
	}
	tell("work_ns", (long long)work_ns);
	return 0;
}
