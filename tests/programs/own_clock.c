/*
 * own_clock CPU_MS [ALLOCATIONS]: a program with a clock_gettime() of its own that tells
 * ten times the time and that nobody may enter while a thread is in it, as that of
 * libfaketime. Most of its CPU time is spent in there. Tells how often somebody did
 * (entered_twice), and what the kernel's own clock says of its CPU time (self_cpu_ns).
 */
#include "burn.h"

#include <signal.h>
#include <sys/syscall.h>

#define FASTER 10

static volatile sig_atomic_t is_inside;
static volatile sig_atomic_t entered_twice;

static int64_t kernels_ns(clockid_t clock)
{
	struct timespec now;

	syscall(SYS_clock_gettime, clock, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int64_t faster_ns;

	if (is_inside)
		entered_twice++;
	is_inside = 1;
	faster_ns = kernels_ns(clock) * FASTER;
	now->tv_sec = faster_ns / 1000000000;
	now->tv_nsec = faster_ns % 1000000000;
	is_inside = 0;
	return 0;
}

int main(int argc, char **argv)
{
	int64_t cpu_ns = number_argument(argc, argv, 1, 500) * NS_PER_MS;
	struct timespec now;

	while (kernels_ns(CLOCK_THREAD_CPUTIME_ID) < cpu_ns) {
		for (int i = 0; i < 1000; i++)
			clock_gettime(CLOCK_MONOTONIC, &now);
		free(malloc((size_t)now.tv_nsec % 100000));
	}
	tell("self_cpu_ns", kernels_ns(CLOCK_PROCESS_CPUTIME_ID));
	tell("entered_twice", entered_twice);
	return 0;
}
