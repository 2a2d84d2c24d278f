/*
 * How far an estimate from sampled blocks may be from the truth.
 *
 * Points lie along the allocated bytes with mean distance R (a Poisson process). A
 * block of S bytes is sampled when at least one point falls into it: with probability
 * p = 1 - exp(-S / R), and independently of all others. A sampled one counts for 1 / p
 * objects and S / p bytes, so each block adds to the estimate v * B / p, where v is 1
 * or S and B is 1 with probability p, else 0:
 *
 *   mean v, variance v^2 (1 - p) / p = v^2 exp(-S / R) / (1 - exp(-S / R))
 *
 * Of n blocks of one size the number of sampled ones is binomial, (n, p); of blocks of
 * several sizes the sum is taken as normal.
 */
#ifndef HEAP_STATISTICS_H
#define HEAP_STATISTICS_H

#include <stdint.h>

/* p; 1 where all are sampled (a rate of 1). */
double heap_share(uint64_t size_bytes, double rate_bytes);

/* What one block adds to the variance of the estimated objects and bytes. */
double heap_objects_variance(uint64_t size_bytes, double rate_bytes);
double heap_bytes_variance(uint64_t size_bytes, double rate_bytes);

/*
 * Distance in standard errors. slack is what rounding to whole values may have done;
 * it is taken off the distance. No distance is 0, also where nothing may vary.
 */
double heap_z(double estimate, double truth, double variance, double slack);

/* Probability of a distance as large or larger, to either side. */
double heap_normal_p(double z);
/* The same for count of n with probability p, exactly: twice the smaller tail. */
double heap_binomial_p(int64_t count, int64_t n, double p);

#endif
