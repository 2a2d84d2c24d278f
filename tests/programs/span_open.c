/*
 * span_open HOW MODULE ROUNDS ARGUMENTS...: opens a module, HOW is now or lazy, and runs
 * its run() so many times, some time apart, with the arguments (span_functions.cpp).
 * span_open find LIBRARY COUNT: finds fn_none() by dlsym() and calls it so often.
 * span_open version LIBRARY COUNT: finds a64l() of the C library by dlvsym(), in the
 * library and among all, and calls both so often.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int call_found(void *library, int count)
{
	long (*none)(void) = (long (*)(void))dlsym(library, "fn_none");
	const long *variable = dlsym(library, "fn_variable");
	long sum = 0;

	if (none == NULL || variable == NULL || dlsym(library, "fn_missing") != NULL)
		return 1;
	for (int i = 0; i < count; i++)
		sum += none();
	printf("%ld %ld %s\n", sum, *variable, dlerror() != NULL ? "told" : "silent");
	return 0;
}

static int call_versions(void *library, int count)
{
	static const char version[] = "GLIBC_2.2.5";
	long (*found[])(const char *) = {
		(long (*)(const char *))dlvsym(library, "a64l", version),
		(long (*)(const char *))dlvsym(RTLD_DEFAULT, "a64l", version),
	};
	long sum = 0;

	if (found[0] == NULL || found[1] == NULL ||
	    dlvsym(library, "a64l", "GLIBC_0.0") != NULL)
		return 1;
	for (int i = 0; i < count; i++)
		sum += found[0]("./0") - 2 * found[1]("z");
	printf("%ld %s %d\n", sum, dlerror() != NULL ? "told" : "silent",
	       found[0] == found[1]);
	return 0;
}

static int run_rounds(void *module, int rounds, int argc, char **argv)
{
	int (*run)(int, char **) = (int (*)(int, char **))dlsym(module, "run");
	int result = run == NULL;

	for (int round = 0; round < rounds && result == 0; round++) {
		if (round > 0)
			sleep(2);
		result = run(argc, argv);
		fflush(stdout);
	}
	return result;
}

int main(int argc, char **argv)
{
	void *module;

	if (argc < 4)
		return 2;
	module = dlopen(argv[2], strcmp(argv[1], "lazy") == 0 ? RTLD_LAZY : RTLD_NOW);
	if (module == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	if (strcmp(argv[1], "find") == 0)
		return call_found(module, atoi(argv[3]));
	if (strcmp(argv[1], "version") == 0)
		return call_versions(module, atoi(argv[3]));
	return run_rounds(module, atoi(argv[3]), argc - 3, argv + 3);
}
