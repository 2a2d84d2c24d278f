/*
 * What the victims have in common: using up a known amount of CPU, and telling
 * the test, as "name=value", what they know for certain.
 */
#ifndef BURN_H
#define BURN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000LL
#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noinline, noipa))
#endif

static inline int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static inline int64_t thread_cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/*
 * Burns in the caller's own frame (it is inlined) until the thread has used
 * cpu_ns more. The clock is read every 20 us or so: most time is the caller's.
 */
static inline __attribute__((always_inline)) int64_t burn_here(int64_t cpu_ns)
{
	int64_t start_ns = thread_cpu_ns();
	uint64_t state = 88172645463325252u;
	int64_t used_ns;

	do {
		for (int i = 0; i < 10000; i++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			__asm__ volatile("" : "+r"(state));
		}
		used_ns = thread_cpu_ns() - start_ns;
	} while (used_ns < cpu_ns);
	return used_ns;
}

static NOINLINE __attribute__((unused)) int64_t burn(int64_t cpu_ns)
{
	return burn_here(cpu_ns);
}

/* The whole process, as the kernel accounts it. */
static inline int64_t process_cpu_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL;
}

static inline void tell(const char *name, long long value)
{
	printf("%s=%lld\n", name, value);
	fflush(stdout);
}

static inline int64_t number_argument(int argc, char **argv, int index, int64_t without)
{
	return argc > index ? strtoll(argv[index], NULL, 0) : without;
}

#endif
