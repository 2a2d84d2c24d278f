/* What test_alloc_aside asks who serves it. */
#include <stdlib.h>

void *allocate(void);

void *allocate(void)
{
	return valloc(1);
}
