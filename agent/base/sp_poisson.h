/*
 * The arithmetic of sampling by a Poisson process over bytes: points are laid along
 * all allocated bytes with a mean distance, and a block is sampled when a point falls
 * into it. Context: signal, no C library mathematics.
 */
#ifndef SP_POISSON_H
#define SP_POISSON_H

#include <stdint.h>

/* xorshift64*: any state but 0; never returns 0's successor twice in 2^64 - 1 steps. */
uint64_t sp_random_next(uint64_t *state);

/* A state to begin with, for number of a seed: what follows has nothing to do with what
 * follows for any other seed or number. */
uint64_t sp_random_begin(uint64_t seed, uint64_t number);

/*
 * Bytes from here to the next point, at least 1: exponential with mean rate_bytes,
 * rounded up, so that a block of S whole bytes is met with 1 - exp(-S / rate).
 * Exact to 1 in 10^12. rate_bytes of 1 or less: 1.
 */
uint64_t sp_poisson_distance(uint64_t *random_state, uint64_t rate_bytes);

/* The next so many. None waits for the one before: together they take less time. */
void sp_poisson_distances(uint64_t *random_state, uint64_t rate_bytes,
			  uint64_t *distances_bytes, uint32_t count);

/*
 * How many blocks of size_bytes a sampled one stands for: 1 / (1 - exp(-S / rate)).
 * 1 where every block is sampled (rate_bytes of 1 or less), and for a block of 0 bytes,
 * which no point falls into.
 */
double sp_poisson_weight(uint64_t size_bytes, uint64_t rate_bytes);

/*
 * What one sampled block of S bytes stands for: weight blocks, S times weight bytes; and
 * what it adds to the variance of the estimated sum of bytes, exp(-S / rate) times the
 * square of that: 0 where every block is sampled.
 */
struct sp_poisson_estimate {
	double objects, bytes, variance;
};

struct sp_poisson_estimate sp_poisson_estimate(uint64_t size_bytes, uint64_t rate_bytes);

#endif
