/*
 * The arithmetic of sampling bytes: against the C library's mathematics, and by what
 * it must achieve, which is estimates that are right on average and as far off as
 * they say. Seeds are fixed; bounds are those of the statistics at 4.5 standard errors.
 */
#include "sp_compiler.h"
#include "sp_poisson.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

#define STANDARD_ERRORS 4.5
#define PRECISION 1e-12

static const uint64_t rates[] = {2,
				 3,
				 100,
				 4096,
				 512 << 10,
				 1000003,
				 1u << 30,
				 UINT64_C(1) << 40,
				 UINT64_C(1) << 48};

static void check_same(double is, double should, const char *what, uint64_t size_bytes,
		       uint64_t rate_bytes)
{
	ck_assert_msg(fabs(is - should) <= PRECISION * fabs(should),
		      "%s of %llu at %llu: %.17g, not %.17g", what,
		      (unsigned long long)size_bytes, (unsigned long long)rate_bytes, is,
		      should);
}

/* Sizes from one byte to far beyond the rate, odd ones among them. */
static void check_weights_at(uint64_t rate_bytes)
{
	for (double size = 1; size < (double)rate_bytes * 39.0 && size < 0x1p48;
	     size *= 1.37) {
		uint64_t size_bytes = (uint64_t)size;
		double x = (double)size_bytes / (double)rate_bytes;
		double weight = -1.0 / expm1(-x);
		double bytes = (double)size_bytes * weight;

		check_same(sp_poisson_weight(size_bytes, rate_bytes), weight, "weight",
			   size_bytes, rate_bytes);
		check_same(sp_poisson_estimate(size_bytes, rate_bytes).objects, weight,
			   "objects", size_bytes, rate_bytes);
		check_same(sp_poisson_estimate(size_bytes, rate_bytes).bytes, bytes,
			   "estimate", size_bytes, rate_bytes);
		check_same(sp_poisson_estimate(size_bytes, rate_bytes).variance,
			   exp(-x) * bytes * bytes, "variance", size_bytes, rate_bytes);
	}
}

START_TEST(weight_and_variance_agree_with_the_mathematics_of_libm)
{
	for (unsigned int i = 0; i < SP_ARRAY_COUNT(rates); i++)
		check_weights_at(rates[i]);
}
END_TEST

START_TEST(tiny_block_stands_for_the_mean_distance_in_bytes)
{
	/* S / (1 - exp(-S / R)) = R + S / 2 + S^2 / 12 R - ...; 1 - exp() alone would
	 * leave three digits of it. */
	double rate = 0x1p48;

	check_same(sp_poisson_weight(1, UINT64_C(1) << 48), rate + 0.5, "weight", 1,
		   UINT64_C(1) << 48);
	check_same(sp_poisson_weight(64, UINT64_C(1) << 48) * 64, rate + 32, "weight", 64,
		   UINT64_C(1) << 48);
}
END_TEST

START_TEST(huge_block_stands_for_itself)
{
	ck_assert_double_eq(sp_poisson_weight(UINT64_C(1) << 47, 512 << 10), 1.0);
	ck_assert_double_eq(sp_poisson_weight(UINT64_MAX, 2), 1.0);
	/* Of one that is 45 times the rate, the error is 10^-9 of its size. */
	ck_assert_double_lt(sqrt(sp_poisson_estimate(45 << 19, 1 << 19).variance),
			    1e-8 * (45 << 19));
	ck_assert_double_eq(sp_poisson_estimate(UINT64_MAX, 2).variance, 0.0);
}
END_TEST

START_TEST(every_block_is_met_at_a_rate_of_1)
{
	uint64_t state = 1;

	for (uint64_t rate_bytes = 0; rate_bytes <= 1; rate_bytes++) {
		ck_assert_uint_eq(sp_poisson_distance(&state, rate_bytes), 1);
		ck_assert_double_eq(sp_poisson_weight(0, rate_bytes), 1.0);
		ck_assert_double_eq(sp_poisson_weight(7, rate_bytes), 1.0);
		ck_assert_double_eq(sp_poisson_estimate(7, rate_bytes).variance, 0.0);
	}
	ck_assert_double_eq(sp_poisson_weight(0, 4096), 1.0);
	ck_assert_double_eq(sp_poisson_estimate(0, 4096).variance, 0.0);
}
END_TEST

/* --- distances --- */

/* Seeds that have nothing to do with each other (splitmix64). */
static uint64_t next_seed(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (x ^ x >> 31) | 1;
}

START_TEST(distance_is_the_rounded_logarithm)
{
	uint64_t seeds = 11, state, copy;

	for (unsigned int i = 0; i < 200000; i++) {
		uint64_t rate_bytes = rates[i % SP_ARRAY_COUNT(rates)];
		long double uniform, distance;
		uint64_t is;

		state = copy = next_seed(&seeds);
		is = sp_poisson_distance(&state, rate_bytes);
		uniform = ((long double)sp_random_next(&copy) + 0.5L) * 0x1p-64L;
		distance = -log1pl(-uniform) * (long double)rate_bytes;
		ck_assert_uint_ge(is, 1);
		ck_assert_uint_eq(state, copy);
		/* Rounded up: between the distance and one byte more. */
		ck_assert_msg((long double)is >=
					      distance * (1 - (long double)PRECISION) &&
				      (long double)is <
					      distance * (1 + (long double)PRECISION) + 1,
			      "%llu, not %Lf", (unsigned long long)is, distance);
	}
}
END_TEST

#define SEEDS 100
#define DRAWS 10000 /* of each */

static void check_share(uint64_t hits, double share, uint64_t size_bytes)
{
	double draws = (double)SEEDS * DRAWS;
	double error = sqrt(share * (1 - share) * draws);

	ck_assert_msg(fabs((double)hits - share * draws) <= STANDARD_ERRORS * error,
		      "%llu of %.0f met within %llu bytes, not %.0f +- %.0f",
		      (unsigned long long)hits, draws, (unsigned long long)size_bytes,
		      share * draws, error);
}

START_TEST(block_of_any_size_is_met_with_its_probability)
{
	static const double sizes_of_rate[] = {1e-4, 0.003, 0.01, 0.1, 0.5, 1, 2, 5, 9};
	const uint64_t rate_bytes = rates[_i];
	uint64_t hits[SP_ARRAY_COUNT(sizes_of_rate)] = {0};
	uint64_t seeds = 4711;
	double sum = 0, mean, decay = exp(-1.0 / (double)rate_bytes);

	for (unsigned int seed = 0; seed < SEEDS; seed++) {
		uint64_t state = next_seed(&seeds);

		for (unsigned int draw = 0; draw < DRAWS; draw++) {
			uint64_t distance = sp_poisson_distance(&state, rate_bytes);

			sum += (double)distance;
			for (unsigned int i = 0; i < SP_ARRAY_COUNT(hits); i++)
				hits[i] += distance <= (uint64_t)(sizes_of_rate[i] *
								  (double)rate_bytes);
		}
	}
	/* Rounded up to bytes it is geometric. */
	mean = -1.0 / expm1(-1.0 / (double)rate_bytes);
	ck_assert_double_le(fabs(sum / (SEEDS * DRAWS) - mean),
			    STANDARD_ERRORS * mean * sqrt(decay / (SEEDS * DRAWS)));
	for (unsigned int i = 0; i < SP_ARRAY_COUNT(hits); i++) {
		uint64_t size_bytes = (uint64_t)(sizes_of_rate[i] * (double)rate_bytes);

		check_share(hits[i], -expm1(-(double)size_bytes / (double)rate_bytes),
			    size_bytes);
	}
}
END_TEST

/* As others have published them for this seed. */
START_TEST(random_numbers_are_those_of_xorshift64_star)
{
	static const uint64_t wanted[] = {
		UINT64_C(5180492295206395165), UINT64_C(12380297144915551517),
		UINT64_C(13389498078930870103), UINT64_C(5599127315341312413)};
	uint64_t state = 1;

	for (unsigned int i = 0; i < SP_ARRAY_COUNT(wanted); i++)
		ck_assert_uint_eq(sp_random_next(&state), wanted[i]);
}
END_TEST

START_TEST(random_numbers_do_not_repeat_or_lean)
{
	uint64_t state = 1, ones[64] = {0};
	const uint64_t draws = 400000;

	for (uint64_t i = 0; i < draws; i++) {
		uint64_t value = sp_random_next(&state);

		ck_assert_uint_ne(state, 1);
		for (unsigned int bit = 0; bit < 64; bit++)
			ones[bit] += value >> bit & 1;
	}
	for (unsigned int bit = 0; bit < 64; bit++)
		ck_assert_double_le(fabs((double)ones[bit] - (double)draws / 2),
				    STANDARD_ERRORS * sqrt((double)draws) / 2);
}
END_TEST

#define SEEDS_BESIDE 64 /* and numbers */
#define FIRST_DRAWS 4

static int compare_numbers(const void *left, const void *right)
{
	const uint64_t *one = left, *other = right;

	return (*one > *other) - (*one < *other);
}

/* Neither those of the next seed's numbers nor what they draw. */
START_TEST(beginnings_of_neighbours_have_nothing_in_common)
{
	static uint64_t drawn[SEEDS_BESIDE * SEEDS_BESIDE * FIRST_DRAWS];
	static uint64_t states[SEEDS_BESIDE][SEEDS_BESIDE];
	size_t count = 0;
	double ones = 0, pairs = 0;

	for (unsigned int seed = 0; seed < SEEDS_BESIDE; seed++)
		for (unsigned int number = 0; number < SEEDS_BESIDE; number++) {
			uint64_t state = sp_random_begin(seed, number);

			states[seed][number] = state;
			ck_assert_uint_ne(state, 0);
			for (unsigned int i = 0; i < FIRST_DRAWS; i++)
				drawn[count++] = sp_random_next(&state);
		}
	qsort(drawn, count, sizeof(drawn[0]), compare_numbers);
	for (size_t i = 1; i < count; i++)
		ck_assert_uint_ne(drawn[i - 1], drawn[i]);
	/* Of a part from the seed and a part from the number, put together bit by bit,
	 * nothing would be left here. */
	for (unsigned int seed = 1; seed < SEEDS_BESIDE; seed++)
		for (unsigned int number = 1; number < SEEDS_BESIDE; number++) {
			uint64_t common =
				states[seed][number] ^ states[seed - 1][number] ^
				states[seed][number - 1] ^ states[seed - 1][number - 1];

			ones += __builtin_popcountll(common);
			pairs++;
		}
	ck_assert_double_le(fabs(ones - 32 * pairs), STANDARD_ERRORS * 4 * sqrt(pairs));
}
END_TEST

/* --- estimates --- */

#define RUNS 3000
#define BLOCKS 3000 /* in a run */
#define RATE_BYTES UINT64_C(4096)

/* As a program has them: mostly small ones, a few far larger than the rate. */
static uint64_t size_of_block(uint64_t *state)
{
	uint64_t random = sp_random_next(state) >> 11;

	return 1 + random % (UINT64_C(16) << random / 7919 % 10);
}

struct run {
	double bytes, objects; /* the truth */
	double estimated_bytes, estimated_objects, variance;
};

static struct run run_once(uint64_t *sizes_state, uint64_t *state)
{
	struct run run = {0};
	uint64_t bytes = 0, sample_at = sp_poisson_distance(state, RATE_BYTES);

	for (unsigned int i = 0; i < BLOCKS; i++) {
		uint64_t size_bytes = size_of_block(sizes_state);

		bytes += size_bytes;
		run.objects++;
		if (bytes < sample_at)
			continue;
		sample_at = bytes + sp_poisson_distance(state, RATE_BYTES);
		run.estimated_objects += sp_poisson_weight(size_bytes, RATE_BYTES);
		run.estimated_bytes +=
			(double)size_bytes * sp_poisson_weight(size_bytes, RATE_BYTES);
		run.variance += sp_poisson_estimate(size_bytes, RATE_BYTES).variance;
	}
	run.bytes = (double)bytes;
	return run;
}

START_TEST(estimates_are_right_on_average_and_as_far_off_as_they_say)
{
	uint64_t seeds = 99, sizes_state = 5;
	double bytes_off = 0, bytes_off_squared = 0, fourth = 0, variance = 0;
	double objects_off = 0, objects_off_squared = 0;

	for (unsigned int i = 0; i < RUNS; i++) {
		uint64_t state = next_seed(&seeds);
		struct run run = run_once(&sizes_state, &state);
		double off = run.estimated_bytes - run.bytes;

		bytes_off += off;
		bytes_off_squared += off * off;
		fourth += off * off * off * off;
		variance += run.variance;
		off = run.estimated_objects - run.objects;
		objects_off += off;
		objects_off_squared += off * off;
	}
	ck_assert_double_gt(bytes_off_squared, 0);
	ck_assert_double_le(fabs(bytes_off), STANDARD_ERRORS * sqrt(bytes_off_squared));
	ck_assert_double_le(fabs(objects_off),
			    STANDARD_ERRORS * sqrt(objects_off_squared));
	/* The error of an empirical variance follows from the fourth moment. */
	ck_assert_double_le(
		fabs(bytes_off_squared - variance),
		STANDARD_ERRORS *
			sqrt(fourth - bytes_off_squared * bytes_off_squared / RUNS));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("poisson");
	TCase *tc = tcase_create("poisson");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, weight_and_variance_agree_with_the_mathematics_of_libm);
	tcase_add_test(tc, tiny_block_stands_for_the_mean_distance_in_bytes);
	tcase_add_test(tc, huge_block_stands_for_itself);
	tcase_add_test(tc, every_block_is_met_at_a_rate_of_1);
	tcase_add_test(tc, distance_is_the_rounded_logarithm);
	tcase_add_loop_test(tc, block_of_any_size_is_met_with_its_probability, 0,
			    SP_ARRAY_COUNT(rates));
	tcase_add_test(tc, random_numbers_are_those_of_xorshift64_star);
	tcase_add_test(tc, random_numbers_do_not_repeat_or_lean);
	tcase_add_test(tc, beginnings_of_neighbours_have_nothing_in_common);
	tcase_add_test(tc, estimates_are_right_on_average_and_as_far_off_as_they_say);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
