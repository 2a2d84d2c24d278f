/*
 * Sampling by a Poisson process over bytes. The logarithm and the exponential are our
 * own, as the C library's mathematics would be a library that the host did not ask
 * for; both are plain series over a small interval, good to a few units in the last
 * place, and written so that nothing cancels for blocks that are tiny against the
 * rate. Context: signal, no state.
 */
#include "sp_poisson.h"

#include "sp_double.h"

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

#define GOLDEN_STEP UINT64_C(0x9e3779b97f4a7c15)

/* The output of splitmix64: each bit of it depends on all bits of x, and neither by
 * sums nor by exclusive ors alone. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t sp_random_begin(uint64_t seed, uint64_t number)
{
	/* The seed is mixed before the number comes to it: a sum of both would be the
	 * same for the next seed's number before. */
	uint64_t state = mix(mix(seed + GOLDEN_STEP) + number * GOLDEN_STEP);

	return state ? state : 1;
}

/* --- series, their terms in pairs: what does not wait for each other is done at once ---
 */

/* Two numbers that go through the same instructions. */
typedef double two_doubles __attribute__((vector_size(16)));
typedef uint64_t two_words __attribute__((vector_size(16)));

#define TWICE(number) ((two_doubles){(number), (number)})

/* log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)]: 2 atanh(f / (2 + f)), whose series
 * converges fast there, and which keeps the precision of a tiny f. */
static inline two_doubles log_near_1(two_doubles f)
{
	two_doubles s = f / (TWICE(2.0) + f);
	two_doubles z = s * s, z2 = z * z, z4 = z2 * z2;
	two_doubles low = (TWICE(1.0 / 3) + z * TWICE(1.0 / 5)) +
			  z2 * (TWICE(1.0 / 7) + z * TWICE(1.0 / 9));
	two_doubles high = (TWICE(1.0 / 11) + z * TWICE(1.0 / 13)) +
			   z2 * (TWICE(1.0 / 15) + z * TWICE(1.0 / 17));
	two_doubles rest = TWICE(1.0 / 19) + z * TWICE(1.0 / 21);

	return (s + s) * (TWICE(1.0) + z * (low + z4 * (high + z4 * rest)));
}

/* 1 / n!: steps from the one before. */
#define F2 (1.0 / 2)
#define F3 (F2 / 3)
#define F4 (F3 / 4)
#define F5 (F4 / 5)
#define F6 (F5 / 6)
#define F7 (F6 / 7)
#define F8 (F7 / 8)
#define F9 (F8 / 9)
#define F10 (F9 / 10)
#define F11 (F10 / 11)
#define F12 (F11 / 12)
#define F13 (F12 / 13)

/* exp(r) - 1 for |r| of at most half of log(2). */
static double exp_below_1(double r)
{
	double r2 = r * r, r4 = r2 * r2;
	double low = (F2 + r * F3) + r2 * (F4 + r * F5);
	double high = (F6 + r * F7) + r2 * (F8 + r * F9);
	double rest = (F10 + r * F11) + r2 * (F12 + r * F13);

	return r + r2 * (low + r4 * (high + r4 * rest));
}

#define MANTISSA_BITS 52
#define EXPONENT_OF_1 UINT64_C(1023)

/* Less than 2^52, in the mantissa of a number whose last place is 1; and what is added so
 * for the upper half of a word, whose last place is 2^32. */
#define ONES UINT64_C(0x4330000000000000) /* 2^52 */
#define ONES_DOUBLE 0x1p52
#define UPPER_ONES UINT64_C(0x4530000000000000) /* 2^84 */
#define UPPER_ONES_DOUBLE 0x1p84

static inline two_doubles to_doubles(two_words words)
{
	two_doubles lower =
		(two_doubles)((words & UINT32_MAX) | ONES) - TWICE(ONES_DOUBLE);
	two_doubles upper =
		(two_doubles)(words >> 32 | UPPER_ONES) - TWICE(UPPER_ONES_DOUBLE);

	return upper + lower;
}

/*
 * -log of numbers that are uniform in (0, 1): the middle of the random'th of 2^64 equal
 * parts, counted from 1 downwards. Both ends are as fine as that: small values come
 * from near 1 and are taken by their distance from it.
 */
static inline two_doubles exponentials_of(two_words random)
{
	two_doubles below_1 = (to_doubles(random) + TWICE(0.5)) * TWICE(TWO_TO_MINUS_64);
	two_doubles above_0 = (to_doubles(~random) + TWICE(0.5)) * TWICE(TWO_TO_MINUS_64);
	/* It is 2^-halvings times what lies in [sqrt(1/2), sqrt(2)). */
	two_words halvings =
		(sp_double_to_bits(SQRT_HALF) + ((UINT64_C(1) << MANTISSA_BITS) - 1) -
		 (two_words)above_0) >>
		MANTISSA_BITS;
	two_doubles near_1 =
		(two_doubles)((two_words)above_0 + (halvings << MANTISSA_BITS));
	/* Chosen as numbers, for no processor could guess which. */
	two_words is_whole = -((halvings - 1) >> 63);
	two_words f = (~is_whole & (two_words)(near_1 - TWICE(1.0))) |
		      (is_whole & (two_words)(-below_1));

	return ((two_doubles)(halvings | ONES) - TWICE(ONES_DOUBLE)) * TWICE(LN2) -
	       log_near_1((two_doubles)f);
}

/* Rounded up. */
static inline uint64_t to_whole(double distance_bytes)
{
	int64_t whole_bytes;

	if (distance_bytes >= (double)LARGEST_DISTANCE)
		return LARGEST_DISTANCE;
	whole_bytes = (int64_t)distance_bytes;
	return (uint64_t)whole_bytes + ((double)whole_bytes < distance_bytes);
}

/* Of two at a time; where one is left, the other is of nobody. */
void sp_poisson_distances(uint64_t *random_state, uint64_t rate_bytes,
			  uint64_t *distances_bytes, uint32_t count)
{
	two_doubles rate = TWICE((double)rate_bytes);

	for (uint32_t i = 0; i < count; i += 2) {
		uint64_t first, second;
		two_doubles bytes;

		if (rate_bytes <= 1) {
			distances_bytes[i] = distances_bytes[i + (i + 1 < count)] = 1;
			continue;
		}
		first = second = sp_random_next(random_state);
		if (i + 1 < count)
			second = sp_random_next(random_state);
		bytes = exponentials_of((two_words){first, second}) * rate;
		distances_bytes[i] = to_whole(bytes[0]);
		if (i + 1 < count)
			distances_bytes[i + 1] = to_whole(bytes[1]);
	}
}

uint64_t sp_poisson_distance(uint64_t *random_state, uint64_t rate_bytes)
{
	uint64_t distance_bytes;

	sp_poisson_distances(random_state, rate_bytes, &distance_bytes, 1);
	return distance_bytes;
}

/* How far exp(-x) is from 1, and itself; neither loses precision where it is tiny. */
struct decay {
	double missing, left;
};

/* exp(-x) = 2^-halvings * exp(-rest) with |rest| at most half of log(2). */
static inline struct decay decay_of(double x)
{
	int64_t halvings = (int64_t)(x * LOG2_E + 0.5);
	double rest = x - (double)halvings * LN2;
	double scale = sp_double_from_bits((EXPONENT_OF_1 - (uint64_t)halvings)
					   << MANTISSA_BITS);
	double below_1 = exp_below_1(-rest);

	return (struct decay){.missing = (1.0 - scale) - scale * below_1,
			      .left = scale + scale * below_1};
}

/* Of the blocks of that size, the share that is not sampled is .left. */
static inline struct decay decay_of_block(uint64_t size_bytes, uint64_t rate_bytes)
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

struct sp_poisson_estimate sp_poisson_estimate(uint64_t size_bytes, uint64_t rate_bytes)
{
	struct sp_poisson_estimate estimate = {.objects = 1.0,
					       .bytes = (double)size_bytes};
	struct decay decay;

	if (rate_bytes <= 1 || size_bytes == 0)
		return estimate;
	decay = decay_of_block(size_bytes, rate_bytes);
	estimate.objects = 1.0 / decay.missing;
	estimate.bytes *= estimate.objects;
	estimate.variance = decay.left * estimate.bytes * estimate.bytes;
	return estimate;
}
