/*
 * Clocks. Context of everything here: signal.
 */
#ifndef SP_CLOCK_H
#define SP_CLOCK_H

#include "sp_syscall.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

#define SP_NS_PER_SECOND UINT64_C(1000000000)

/* 0 or -errno; errno is kept. */
typedef int sp_clock_function(clockid_t clock, struct timespec *now);

/*
 * What the C library's clock_gettime() calls. Not that itself: a program, or a library
 * in front of it (libfaketime), may have one of its own, which tells other times and has
 * locks that our signal would find held by the thread it interrupts.
 */
extern sp_clock_function *sp_clock_gettime;

static inline uint64_t sp_clock_read_ns(clockid_t clock)
{
	struct timespec now = {0, 0};

	/* The clock of a thread that has ended fails. */
	if (sp_clock_gettime(clock, &now) != 0)
		return 0;
	return (uint64_t)now.tv_sec * SP_NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static inline uint64_t sp_clock_monotonic_ns(void)
{
	return sp_clock_read_ns(CLOCK_MONOTONIC);
}

static inline uint64_t sp_clock_realtime_ns(void)
{
	return sp_clock_read_ns(CLOCK_REALTIME);
}

/*
 * The CPU-time clock of any thread of this process, for clock_gettime() and
 * timer_create(); the encoding is the kernel's (include/linux/posix-timers.h:
 * inverted id, then "per thread" and "scheduler time").
 */
static inline clockid_t sp_clock_of_thread(int tid)
{
	return (clockid_t)((~(unsigned int)tid << 3) | 6U);
}

/* What the process has used so far; user and system are the kernel's split. */
struct sp_cpu_usage {
	uint64_t cpu_ns, user_ns, system_ns;
};

static inline void sp_cpu_usage_read(struct sp_cpu_usage *usage)
{
	struct rusage kernels = {.ru_utime = {0, 0}};

	sp_syscall2(SYS_getrusage, RUSAGE_SELF, &kernels);
	usage->cpu_ns = sp_clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
	usage->user_ns = (uint64_t)kernels.ru_utime.tv_sec * SP_NS_PER_SECOND +
			 (uint64_t)kernels.ru_utime.tv_usec * 1000;
	usage->system_ns = (uint64_t)kernels.ru_stime.tv_sec * SP_NS_PER_SECOND +
			   (uint64_t)kernels.ru_stime.tv_usec * 1000;
}

/* Time-stamp counter: cheap and monotonic enough to account for our own cost. */
static inline uint64_t sp_clock_cycles(void)
{
	return __builtin_ia32_rdtsc();
}

/* What both show at one moment, to within some ten nanoseconds, also where the thread
 * is interrupted in between. */
void sp_clock_read_both(uint64_t *monotonic_ns, uint64_t *cycles);

/* Does the time-stamp counter run at one rate in every state of the processor? Until
 * sp_clock_init() it is taken not to. */
extern bool sp_clock_has_steady_cycles;

/* Context: init. of_vdso is __vdso_clock_gettime(), or NULL: each reading of a clock is a
 * system call then, as it is until this call. */
void sp_clock_init(sp_clock_function *of_vdso);

/* The clock of spans: the time-stamp counter where it is steady, else nanoseconds. */
static inline uint64_t sp_clock_ticks(void)
{
	return sp_clock_has_steady_cycles ? sp_clock_cycles() : sp_clock_monotonic_ns();
}

#endif
