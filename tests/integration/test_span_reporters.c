/*
 * Reporters that a program is run with: which, and what options make of them.
 */
#include "real_program.h"
#include "victim_profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 250 requests of 4 parts, a quarter of a second of work. */
static struct victim *serve(const char *requests, const char *settings)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"span_server", requests, "250", NULL},
		.environment =
			(const char *const[]){"SPANPROF_HEAP_RATE=1", settings, NULL},
	};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	victim_assert_clean(victim);
	return victim;
}

static struct victim *run_server(const char *settings)
{
	return serve("250", settings);
}

struct parts {
	size_t files;
	int64_t total;
	size_t samples; /* of the largest file */
};

/* Over all files of a kind: each has what is new in it. */
static struct parts add_up(const struct victim *victim, const char *kind,
			   const char *type)
{
	struct victim_files files;
	struct parts parts = {0, 0, 0};
	char pattern[64];

	snprintf(pattern, sizeof(pattern), "%s_[0-9]*.pb.gz", kind);
	victim_list(victim->profiles, pattern, &files);
	parts.files = files.count;
	for (size_t i = 0; i < files.count; i++) {
		struct profile *profile = victim_decode(files.paths[i]);

		parts.total += profile_total(profile, type);
		if (profile->message->n_sample > parts.samples)
			parts.samples = profile->message->n_sample;
		profile_free(profile);
	}
	victim_files_free(&files);
	return parts;
}

static struct profile *all_of(const struct victim *victim)
{
	return victim_read_profile(victim->profiles, "*.spans.pb.gz");
}

/* Times are whole nanoseconds in each row of each file. */
#define ROWS_MOST 2000

static void check_alike(int64_t sum, int64_t all)
{
	ck_assert_int_ge(sum, all - ROWS_MOST);
	ck_assert_int_le(sum, all + ROWS_MOST);
}

static void check_parts(const struct victim *victim, size_t files_least,
			size_t files_most)
{
	struct profile *all = all_of(victim);
	struct parts wall = add_up(victim, "wall", "wall");

	ck_assert_uint_ge(wall.files, files_least);
	ck_assert_uint_le(wall.files, files_most);
	check_alike(wall.total, profile_total(all, "wall"));
	check_alike(add_up(victim, "cpu", "cpu").total, profile_total(all, "cpu"));
	ck_assert_int_eq(add_up(victim, "memory", "alloc_space").total,
			 profile_total(all, "alloc_space"));
	ck_assert_int_eq(add_up(victim, "memory", "alloc_objects").total,
			 profile_total(all, "alloc_objects"));
	profile_free(all);
}

START_TEST(servers_of_profiles_get_a_file_of_each_kind)
{
	struct victim *victim =
		run_server("SPANPROF=reporter=pprof\\,pyroscope,max_samples=1000000");

	check_parts(victim, 1, 1);
	/* As many as there are kinds of spans. */
	ck_assert_uint_eq(add_up(victim, "wall", "wall").samples, 2);
	ck_assert_int_eq(add_up(victim, "memory", "inuse_objects").total,
			 victim_number(victim->output, "kept_blocks"));
	victim_free(victim);
}
END_TEST

/* It is told of long before. */
START_TEST(servers_of_profiles_get_labels_that_come_late)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"span_lives", "late", NULL},
		.environment = (const char *const[]){"SPANPROF_REPORTER=pyroscope",
						     "SPANPROF_RECORD_LABELS=user", NULL},
	};
	struct victim *victim = victim_run(&setup);
	struct profile *profile;

	victim_assert_success(victim);
	victim_assert_clean(victim);
	profile = victim_read_profile(victim->profiles, "wall_*.pb.gz");
	ck_assert_int_ge(profile_sum_leaf(profile, "wall_busy", "a"), 1200000000);
	ck_assert_int_eq(profile_sum_label(profile, "wall_busy", "user", "late"),
			 profile_sum_leaf(profile, "wall_busy", "a"));
	profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(files_come_after_so_many_samples)
{
	struct victim *victim =
		run_server("SPANPROF=reporter=pyroscope\\,pprof,max_samples=50");

	check_parts(victim, 2, 100);
	victim_free(victim);
}
END_TEST

START_TEST(files_come_at_intervals)
{
	/* A second and more, whatever there is of cores: our thread sleeps for a quarter
	 * of that at most while there is work. */
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	char requests[32];
	struct victim *victim;

	snprintf(requests, sizeof(requests), "%ld", 1000 * (cores < 8 ? cores : 8));
	victim = serve(requests, "SPANPROF=reporter=pprof\\,pyroscope,"
				 "max_samples=1000000,"
				 "heap_snapshot_interval=0");

	check_parts(victim, 3, 100);
	ck_assert_uint_ge(add_up(victim, "memory", "inuse_space").files, 3);
	victim_free(victim);
}
END_TEST

START_TEST(spans_may_be_samples_of_their_own)
{
	struct victim *victim = run_server("SPANPROF=reporter=pprof\\,pyroscope,"
					   "max_samples=1000000,aggregate_samples=no");

	ck_assert_uint_eq(add_up(victim, "wall", "wall").samples, 250 + 1000);
	victim_free(victim);
}
END_TEST

/* Statements are alike: one sample, or as many as there are spans. */
static size_t samples_of_statements(const char *settings, int64_t *spans)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"/usr/bin/python3", "-c",
					      "import sqlite3\n"
					      "c = sqlite3.connect(':memory:')\n"
					      "for i in range(500):\n"
					      "    c.execute('select 1').fetchall()\n",
					      NULL},
		.environment = (const char *const[]){"SPANPROF_SPANS=sqlite3_step",
						     settings, NULL},
	};
	struct victim *victim = victim_run(&setup);
	struct profile *all;
	size_t samples;

	victim_assert_success(victim);
	victim_assert_clean(victim);
	all = all_of(victim);
	*spans = profile_total(all, "spans");
	check_parts(victim, 1, 1);
	samples = add_up(victim, "wall", "wall").samples;
	profile_free(all);
	victim_free(victim);
	return samples;
}

START_TEST(spans_of_real_programs_may_be_samples_of_their_own)
{
	int64_t spans;

	if (!real_program_has_commands(NAMES("python3")))
		return;
	ck_assert_uint_eq(samples_of_statements("SPANPROF=reporter=pprof\\,pyroscope,"
						"max_samples=1000000",
						&spans),
			  1);
	ck_assert_uint_eq(samples_of_statements("SPANPROF=reporter=pprof\\,pyroscope,"
						"max_samples=1000000,"
						"aggregate_samples=no",
						&spans),
			  (size_t)spans);
	ck_assert_int_ge(spans, 500);
}
END_TEST

START_TEST(only_those_that_are_named_report)
{
	struct victim *victim =
		run_server("SPANPROF=reporter=pyroscope,max_samples=1000000");

	ck_assert_uint_eq(add_up(victim, "wall", "wall").files, 1);
	ck_assert_uint_eq(victim_count(victim->profiles, "*"), 3);
	victim_free(victim);
}
END_TEST

static const struct {
	const char *setting, *told;
} unknown_reporters[] = {
	{"SPANPROF_REPORTER=pprof,pyro", "SPANPROF_REPORTER: \"pyro\" is no reporter; "
					 "there are pprof, pyroscope"},
	{"SPANPROF=cpu,reporter=pyro", "reporter in SPANPROF: \"pyro\" is no reporter; "
				       "there are pprof, pyroscope"},
};

START_TEST(unknown_reporter_is_told_and_nothing_profiled)
{
	struct victim *victim = run_server(unknown_reporters[_i].setting);

	ck_assert_ptr_nonnull(strstr(victim->agent_lines, unknown_reporters[_i].told));
	ck_assert_uint_eq(victim_count(victim->profiles, "*"), 0);
	victim_free(victim);
}
END_TEST

START_TEST(what_is_not_tracked_is_in_no_file)
{
	struct victim *victim = run_server("SPANPROF=reporter=pprof\\,pyroscope,"
					   "max_samples=1000000,track_all=no,track_wall");
	struct profile *all = all_of(victim);

	ck_assert_uint_eq(add_up(victim, "wall", "wall").files, 1);
	ck_assert_uint_eq(add_up(victim, "cpu", "cpu").files, 0);
	ck_assert_uint_eq(add_up(victim, "memory", "alloc_space").files, 0);
	ck_assert_int_eq(profile_total(all, "cpu"), 0);
	ck_assert_int_eq(profile_total(all, "alloc_space"), 0);
	ck_assert_int_eq(profile_total(all, "inuse_space"), 0);
	ck_assert_int_gt(profile_total(all, "wall"), 250000000);
	ck_assert_int_eq(profile_total(all, "spans"), 250 + 1000);
	profile_free(all);
	victim_free(victim);
}
END_TEST

START_TEST(part_of_all_requests_stands_for_all_in_files_too)
{
	struct victim *victim = run_server("SPANPROF=reporter=pprof\\,pyroscope,"
					   "max_samples=1000000,span:sampler=0.5");

	check_parts(victim, 1, 1);
	victim_free(victim);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, servers_of_profiles_get_a_file_of_each_kind);
	tcase_add_test(tcase, servers_of_profiles_get_labels_that_come_late);
	tcase_add_test(tcase, files_come_after_so_many_samples);
	tcase_add_test(tcase, files_come_at_intervals);
	tcase_add_test(tcase, spans_may_be_samples_of_their_own);
	tcase_add_test(tcase, spans_of_real_programs_may_be_samples_of_their_own);
	tcase_add_test(tcase, only_those_that_are_named_report);
	tcase_add_loop_test(tcase, unknown_reporter_is_told_and_nothing_profiled, 0,
			    sizeof(unknown_reporters) / sizeof(unknown_reporters[0]));
	tcase_add_test(tcase, what_is_not_tracked_is_in_no_file);
	tcase_add_test(tcase, part_of_all_requests_stands_for_all_in_files_too);
}

int main(void)
{
	return victim_main("span_reporters", add_tests);
}
