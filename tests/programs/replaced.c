/*
 * replaced [FILE]: works, and half-way puts FILE in its own place, or only removes
 * itself, as an upgrade does to a program that runs.
 */
#include "burn.h"

static NOINLINE int64_t work_to_the_end(void)
{
	return burn_here(250 * NS_PER_MS) + 1;
}

int main(int argc, char **argv)
{
	work_to_the_end();
	if (argc > 1 ? rename(argv[1], argv[0]) : unlink(argv[0]))
		return 1;
	work_to_the_end();
	return 0;
}
