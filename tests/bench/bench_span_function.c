/*
 * What it costs to have the calls of a library function as spans: CPU time of a call
 * of rand_r(), which does next to nothing. Prints the least of several rounds in
 * nanoseconds and judges nothing. Run it bare, and preloaded with
 * SPANPROF_SPANS=rand_r, with SPANPROF_SPAN_CPU=off and with exact:
 *
 *   bench_span_function [CALLS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 9

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
	long calls = argc > 1 ? atol(argv[1]) : 300000;
	unsigned int seed = 1;
	double least_ns = 1e9;

	for (int round = 0; round < ROUNDS; round++) {
		double start_ns = now_ns(), ns;

		for (long i = 0; i < calls; i++)
			rand_r(&seed);
		ns = (now_ns() - start_ns) / (double)calls;
		if (ns < least_ns)
			least_ns = ns;
	}
	printf("%.1f ns a call\n", least_ns);
	return 0;
}
