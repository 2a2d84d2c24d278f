/*
 * opener LIBRARY: opens it, and tells how that went: "opened", or "refused: " and why.
 */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	if (dlopen(argv[1], RTLD_NOW) != NULL)
		printf("opened\n");
	else
		printf("refused: %s\n", dlerror());
	return 0;
}
