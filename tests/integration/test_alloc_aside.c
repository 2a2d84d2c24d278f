/*
 * Without a heap profile our allocation functions stand aside: the program calls its
 * allocator as if we were not there, until it has a first span, whose allocations are
 * counted to the last.
 */
#include "victim_profile.h"

#include <string.h>

#define BLOCKS 1000
#define CROWD 200

static const char *const programs[] = {"alloc_aside", "alloc_aside_now",
				       "alloc_aside_noplt", "alloc_aside_fixed",
				       /* Its allocator calls itself. */
				       "alloc_aside_fence"};

/* The library that is open before the first span is bound at its first call or at once.
 */
static struct victim *run(const char *program, const char *option, const char *tells)
{
	char lazy[PATH_MAX], now[PATH_MAX];
	const char *const argv[] = {
		program, victim_program_path("lib_alloc_aside.so", lazy),
		victim_program_path("lib_alloc_aside_now.so", now), NULL};
	const char *const swapped[] = {program, now, lazy, NULL};
	const char *const environment[] = {option, tells, NULL};
	const struct victim_setup setup = {.argv = tells ? argv : swapped,
					   .environment = environment};
	struct victim *victim = tells ? victim_run(&setup) : victim_run_both(&setup);

	victim_assert_success(victim);
	victim_assert_clean(victim);
	ck_assert(strstr(victim->output, "the same for all: 1") != NULL);
	return victim;
}

static void check_spans(const struct victim *victim)
{
	static const char *const names[] = {"small",	    "program",	     "c library",
					    "late library", "later library", "thread"};
	struct profile *spans = victim_read_profile(victim->profiles, "*.spans.pb.gz");

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		ck_assert_int_eq(profile_sum_leaf(spans, "alloc_objects", names[i]),
				 BLOCKS);
		ck_assert_int_ge(profile_sum_leaf(spans, "alloc_space", names[i]),
				 BLOCKS * 24);
	}
	profile_free(spans);
}

START_TEST(allocations_of_spans_are_counted_from_the_first_on)
{
	struct victim *victim = run(programs[_i], "SPANPROF=cpu", NULL);

	check_spans(victim);
	victim_free(victim);
	victim = run(programs[_i], "SPANPROF=cpu", "ALLOC_ASIDE_TELLS=1");
	ck_assert_msg(strstr(victim->output, "before other after agent") != NULL, "%s",
		      victim->output);
	check_spans(victim);
	victim_free(victim);
}
END_TEST

static void check_objects_of(const char *const *argv, const char *span, int64_t objects)
{
	const struct victim_setup setup = {
		.argv = argv,
		.environment = (const char *const[]){"SPANPROF=cpu", NULL},
	};
	struct victim *victim = victim_run(&setup);
	struct profile *spans;

	victim_assert_success(victim);
	victim_assert_clean(victim);
	spans = victim_read_profile(victim->profiles, "*.spans.pb.gz");
	ck_assert_int_eq(profile_sum_leaf(spans, "alloc_objects", span), objects);
	profile_free(spans);
	victim_free(victim);
}

/* They all put back what stands aside, in the same pages. */
START_TEST(first_spans_of_many_threads_begin_at_once)
{
	const char *const argv[] = {programs[_i], NULL};

	check_objects_of(argv, "crowd", CROWD * BLOCKS);
}
END_TEST

START_TEST(slot_that_is_filled_late_is_mended)
{
	const char *const argv[] = {"alloc_aside", "late", NULL};

	check_objects_of(argv, "mended", BLOCKS);
}
END_TEST

/* Nor where jemalloc serves, which has to stay. */
START_TEST(nobody_stands_aside_with_a_heap_profile)
{
	static const char *const options[] = {"SPANPROF=cpu,heap",
					      "SPANPROF=cpu,allocator=jemalloc"};
	struct victim *victim = run(programs[0], options[_i], "ALLOC_ASIDE_TELLS=1");

	ck_assert_msg(strstr(victim->output, "before agent after agent") != NULL, "%s",
		      victim->output);
	check_spans(victim);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, allocations_of_spans_are_counted_from_the_first_on, 0,
			    (int)(sizeof(programs) / sizeof(programs[0])));
	tcase_add_loop_test(tcase, first_spans_of_many_threads_begin_at_once, 0,
			    (int)(sizeof(programs) / sizeof(programs[0])));
	tcase_add_test(tcase, slot_that_is_filled_late_is_mended);
	tcase_add_loop_test(tcase, nobody_stands_aside_with_a_heap_profile, 0, 2);
}

int main(void)
{
	return victim_main("alloc_aside", add);
}
