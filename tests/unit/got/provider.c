/* Functions that the importers call; two versions of one of them. */
#define FUNCTION(number)                                                                 \
	int provided_##number(void);                                                     \
	int provided_##number(void)                                                      \
	{                                                                                \
		return 0x##number;                                                       \
	}
#include "many.h"

int target(void);
int target_pointer(void) __attribute__((alias("target")));
int old_versioned(void);
int new_versioned(void);

int target(void)
{
	return 1;
}

int old_versioned(void)
{
	return 10;
}

int new_versioned(void)
{
	return 11;
}

__asm__(".symver old_versioned, versioned@OLD");
__asm__(".symver new_versioned, versioned@@NEW");
