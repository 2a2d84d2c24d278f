/*
 * The distributions behind heap_statistics.h.
 */
#include "heap_statistics.h"

#include <math.h>

double heap_share(uint64_t size_bytes, double rate_bytes)
{
	return rate_bytes <= 1 ? 1 : -expm1(-(double)size_bytes / rate_bytes);
}

double heap_objects_variance(uint64_t size_bytes, double rate_bytes)
{
	double p = heap_share(size_bytes, rate_bytes);

	return (1 - p) / p;
}

double heap_bytes_variance(uint64_t size_bytes, double rate_bytes)
{
	return heap_objects_variance(size_bytes, rate_bytes) * (double)size_bytes *
	       (double)size_bytes;
}

double heap_z(double estimate, double truth, double variance, double slack)
{
	double distance = fmax(fabs(estimate - truth) - slack, 0);

	if (distance <= 0)
		return 0;
	return copysign(distance / sqrt(variance), estimate - truth);
}

double heap_normal_p(double z)
{
	return erfc(fabs(z) / sqrt(2));
}

static double log_binomial(int64_t count, int64_t n, double p)
{
	double k = (double)count, all = (double)n;

	if (p >= 1)
		return count == n ? 0 : -INFINITY;
	return lgamma(all + 1) - lgamma(k + 1) - lgamma(all - k + 1) + k * log(p) +
	       (all - k) * log1p(-p);
}

/* From count on in steps of direction; terms only get smaller there. */
static double tail(int64_t count, int64_t n, double p, int64_t direction)
{
	double sum = 0, term;

	for (int64_t k = count; k >= 0 && k <= n; k += direction) {
		term = exp(log_binomial(k, n, p));
		sum += term;
		if (term < sum * 1e-12)
			break;
	}
	return sum;
}

double heap_binomial_p(int64_t count, int64_t n, double p)
{
	double mean = (double)n * p;
	int64_t direction = (double)count < mean ? -1 : 1;

	return fmin(1, 2 * tail(count, n, p, direction));
}
