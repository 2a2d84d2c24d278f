/*
 * locked [CPU_MS]: allocates, locks all its memory and tells how much there is of it, in
 * KiB. Exits with 77 where locking is not permitted.
 */
#include "burn.h"

#include <string.h>
#include <sys/mman.h>

#define BLOCKS 1000

static long long resident_kib(void)
{
	FILE *status = fopen("/proc/self/status", "r");
	char line[256];
	long long kib = 0;

	while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		if (sscanf(line, "VmRSS: %lld", &kib) == 1)
			break;
	if (status != NULL)
		fclose(status);
	return kib;
}

int main(int argc, char **argv)
{
	void *blocks[BLOCKS];

	for (int i = 0; i < BLOCKS; i++)
		blocks[i] = malloc(100);
	if (mlockall(MCL_CURRENT) != 0)
		return 77;
	burn(number_argument(argc, argv, 1, 300) * NS_PER_MS);
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	tell("resident_kib", resident_kib());
	return 0;
}
