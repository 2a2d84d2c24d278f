/*
 * What the processor says of its time-stamp counter. Context: init.
 */
#include "sp_clock.h"

#include <cpuid.h>

#define LEAF_POWER 0x80000007U
#define STEADY_BIT (1U << 8)

bool sp_clock_has_steady_cycles;

void sp_clock_init(void)
{
	unsigned int eax, ebx, ecx, edx;

	/* AMD64 Architecture Programmer's Manual 3, E.4.7: TscInvariant. */
	if (__get_cpuid(LEAF_POWER, &eax, &ebx, &ecx, &edx))
		sp_clock_has_steady_cycles = edx & STEADY_BIT;
}
