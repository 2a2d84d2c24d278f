/*
 * Who is asked for the kernel's clocks, and the time-stamp counter: what the processor
 * says of it, and what it shows beside the kernel's clock. Context: signal.
 */
#include "sp_clock.h"

#include <sys/platform/x86.h>

#define READS 5U

bool sp_clock_has_steady_cycles;

static int ask_kernel(clockid_t clock, struct timespec *now)
{
	return (int)sp_syscall2(SYS_clock_gettime, clock, now);
}

sp_clock_function *sp_clock_gettime = ask_kernel;

void sp_clock_read_both(uint64_t *monotonic_ns, uint64_t *cycles)
{
	uint64_t shortest_cycles = UINT64_MAX;

	for (unsigned int i = 0; i < READS; i++) {
		uint64_t before = sp_clock_cycles();
		uint64_t now_ns = sp_clock_monotonic_ns();
		uint64_t taken_cycles = sp_clock_cycles() - before;

		if (taken_cycles >= shortest_cycles)
			continue;
		shortest_cycles = taken_cycles;
		*monotonic_ns = now_ns;
		*cycles = before + taken_cycles / 2;
	}
}

void sp_clock_init(sp_clock_function *of_vdso)
{
	if (of_vdso)
		sp_clock_gettime = of_vdso;
	/* The loader has asked the processor already; a virtual one takes several
	 * microseconds for each question. */
	sp_clock_has_steady_cycles = CPU_FEATURE_PRESENT(INVARIANT_TSC);
}
