/* Sends itself the number in its argument, with the action that it was started with. */
#include "burn.h"

#include <signal.h>

int main(int argc, char **argv)
{
	burn(30 * NS_PER_MS);
	printf("kill %d\n",
	       kill(getpid(), (int)number_argument(argc, argv, 1, SIGRTMAX)));
	burn(30 * NS_PER_MS);
	return 0;
}
