/*
 * Sampling by a Poisson process over bytes. The logarithm and the exponential are our
 * own, as the C library's mathematics would be a library that the host did not ask
 * for; both are plain series over a small interval, good to a few units in the last
 * place, and written so that nothing cancels for blocks that are tiny against the
 * rate. Context: signal, no state.
 */
#include "sp_poisson.h"

#define LN2 0x1.62e42fefa39efp-1
#define LOG2_E 0x1.71547652b82fep+0
#define SQRT_HALF 0x1.6a09e667f3bcdp-1
#define TWO_TO_MINUS_64 0x1p-64
/* Of blocks that are this many times the mean distance not one in 10^17 is missed. */
#define EXPONENT_MAX 40.0
#define LARGEST_DISTANCE (UINT64_C(1) << 62)

uint64_t sp_random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

#define BEGIN_STEPS 8U

uint64_t sp_random_begin(uint64_t seed, uint64_t number)
{
	uint64_t state = (seed + number) * UINT64_C(0x9e3779b97f4a7c15);

	state = state ? state : 1;
	/* Neighbouring seeds give neighbouring first numbers. */
	for (unsigned int i = 0; i < BEGIN_STEPS; i++)
		sp_random_next(&state);
	return state;
}

/* log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)]: 2 atanh(f / (2 + f)), whose series
 * converges fast there, and which keeps the precision of a tiny f. */
static double log_near_1(double f)
{
	double s = f / (2.0 + f);
	double z = s * s;
	double sum = 0.0;

	for (int odd = 21; odd > 1; odd -= 2)
		sum = (sum + 1.0 / odd) * z;
	return 2.0 * s * (1.0 + sum);
}

/*
 * -log of a number that is uniform in (0, 1): the middle of the random'th of 2^64 equal
 * parts, counted from 1 downwards. Both ends are as fine as that: small values come
 * from near 1 and are taken by their distance from it.
 */
static double exponential_of(uint64_t random)
{
	double below_1 = ((double)random + 0.5) * TWO_TO_MINUS_64;
	double above_0 = ((double)~random + 0.5) * TWO_TO_MINUS_64;
	double halvings = 0.0;

	if (above_0 >= SQRT_HALF)
		return -log_near_1(-below_1);
	while (above_0 < SQRT_HALF) {
		above_0 *= 2.0;
		halvings += 1.0;
	}
	return halvings * LN2 - log_near_1(above_0 - 1.0);
}

uint64_t sp_poisson_distance(uint64_t *random_state, uint64_t rate_bytes)
{
	double distance_bytes;
	uint64_t whole_bytes;

	if (rate_bytes <= 1)
		return 1;
	distance_bytes =
		exponential_of(sp_random_next(random_state)) * (double)rate_bytes;
	if (distance_bytes >= (double)LARGEST_DISTANCE)
		return LARGEST_DISTANCE;
	whole_bytes = (uint64_t)distance_bytes;
	return (double)whole_bytes < distance_bytes ? whole_bytes + 1 : whole_bytes;
}

/* How far exp(-x) is from 1, and itself; neither loses precision where it is tiny. */
struct decay {
	double missing, left;
};

/* exp(-x) = 2^-halvings * exp(-rest) with |rest| at most half of log(2). */
static struct decay decay_of(double x)
{
	uint64_t halvings = (uint64_t)(x * LOG2_E + 0.5);
	double rest = x - (double)halvings * LN2;
	double scale = 1.0 / (double)(UINT64_C(1) << halvings);
	double below_1 = 0.0; /* exp(-rest) - 1 */

	for (int n = 15; n > 0; n--)
		below_1 = -rest / n * (1.0 + below_1);
	return (struct decay){.missing = (1.0 - scale) - scale * below_1,
			      .left = scale + scale * below_1};
}

/* Of the blocks of that size, the share that is not sampled is .left. */
static struct decay decay_of_block(uint64_t size_bytes, uint64_t rate_bytes)
{
	double x = (double)size_bytes / (double)rate_bytes;

	return x < EXPONENT_MAX ? decay_of(x) : (struct decay){1.0, 0.0};
}

double sp_poisson_weight(uint64_t size_bytes, uint64_t rate_bytes)
{
	if (rate_bytes <= 1 || size_bytes == 0)
		return 1.0;
	return 1.0 / decay_of_block(size_bytes, rate_bytes).missing;
}

double sp_poisson_variance(uint64_t size_bytes, uint64_t rate_bytes)
{
	struct decay decay;
	double estimate_bytes;

	if (rate_bytes <= 1 || size_bytes == 0)
		return 0.0;
	decay = decay_of_block(size_bytes, rate_bytes);
	estimate_bytes = (double)size_bytes / decay.missing;
	return decay.left * estimate_bytes * estimate_bytes;
}
