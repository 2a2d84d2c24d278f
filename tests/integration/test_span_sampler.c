/*
 * The head sampler against what a program knows of all its spans: what the part that is
 * followed is scaled to is as far off as chance allows, for fixed seeds, and children
 * share the fate of the span around them.
 */
#include "heap_statistics.h"
#include "victim_profile.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SITES 4
#define SEEDS 20
/* A followed span stands for four. */
#define PROBABILITY 0.25
#define WEIGHT 4

/* more: NULL, or one more variable of the environment. */
static struct victim *run_sampled_with(int seed, const char *more)
{
	char setting[64];
	struct victim_setup setup = {
		.argv = (const char *const[]){"span_sampled", NULL},
		.environment = (const char *const[]){"SPANPROF_SPAN_SAMPLER=0.25",
						     setting, more, NULL},
	};
	struct victim *victim;

	snprintf(setting, sizeof(setting), "SPANPROF_SPAN_SEED=%d", seed);
	victim = victim_run(&setup);
	victim_assert_success(victim);
	victim_assert_clean(victim);
	return victim;
}

static struct victim *run_sampled(int seed)
{
	return run_sampled_with(seed, NULL);
}

static struct profile *spans_of(const struct victim *victim)
{
	return victim_read_profile(victim->profiles, "*.spans.pb.gz");
}

static int64_t sum_of(const struct profile *spans, const char *type, const char *what,
		      int site)
{
	char name[32];

	snprintf(name, sizeof(name), "%s_%d", what, site);
	return profile_sum_leaf(spans, type, name);
}

static int64_t truth_of(const struct victim *victim, const char *what, int site)
{
	char name[32];

	snprintf(name, sizeof(name), "%s_%d", what, site);
	return victim_number(victim->output, name);
}

struct family {
	double count_z[SITES], bytes_z[SITES];
	double smallest_p;
	int tests;
};

static void note_p(struct family *family, double p)
{
	family->tests++;
	family->smallest_p = fmin(family->smallest_p, p);
}

static void judge_site(struct family *family, const struct victim *victim,
		       const struct profile *spans, int site)
{
	const double spread = (1 - PROBABILITY) / PROBABILITY;
	int64_t roots = truth_of(victim, "roots", site);
	int64_t found = sum_of(spans, "spans", "root", site);
	double bytes_z = heap_z((double)sum_of(spans, "alloc_space", "root", site),
				(double)truth_of(victim, "bytes", site),
				(double)truth_of(victim, "squares", site) * spread, 0);

	ck_assert_int_eq(found % WEIGHT, 0);
	note_p(family, heap_binomial_p(found / WEIGHT, roots, PROBABILITY));
	note_p(family, heap_normal_p(bytes_z));
	family->count_z[site] +=
		heap_z((double)found, (double)roots, (double)roots * spread, 0) / SEEDS;
	family->bytes_z[site] += bytes_z / SEEDS;
	ck_assert_int_eq(sum_of(spans, "alloc_objects", "root", site), found);
	/* All children of those that are followed, and no others. */
	ck_assert_int_eq(sum_of(spans, "spans", "child", site), found * site);
	ck_assert_int_eq(sum_of(spans, "alloc_space", "child", site), found * site * 10);
}

/* One run for each seed; all are judged together at the end. */
START_TEST(estimates_are_as_far_off_as_they_should_be)
{
	struct family family = {.smallest_p = 1};

	for (int seed = 1; seed <= SEEDS; seed++) {
		struct victim *victim = run_sampled(seed);
		struct profile *spans = spans_of(victim);

		ck_assert(profile_has_comment(spans, "a part of 0.25"));
		ck_assert(profile_has_comment(spans, "are multiplied by 4.0"));
		for (int site = 0; site < SITES; site++)
			judge_site(&family, victim, spans, site);
		profile_free(spans);
		victim_free(victim);
	}
	printf("%d tests: smallest p %.3g\n", family.tests, family.smallest_p);
	ck_assert_int_eq(family.tests, SEEDS * SITES * 2);
	ck_assert_msg(family.smallest_p * family.tests >= 0.001, "p %.3g in %d tests",
		      family.smallest_p, family.tests);
	for (int site = 0; site < SITES; site++) {
		printf("root_%d: mean z of the count %.2f, of bytes %.2f\n", site,
		       family.count_z[site], family.bytes_z[site]);
		ck_assert_msg(fabs(family.count_z[site]) <= 0.67 &&
				      fabs(family.bytes_z[site]) <= 0.67,
			      "root_%d is off over all seeds", site);
	}
}
END_TEST

START_TEST(seed_chooses_the_same_spans_again)
{
	struct victim *first = run_sampled(7), *again = run_sampled(7);
	struct victim *other = run_sampled(8);
	struct profile *of_first = spans_of(first), *of_again = spans_of(again);
	struct profile *of_other = spans_of(other);
	bool is_other = false;

	for (int site = 0; site < SITES; site++) {
		int64_t bytes = sum_of(of_first, "alloc_space", "root", site);

		ck_assert_int_eq(sum_of(of_again, "alloc_space", "root", site), bytes);
		is_other |= sum_of(of_other, "alloc_space", "root", site) != bytes;
	}
	ck_assert(is_other);
	profile_free(of_first);
	profile_free(of_again);
	profile_free(of_other);
	victim_free(first);
	victim_free(again);
	victim_free(other);
}
END_TEST

/* The whole process is a span, around all: it is there for each seed, as it is, and the
 * requests in it are chosen as they are without it. */
START_TEST(span_of_the_process_is_not_chosen_and_stands_for_itself)
{
	for (int seed = 1; seed <= SEEDS / 2; seed++) {
		struct victim *victim = run_sampled_with(seed, "OTEL_SERVICE_NAME=svc");
		struct profile *spans = spans_of(victim);
		int64_t roots = 0, found = 0, duration = spans->message->duration_nanos;
		int64_t of_process = profile_sum_leaf(spans, "wall_idle", "svc");

		for (int site = 0; site < SITES; site++) {
			int64_t of_site = sum_of(spans, "spans", "root", site);

			ck_assert_int_eq(sum_of(spans, "spans", "child", site),
					 of_site * site);
			roots += truth_of(victim, "roots", site);
			found += of_site;
		}
		/* 5 standard deviations. */
		ck_assert(fabs((double)(found - roots)) <=
			  5 * sqrt((double)roots * (1 - PROBABILITY) / PROBABILITY));
		ck_assert_int_gt(of_process, duration / 2);
		ck_assert_int_lt(of_process, duration * 2);
		profile_free(spans);
		victim_free(victim);
	}
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, estimates_are_as_far_off_as_they_should_be);
	tcase_add_test(tcase, seed_chooses_the_same_spans_again);
	tcase_add_test(tcase, span_of_the_process_is_not_chosen_and_stands_for_itself);
}

int main(void)
{
	return victim_main("span_sampler", add);
}
