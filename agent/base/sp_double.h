/*
 * Doubles that live in 64-bit words of the recording. Context: signal.
 */
#ifndef SP_DOUBLE_H
#define SP_DOUBLE_H

#include <stdint.h>

static inline uint64_t sp_double_to_bits(double value)
{
	uint64_t bits;

	__builtin_memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static inline double sp_double_from_bits(uint64_t bits)
{
	double value;

	__builtin_memcpy(&value, &bits, sizeof(value));
	return value;
}

#endif
