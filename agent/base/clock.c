/*
 * The time-stamp counter: what the processor says of it, and what it shows beside the
 * kernel's clock. Context: signal.
 */
#include "sp_clock.h"

#include <cpuid.h>

#define LEAF_POWER 0x80000007U
#define STEADY_BIT (1U << 8)

#define READS 5U

bool sp_clock_has_steady_cycles;

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

void sp_clock_init(void)
{
	unsigned int eax, ebx, ecx, edx;

	/* AMD64 Architecture Programmer's Manual 3, E.4.7: TscInvariant. */
	if (__get_cpuid(LEAF_POWER, &eax, &ebx, &ecx, &edx))
		sp_clock_has_steady_cycles = edx & STEADY_BIT;
}
