/*
 * Heap profiles against the truth that a program knows of itself: exactly when every
 * block is sampled, and within what the design of the sampling allows at the default
 * rate. The truth in its turn is held against a second opinion, from a library that
 * counts all calls of the allocator.
 */
#include "heap_profile.h"
#include "heap_statistics.h"
#include "victim.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 400
#define SITES 96
/* Sites inside of the C library, whose sizes only the second opinion knows. */
#define FIRST_LIBRARY_SITE 70
/* The site that makes the peak, and one that others are busy at meanwhile. */
#define PEAK_SITE 41
#define BUSY_SITE 42
#define BUSY_BLOCKS 3

#define DEFAULT_RATE (512.0 * 1024)
#define SEEDS 20

struct row {
	unsigned site;
	uint64_t size_bytes;
	int64_t objects, inuse, at_peak;
};

struct truth {
	struct row rows[ROWS_MAX];
	size_t count;
};

/* The lines that begin with before ("" or "oracle "). */
static void read_truth(const char *output, const char *before, struct truth *truth)
{
	size_t length = strlen(before);

	truth->count = 0;
	for (const char *line = output; line != NULL && *line != '\0';) {
		unsigned long long size_bytes;
		long long objects, inuse, at_peak;
		unsigned site;

		if (strncmp(line, before, length) == 0 &&
		    sscanf(line + length, "site_%u %llu %lld %lld %lld", &site,
			   &size_bytes, &objects, &inuse, &at_peak) == 5) {
			ck_assert_uint_lt(truth->count, ROWS_MAX);
			ck_assert_uint_lt(site, SITES);
			truth->rows[truth->count++] =
				(struct row){site, size_bytes, objects, inuse, at_peak};
		}
		line = strchr(line, '\n');
		line = line != NULL ? line + 1 : NULL;
	}
	ck_assert_uint_gt(truth->count, 0);
}

static const struct row *find_row(const struct truth *truth, unsigned site,
				  uint64_t size_bytes)
{
	for (size_t i = 0; i < truth->count; i++)
		if (truth->rows[i].site == site &&
		    truth->rows[i].size_bytes == size_bytes)
			return &truth->rows[i];
	return NULL;
}

static struct heap_sums sums_of(const struct truth *truth, unsigned site)
{
	struct heap_sums sums = {0};

	for (size_t i = 0; i < truth->count; i++) {
		const struct row *row = &truth->rows[i];

		if (row->site != site)
			continue;
		sums.alloc_objects += row->objects;
		sums.alloc_bytes += row->objects * (int64_t)row->size_bytes;
		sums.inuse_objects += row->inuse;
		sums.inuse_bytes += row->inuse * (int64_t)row->size_bytes;
	}
	return sums;
}

static int64_t peak_objects_of(const struct truth *truth, unsigned site)
{
	int64_t objects = 0;

	for (size_t i = 0; i < truth->count; i++)
		if (truth->rows[i].site == site)
			objects += truth->rows[i].at_peak;
	return objects;
}

static int64_t peak_bytes_of(const struct truth *truth)
{
	int64_t bytes = 0;

	for (size_t i = 0; i < truth->count; i++)
		bytes += truth->rows[i].at_peak * (int64_t)truth->rows[i].size_bytes;
	return bytes;
}

/* Without the agent, with the library that counts. */
static struct victim *run_oracle(const char *mode)
{
	char path[PATH_MAX], preload[PATH_MAX + 16];
	struct victim_setup setup = {
		.argv = (const char *const[]){"heap_truth", mode, "1", NULL},
		.environment = (const char *const[]){preload, "HEAP_ORACLE=1", NULL},
		.is_bare = true,
	};
	struct victim *victim;

	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s",
		 victim_program_path("lib_heap_oracle.so", path));
	victim = victim_run(&setup);
	victim_assert_success(victim);
	return victim;
}

static struct victim *run_agent(const char *mode, int seed, const char *rate)
{
	char seed_text[32], seed_setting[64];
	struct victim_setup setup = {
		.argv = (const char *const[]){"heap_truth", mode, seed_text, NULL},
		.environment = (const char *const[]){seed_setting, rate, NULL},
	};
	struct victim *victim;

	snprintf(seed_text, sizeof(seed_text), "%d", seed);
	snprintf(seed_setting, sizeof(seed_setting), "SPANPROF_HEAP_SEED=%d", seed);
	victim = victim_run(&setup);
	victim_assert_success(victim);
	victim_assert_clean(victim);
	return victim;
}

static const char *const modes[] = {"exact", "drift", "volume"};

/* What the program says is what its allocator was asked for. */
START_TEST(truth_is_true)
{
	struct victim *victim = run_oracle(modes[_i]);
	struct truth own, oracle;
	int64_t beside_bytes;

	read_truth(victim->output, "", &own);
	read_truth(victim->output, "oracle ", &oracle);
	for (size_t i = 0; i < oracle.count; i++) {
		const struct row *seen = &oracle.rows[i];
		const struct row *told = find_row(&own, seen->site, seen->size_bytes);

		if (seen->site >= FIRST_LIBRARY_SITE)
			continue;
		ck_assert_msg(told != NULL, "site_%u does not tell of %llu bytes",
			      seen->site, (unsigned long long)seen->size_bytes);
		ck_assert_int_eq(told->objects, seen->objects);
		ck_assert_int_eq(told->inuse, seen->inuse);
		if (seen->site != BUSY_SITE)
			ck_assert_int_eq(told->at_peak, seen->at_peak);
	}
	for (size_t i = 0; i < own.count; i++)
		ck_assert_ptr_nonnull(
			find_row(&oracle, own.rows[i].site, own.rows[i].size_bytes));
	/* And there was no higher peak at any other moment. */
	beside_bytes = victim_number(victim->output, "oracle_peak_bytes") -
		       peak_bytes_of(&oracle);
	ck_assert_msg(beside_bytes >= 0 && beside_bytes < 400000,
		      "%lld bytes more than in the sites at their peak",
		      (long long)beside_bytes);
	victim_free(victim);
}
END_TEST

/* False, and a line of text, if it is not. */
static bool is_site_exact(const struct heap_profile *profile, const struct truth *truth,
			  unsigned site)
{
	struct heap_sums told = sums_of(truth, site), found;
	char name[32];

	snprintf(name, sizeof(name), "site_%u", site);
	found = heap_profile_with(profile, name);
	if (found.alloc_objects == told.alloc_objects &&
	    found.alloc_bytes == told.alloc_bytes &&
	    found.inuse_objects == told.inuse_objects &&
	    found.inuse_bytes == told.inuse_bytes)
		return true;
	printf("%s: %lld objects, %lld bytes, in use %lld, %lld; should be %lld, %lld, "
	       "%lld, %lld\n",
	       name, (long long)found.alloc_objects, (long long)found.alloc_bytes,
	       (long long)found.inuse_objects, (long long)found.inuse_bytes,
	       (long long)told.alloc_objects, (long long)told.alloc_bytes,
	       (long long)told.inuse_objects, (long long)told.inuse_bytes);
	return false;
}

static void assert_sites_are_exact(const struct heap_profile *profile,
				   const struct truth *truth)
{
	int wrong_sites = 0;

	for (unsigned site = 1; site < SITES; site++)
		wrong_sites += !is_site_exact(profile, truth, site);
	if (wrong_sites > 0)
		heap_profile_show(profile);
	ck_assert_int_eq(wrong_sites, 0);
}

/* All sites together within 1/512, and so each: what differs somewhere is in the sum. */
static void assert_peak(const struct heap_profile *profile, const struct truth *truth)
{
	double peak_bytes = (double)peak_bytes_of(truth), found_bytes = 0;
	double away_bytes = 0;

	for (unsigned site = 1; site < SITES; site++) {
		struct heap_sums found;
		double told_bytes = 0;
		char name[32];

		snprintf(name, sizeof(name), "site_%u", site);
		found = heap_profile_with(profile, name);
		for (size_t i = 0; i < truth->count; i++)
			if (truth->rows[i].site == site)
				told_bytes += (double)truth->rows[i].at_peak *
					      (double)truth->rows[i].size_bytes;
		found_bytes += (double)found.inuse_bytes;
		away_bytes += fabs((double)found.inuse_bytes - told_bytes);
		if (site != PEAK_SITE && site != BUSY_SITE)
			ck_assert_msg(found.inuse_objects == peak_objects_of(truth, site),
				      "%s: %lld objects at the peak; should be %lld",
				      name, (long long)found.inuse_objects,
				      (long long)peak_objects_of(truth, site));
	}
	printf("peak %.0f bytes, found %.0f\n", peak_bytes, found_bytes);
	ck_assert_msg(found_bytes <= peak_bytes + BUSY_BLOCKS * 40 &&
			      found_bytes >= peak_bytes * (1 - 1 / 512.0),
		      "peak: %.0f bytes; should be %.0f", found_bytes, peak_bytes);
	ck_assert_msg(away_bytes <= peak_bytes / 512,
		      "sites of the peak: %.0f bytes away", away_bytes);
}

/* In a run the library's own sites are the same in all, the others as told. */
static void use_oracle_for_library_sites(struct truth *truth, const struct truth *oracle)
{
	for (size_t i = 0; i < oracle->count; i++)
		if (oracle->rows[i].site >= FIRST_LIBRARY_SITE) {
			ck_assert_uint_lt(truth->count, ROWS_MAX);
			truth->rows[truth->count++] = oracle->rows[i];
		}
}

#define EXACT_RUNS 6

START_TEST(every_site_is_exact_when_every_block_is_sampled)
{
	const char *mode = modes[_i % 2];
	struct victim *bare = run_oracle(mode);
	struct victim *victim = run_agent(mode, 1 + _i, "SPANPROF_HEAP_RATE=1");
	struct heap_profile *heap = heap_profile_of(victim, "heap");
	struct heap_profile *peak = heap_profile_of(victim, "peak");
	struct truth truth, oracle;

	read_truth(bare->output, "oracle ", &oracle);
	read_truth(victim->output, "", &truth);
	use_oracle_for_library_sites(&truth, &oracle);
	assert_sites_are_exact(heap, &truth);
	assert_peak(peak, &truth);
	heap_profile_free(heap);
	heap_profile_free(peak);
	victim_free(bare);
	victim_free(victim);
}
END_TEST

/* Also where next to nothing is sampled. */
START_TEST(everything_is_counted_exactly)
{
	struct victim *bare = run_oracle("volume");
	struct victim *victim = run_agent("volume", 1, "SPANPROF_HEAP_RATE=1G");
	struct heap_profile *profile = heap_profile_of(victim, "heap");
	struct heap_account account = heap_profile_account(profile);

	ck_assert_int_eq((int64_t)account.allocations,
			 victim_number(bare->output, "oracle_allocations"));
	ck_assert_int_eq((int64_t)account.bytes,
			 victim_number(bare->output, "oracle_bytes"));
	ck_assert_int_eq((int64_t)account.frees,
			 victim_number(bare->output, "oracle_frees"));
	heap_profile_free(profile);
	victim_free(bare);
	victim_free(victim);
}
END_TEST

/* Of one site over all seeds: allocated and in use, objects and bytes. */
enum { ALLOC_OBJECTS, ALLOC_BYTES, INUSE_OBJECTS, INUSE_BYTES, MEASURES };
static const char *const measures[] = {"alloc_objects", "alloc_space", "inuse_objects",
				       "inuse_space"};

struct family {
	double z_sums[SITES][MEASURES];
	bool is_there[SITES][MEASURES];
	double smallest_p, largest_z;
	int tests;
	char smallest[64];
};

static double value_of(const struct heap_sums *sums, int measure)
{
	const int64_t values[] = {sums->alloc_objects, sums->alloc_bytes,
				  sums->inuse_objects, sums->inuse_bytes};

	return (double)values[measure];
}

/* Variance of the estimate; *row is the only size that there is, or NULL. */
static double variance_of(const struct truth *truth, unsigned site, int measure,
			  const struct row **only_row)
{
	double variance = 0;
	unsigned sizes = 0;

	for (size_t i = 0; i < truth->count; i++) {
		const struct row *row = &truth->rows[i];
		double count =
			(double)(measure < INUSE_OBJECTS ? row->objects : row->inuse);

		if (row->site != site || count <= 0)
			continue;
		variance +=
			count *
			(measure % 2
				 ? heap_bytes_variance(row->size_bytes, DEFAULT_RATE)
				 : heap_objects_variance(row->size_bytes, DEFAULT_RATE));
		*only_row = row;
		sizes++;
	}
	if (sizes != 1)
		*only_row = NULL;
	return variance;
}

/*
 * Blocks of one size: the estimate is a whole number of samples times the weight of
 * one, and that number is binomial. Bytes tell it also where rounding to whole objects
 * does not.
 */
static double one_size_p(const struct row *row, int measure,
			 const struct heap_sums *found, const char *name)
{
	bool is_alloc = measure < INUSE_OBJECTS;
	double p = heap_share(row->size_bytes, DEFAULT_RATE);
	double weight = 1 / p, size_bytes = (double)row->size_bytes;
	double bytes = value_of(found, is_alloc ? ALLOC_BYTES : INUSE_BYTES);
	double samples = round(bytes / (size_bytes * weight));
	double slack = 1.0 * found->samples;

	ck_assert_msg(
		fabs(bytes - samples * size_bytes * weight) <= slack &&
			fabs(value_of(found, is_alloc ? ALLOC_OBJECTS : INUSE_OBJECTS) -
			     samples * weight) <= slack,
		"%s: %.0f bytes, %s %.0f are no %.0f samples", name, bytes,
		measures[measure], value_of(found, measure), samples);
	return heap_binomial_p((int64_t)samples, is_alloc ? row->objects : row->inuse, p);
}

static void judge_site(struct family *family, const struct heap_profile *profile,
		       const struct truth *truth, unsigned site, int seed)
{
	struct heap_sums told = sums_of(truth, site), found;
	char name[32];

	snprintf(name, sizeof(name), "site_%u", site);
	found = heap_profile_with(profile, name);
	for (int measure = 0; measure < MEASURES; measure++) {
		double truth_value = value_of(&told, measure);
		double estimate = value_of(&found, measure), variance, slack, z, p;
		const struct row *only_row = NULL;

		if (truth_value <= 0) {
			ck_assert_msg(estimate == 0, "%s: %s is %.0f", name,
				      measures[measure], estimate);
			continue;
		}
		variance = variance_of(truth, site, measure, &only_row);
		/* What rounding takes from one line the next one gets. */
		slack = 1.0 * found.samples;
		z = heap_z(estimate, truth_value, variance, slack);
		p = only_row ? one_size_p(only_row, measure, &found, name)
			     : heap_normal_p(z);
		family->z_sums[site][measure] += z;
		family->is_there[site][measure] = true;
		family->tests++;
		family->largest_z = fmax(family->largest_z, fabs(z));
		if (p < family->smallest_p) {
			family->smallest_p = p;
			snprintf(family->smallest, sizeof(family->smallest),
				 "%s of %s, seed %d: z %.2f", measures[measure], name,
				 seed, z);
		}
	}
}

/*
 * The peak of all sites together. The mark may be 1/1024 below it, and lie where chance
 * made the estimate largest.
 */
static double judge_peak(struct family *family, const struct victim *victim,
			 const struct truth *truth, int seed)
{
	struct heap_profile *profile = heap_profile_of(victim, "peak");
	double truth_bytes = (double)peak_bytes_of(truth), found_bytes = 0;
	double variance = 0, z, p;

	for (size_t i = 0; i < truth->count; i++)
		variance += (double)truth->rows[i].at_peak *
			    heap_bytes_variance(truth->rows[i].size_bytes, DEFAULT_RATE);
	for (unsigned site = 1; site < SITES; site++) {
		char name[32];

		snprintf(name, sizeof(name), "site_%u", site);
		found_bytes += (double)heap_profile_with(profile, name).inuse_bytes;
	}
	z = heap_z(found_bytes, truth_bytes, variance, truth_bytes / 1024);
	p = heap_normal_p(z);
	family->tests++;
	if (p < family->smallest_p) {
		family->smallest_p = p;
		snprintf(family->smallest, sizeof(family->smallest),
			 "peak, seed %d: z %.2f", seed, z);
	}
	heap_profile_free(profile);
	return z;
}

/* One run for each seed; all sites are judged together at the end. */
START_TEST(estimates_are_as_far_off_as_they_should_be)
{
	static struct family family = {.smallest_p = 1};
	double largest_mean = 0, peak_mean = 0;

	for (int seed = 1; seed <= SEEDS; seed++) {
		struct victim *victim =
			run_agent("volume", seed, "SPANPROF_HEAP_RATE=524288");
		struct heap_profile *profile = heap_profile_of(victim, "heap");
		struct truth truth;

		read_truth(victim->output, "", &truth);
		for (unsigned site = 1; site < SITES; site++)
			judge_site(&family, profile, &truth, site, seed);
		peak_mean += judge_peak(&family, victim, &truth, seed) / SEEDS;
		heap_profile_free(profile);
		victim_free(victim);
	}
	printf("%d tests: smallest p %.3g (%s), largest |z| %.2f\n", family.tests,
	       family.smallest_p, family.smallest, family.largest_z);
	ck_assert_int_gt(family.tests, SEEDS * 40);
	ck_assert_msg(family.smallest_p * family.tests >= 0.001, "p %.3g in %d tests: %s",
		      family.smallest_p, family.tests, family.smallest);
	for (unsigned site = 1; site < SITES; site++)
		for (int measure = 0; measure < MEASURES; measure++) {
			double mean = family.z_sums[site][measure] / SEEDS;

			if (!family.is_there[site][measure])
				continue;
			largest_mean = fmax(largest_mean, fabs(mean));
			ck_assert_msg(fabs(mean) <= 0.67,
				      "%s of site_%u: mean z %.2f over the seeds",
				      measures[measure], site, mean);
		}
	printf("largest |mean z| %.2f, of the peak %.2f\n", largest_mean, peak_mean);
	ck_assert_msg(fabs(peak_mean) <= 0.67, "peak: mean z %.2f over the seeds",
		      peak_mean);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, truth_is_true, 0, 3);
	tcase_add_loop_test(tcase, every_site_is_exact_when_every_block_is_sampled, 0,
			    EXACT_RUNS);
	tcase_add_test(tcase, everything_is_counted_exactly);
	tcase_add_test(tcase, estimates_are_as_far_off_as_they_should_be);
}

int main(void)
{
	return victim_main("heap_truth", add);
}
