/*
 * Spans and their memory that come to an unusual end: exact where every allocation is
 * recorded.
 */
#include "victim_profile.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXACT "SPANPROF_HEAP_RATE=1"
#define BURN_NS 50000000
#define BRIEF_NS 100000
#define STAY_NS 300000000

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

static struct profile *spans_of(const struct victim *victim)
{
	return victim_read_profile(victim->profiles, "*.spans.pb.gz");
}

/* --- memory --- */

START_TEST(memory_is_the_allocating_spans_whoever_frees_it)
{
	struct victim *victim = live("memory");
	struct profile *spans = spans_of(victim);
	struct profile *heap = victim_read_profile(victim->profiles, "*.heap.pb.gz");

	ck_assert_int_eq(profile_sum_leaf(spans, "alloc_objects", "a"), 100);
	ck_assert_int_eq(profile_sum_leaf(spans, "alloc_space", "a"), 100000);
	ck_assert_int_eq(profile_sum_leaf(spans, "inuse_objects", "a"), 50);
	ck_assert_int_eq(profile_sum_leaf(spans, "inuse_space", "a"), 50000);
	ck_assert_int_eq(profile_sum_leaf(spans, "inuse_objects", "b"), 0);
	ck_assert_int_eq(profile_sum_label(heap, "inuse_objects", "span_name", "a"), 50);
	ck_assert_int_eq(profile_sum_label(heap, "inuse_space", "span_name", "a"), 50000);
	ck_assert_int_eq(profile_sum_label(heap, "inuse_space", "span_name", "b"), 0);
	ck_assert(profile_has_comment(spans, "inuse_objects, inuse_space (exact)"));
	ck_assert(profile_has_comment(spans, "held: 1 closed spans have memory in use"));
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
	ck_assert(
		profile_has_comment(spans, "held: 1000 closed spans have memory in use"));
	ck_assert(profile_has_comment(spans,
				      "500 closed spans no longer told from each other"));
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
	ck_assert(!profile_has_comment(spans, "held:"));
	ck_assert(profile_has_comment(spans, "not tracked (track_heap)"));
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
	ck_assert(profile_has_comment(spans, "names, labels or ids without room"));
	ck_assert(!profile_has_comment(spans, "not followed: no room"));
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
	ck_assert(profile_has_comment(spans, "unfinished: 2 spans were open"));
	profile_free(spans);
	victim_free(victim);
}
END_TEST

/* The last that was told. */
static int64_t last_number(const char *output, const char *name)
{
	const char *at = output, *last = NULL;

	while ((at = strstr(at, name)) != NULL)
		last = at++;
	ck_assert_msg(last != NULL, "no %s", name);
	return victim_number(last, name);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Nobody leaves b, in which a thread sleeps, nor a; nobody enters c. The rate of the
 * clock of spans is known to a part in 10,000. */
static void check_open_spans(const struct victim *victim, const struct profile *spans)
{
	int64_t least_ns = last_number(victim->output, "b_least_ns");
	int64_t most_ns = now_ns() - victim_number(victim->output, "b_from_ns");
	int64_t of_b = profile_sum_leaf(spans, "wall_busy", "b");
	int64_t of_c = profile_sum_leaf(spans, "wall_idle", "c");

	ck_assert_int_ge(least_ns, STAY_NS);
	ck_assert_int_ge(of_b, least_ns - least_ns / 10000);
	ck_assert_int_le(of_b, most_ns);
	ck_assert_int_ge(of_c, least_ns - least_ns / 10000);
	ck_assert_int_ge(profile_sum_leaf(spans, "wall_busy", "a"),
			 victim_number(victim->output, "a_ns") * 999 / 1000);
}

static void check_blocks(const struct profile *spans, const char *name, int64_t blocks)
{
	ck_assert_int_eq(profile_sum_leaf(spans, "alloc_objects", name), blocks);
	ck_assert_int_eq(profile_sum_leaf(spans, "alloc_space", name), blocks * 1000);
}

START_TEST(open_spans_are_told_when_the_program_ends)
{
	struct victim *victim = live("exit");
	struct profile *spans = spans_of(victim);
	int64_t e_cpu_ns = victim_number(victim->output, "e_cpu_ns");

	check_open_spans(victim, spans);
	ck_assert(profile_has_comment(spans, "unfinished: 5 spans were open"));
	ck_assert(
		profile_has_comment(spans, "unfinished: 4 of them had a thread in them"));
	/* Of the thread that ended the program, and of one that did not. */
	ck_assert_int_ge(profile_sum_leaf(spans, "cpu", "a"), BURN_NS);
	ck_assert_int_gt(e_cpu_ns, 0);
	ck_assert_int_ge(profile_sum_leaf(spans, "cpu", "e"), e_cpu_ns);
	ck_assert_int_le(profile_sum_leaf(spans, "cpu", "e"),
			 profile_sum_leaf(spans, "wall_busy", "e"));
	ck_assert_int_lt(profile_sum_leaf(spans, "cpu", "d"), BURN_NS);
	/* Of threads that have done nothing with spans since. */
	check_blocks(spans, "b", 100);
	check_blocks(spans, "d", 7);
	check_blocks(spans, "e", 5);
	/* It is over when the profile is written. */
	ck_assert_int_le(profile_sum_leaf(spans, "wall_busy", "b"),
			 last_number(victim->output, "b_least_ns") * 11 / 10);
	profile_free(spans);
	victim_free(victim);
}
END_TEST

START_TEST(open_spans_of_a_killed_program_are_told)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"span_lives", "open", NULL},
		.environment = (const char *const[]){EXACT, NULL},
		.kill_signal = SIGKILL,
		.kill_after_ms = 1500,
	};
	struct victim *victim = victim_run(&setup);
	const char *const arguments[] = {"recover", "-o", victim->profiles,
					 victim->recordings, NULL};
	struct profile *spans;

	ck_assert_int_eq(victim_cli(arguments), 0);
	spans = spans_of(victim);
	check_open_spans(victim, spans);
	ck_assert(profile_has_comment(spans, "unfinished: 5 spans were open"));
	ck_assert(
		profile_has_comment(spans, "unfinished: 4 of them had a thread in them"));
	ck_assert(profile_has_comment(spans, "last sign of life"));
	/* Of threads that have done nothing with spans since; one of them is at work. */
	check_blocks(spans, "b", 100);
	check_blocks(spans, "d", 7);
	check_blocks(spans, "e", 5);
	ck_assert_int_gt(profile_sum_leaf(spans, "cpu", "e"), 0);
	ck_assert_int_le(profile_sum_leaf(spans, "cpu", "e"),
			 profile_sum_leaf(spans, "wall_busy", "e"));
	profile_free(spans);
	victim_free(victim);
}
END_TEST

static struct profile *spans_of_process(const struct victim *victim, long long pid)
{
	char pattern[64];

	snprintf(pattern, sizeof(pattern), "*.%lld.spans.pb.gz", pid);
	return victim_read_profile(victim->profiles, pattern);
}

START_TEST(child_of_a_fork_has_spans_of_its_own)
{
	struct victim *victim = live("fork");
	struct profile *spans =
		spans_of_process(victim, victim_number(victim->output, "child"));

	ck_assert_int_ge(profile_sum_leaf(spans, "wall_busy", "b"), BURN_NS);
	ck_assert_int_ge(profile_sum_leaf(spans, "cpu", "b"), BURN_NS);
	ck_assert_int_eq(profile_sum_leaf(spans, "inuse_objects", "b"), 1);
	profile_free(spans);
	spans = spans_of_process(victim, victim->pid);
	ck_assert_int_ge(profile_sum_leaf(spans, "wall_busy", "a"), BURN_NS);
	ck_assert_int_eq(profile_sum_leaf(spans, "spans", "a"), 1);
	ck_assert_int_eq(profile_sum_leaf(spans, "wall", "b"), 0);
	profile_free(spans);
	victim_free(victim);
}
END_TEST

/* Its clocks were never compared over as long as those of others. */
START_TEST(brief_child_tells_how_long_its_span_was)
{
	struct victim *victim = live("brief");
	struct profile *spans =
		spans_of_process(victim, victim_number(victim->output, "child"));

	ck_assert_int_ge(profile_sum_leaf(spans, "wall_busy", "b"), BRIEF_NS * 95 / 100);
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
	tcase_add_test(tcase, brief_child_tells_how_long_its_span_was);
	tcase_add_test(tcase, thread_that_ends_leaves_its_spans);
	tcase_add_test(tcase, open_spans_are_told_when_the_program_ends);
	tcase_add_test(tcase, open_spans_of_a_killed_program_are_told);
	tcase_add_test(tcase, child_of_a_fork_has_spans_of_its_own);
}

int main(void)
{
	return victim_main("span_lives", add_tests);
}
