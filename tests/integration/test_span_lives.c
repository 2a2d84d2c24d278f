/*
 * Spans and their memory that come to an unusual end: exact where every allocation is
 * recorded.
 */
#include "profile_decode.h"
#include "victim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT "SPANPROF_HEAP_RATE=1"
#define BURN_NS 50000000

static struct victim *live_with(const char *setting, const char *how, const char *number)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"span_lives", how, number, NULL},
		.environment = (const char *const[]){EXACT, setting, NULL},
		.timeout_s = 250,
	};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	return victim;
}

static struct victim *live(const char *how)
{
	struct victim *victim = live_with(EXACT, how, NULL);

	victim_assert_clean(victim);
	return victim;
}

static struct profile *read_profile(const char *folder, const char *pattern)
{
	struct victim_files files;
	char error[256] = "";
	struct profile *profile;

	victim_list(folder, pattern, &files);
	ck_assert_msg(files.count == 1, "%zu files %s", files.count, pattern);
	profile = profile_decode_file(files.paths[0], error, sizeof(error));
	ck_assert_msg(profile != NULL, "%s: %s", files.paths[0], error);
	ck_assert_msg(profile_check(profile, error, sizeof(error)), "%s", error);
	victim_files_free(&files);
	return profile;
}

static struct profile *spans_of(const struct victim *victim)
{
	return read_profile(victim->profiles, "*.spans.pb.gz");
}

static bool has_comment(const struct profile *profile, const char *part)
{
	const char *comment;

	for (size_t i = 0; (comment = profile_comment(profile, i)) != NULL; i++)
		if (strstr(comment, part) != NULL)
			return true;
	return false;
}

/* --- memory --- */

START_TEST(memory_is_the_allocating_spans_whoever_frees_it)
{
	struct victim *victim = live("memory");
	struct profile *spans = spans_of(victim);
	struct profile *heap = read_profile(victim->profiles, "*.heap.pb.gz");

	ck_assert_int_eq(profile_sum_leaf(spans, "alloc_objects", "a"), 100);
	ck_assert_int_eq(profile_sum_leaf(spans, "alloc_space", "a"), 100000);
	ck_assert_int_eq(profile_sum_leaf(spans, "inuse_objects", "a"), 50);
	ck_assert_int_eq(profile_sum_leaf(spans, "inuse_space", "a"), 50000);
	ck_assert_int_eq(profile_sum_leaf(spans, "inuse_objects", "b"), 0);
	ck_assert_int_eq(profile_sum_label(heap, "inuse_objects", "span_name", "a"), 50);
	ck_assert_int_eq(profile_sum_label(heap, "inuse_space", "span_name", "a"), 50000);
	ck_assert_int_eq(profile_sum_label(heap, "inuse_space", "span_name", "b"), 0);
	ck_assert(has_comment(spans, "inuse_objects, inuse_space (exact)"));
	ck_assert(has_comment(spans, "held: 1 closed spans have memory in use"));
	profile_free(spans);
	profile_free(heap);
	victim_free(victim);
}
END_TEST

START_TEST(closed_spans_beyond_those_kept_are_counted)
{
	struct victim *victim =
		live_with("SPANPROF_MAX_CLOSED_HEAP_SPANS=1000", "held", "1500");
	struct profile *spans = spans_of(victim);

	/* What is in use is known for all of them: only which one it was is not. */
	ck_assert_int_eq(profile_sum_leaf(spans, "inuse_objects", "a"), 1500);
	ck_assert(has_comment(spans, "held: 1000 closed spans have memory in use"));
	ck_assert(has_comment(spans, "500 closed spans no longer told from each other"));
	profile_free(spans);
	victim_free(victim);
}
END_TEST

START_TEST(without_heap_tracking_no_span_waits_for_its_memory)
{
	struct victim *victim = live_with("SPANPROF_TRACK_HEAP=no", "held", "300");
	struct profile *spans = spans_of(victim);

	ck_assert_int_eq(profile_sum_leaf(spans, "inuse_objects", "a"), 0);
	ck_assert_int_eq(profile_sum_leaf(spans, "alloc_objects", "a"), 300);
	ck_assert(!has_comment(spans, "held:"));
	ck_assert(has_comment(spans, "not tracked (track_heap)"));
	profile_free(spans);
	victim_free(victim);
}
END_TEST

/* --- very many --- */

#define FLOOD 200000

/* In the recording that there is by default, 64 MiB. */
static struct victim *flood(const char *setting)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"span_lives", "flood", "200000", NULL},
		.environment = (const char *const[]){setting, NULL},
		.timeout_s = 250,
	};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	victim_assert_clean(victim);
	ck_assert_int_lt(victim_number(victim->output, "shared_kb"), 64 * 1024);
	ck_assert_int_lt(victim_number(victim->output, "anonymous_kb"), 64 * 1024);
	return victim;
}

static void check_flood(const char *setting)
{
	struct victim *victim = flood(setting);
	struct profile *spans = spans_of(victim);

	ck_assert_int_eq(profile_total(spans, "spans"), FLOOD);
	ck_assert_int_eq(profile_total(spans, "alloc_objects"), FLOOD);
	ck_assert_int_eq(profile_total(spans, "alloc_space"), FLOOD * INT64_C(1000));
	ck_assert_int_eq(profile_sum_leaf(spans, "spans", "name 0"), 1);
	ck_assert_int_gt(profile_sum_leaf(spans, "spans", "[other]"), FLOOD / 2);
	ck_assert(has_comment(spans, "names, labels or ids without room"));
	ck_assert(!has_comment(spans, "not followed: no room"));
	profile_free(spans);
	victim_free(victim);
}

START_TEST(very_many_names_are_counted_in_what_room_there_is)
{
	check_flood("SPANPROF=record_labels=user");
}
END_TEST

START_TEST(very_many_ids_are_counted_in_what_room_there_is)
{
	check_flood("SPANPROF=spans=id");
}
END_TEST

/* --- ends --- */

START_TEST(thread_that_ends_leaves_its_spans)
{
	struct victim *victim = live("thread");
	struct profile *spans = spans_of(victim);

	ck_assert_int_ge(profile_sum_leaf(spans, "wall_busy", "a"), BURN_NS);
	ck_assert_int_ge(profile_sum_leaf(spans, "wall_busy", "b"), BURN_NS);
	ck_assert_int_ge(profile_sum_leaf(spans, "cpu", "b"), BURN_NS);
	ck_assert(has_comment(spans, "unfinished: 2 spans were open"));
	profile_free(spans);
	victim_free(victim);
}
END_TEST

START_TEST(child_of_a_fork_has_spans_of_its_own)
{
	struct victim *victim = live("fork");
	struct profile *spans;
	char pattern[64];

	snprintf(pattern, sizeof(pattern), "*.%lld.spans.pb.gz",
		 victim_number(victim->output, "child"));
	spans = read_profile(victim->profiles, pattern);
	ck_assert_int_ge(profile_sum_leaf(spans, "wall_busy", "b"), BURN_NS);
	ck_assert_int_ge(profile_sum_leaf(spans, "cpu", "b"), BURN_NS);
	ck_assert_int_eq(profile_sum_leaf(spans, "inuse_objects", "b"), 1);
	profile_free(spans);
	snprintf(pattern, sizeof(pattern), "*.%d.spans.pb.gz", victim->pid);
	spans = read_profile(victim->profiles, pattern);
	ck_assert_int_ge(profile_sum_leaf(spans, "wall_busy", "a"), BURN_NS);
	ck_assert_int_eq(profile_sum_leaf(spans, "spans", "a"), 1);
	ck_assert_int_eq(profile_sum_leaf(spans, "wall", "b"), 0);
	profile_free(spans);
	victim_free(victim);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, memory_is_the_allocating_spans_whoever_frees_it);
	tcase_add_test(tcase, closed_spans_beyond_those_kept_are_counted);
	tcase_add_test(tcase, without_heap_tracking_no_span_waits_for_its_memory);
	tcase_add_test(tcase, very_many_names_are_counted_in_what_room_there_is);
	tcase_add_test(tcase, very_many_ids_are_counted_in_what_room_there_is);
	tcase_add_test(tcase, thread_that_ends_leaves_its_spans);
	tcase_add_test(tcase, child_of_a_fork_has_spans_of_its_own);
}

int main(void)
{
	return victim_main("span_lives", add_tests);
}
