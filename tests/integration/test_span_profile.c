/*
 * The profile of spans of a server that knows what its spans took, and what the options
 * make of it.
 */
#include "victim_profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000LL

static struct victim *run_server(const char *requests, const char *part_us,
				 const char *setting)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"span_server", requests, part_us, NULL},
		.environment = (const char *const[]){setting, NULL},
	};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	victim_assert_clean(victim);
	return victim;
}

static long long told(const struct victim *victim, const char *span, const char *what)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_%s", span, what);
	return victim_number(victim->output, name);
}

/* Of all stays, to within slack_ns for each. */
static void check_value(const struct victim *victim, long long value, const char *span,
			const char *type, const char *truth, long long slack_ns)
{
	long long stays = told(victim, span, "stays");
	char least[32], most[32];

	snprintf(least, sizeof(least), "%s_least", truth);
	snprintf(most, sizeof(most), "%s_most", truth);
	ck_assert_msg(value >= told(victim, span, least) - stays * slack_ns &&
			      value <= told(victim, span, most) + stays * slack_ns,
		      "%s of %s is %lld, not %lld to %lld", type, span, value,
		      told(victim, span, least), told(victim, span, most));
}

/* With that of the spans inside, as those of time are. */
static void check_between(const struct victim *victim, const struct profile *profile,
			  const char *span, const char *type, const char *truth,
			  long long slack_ns)
{
	check_value(victim, profile_sum_with(profile, type, span), span, type, truth,
		    slack_ns);
}

/* Of each span itself. */
static void check_leaf_between(const struct victim *victim, const struct profile *profile,
			       const char *span, const char *type, const char *truth,
			       long long slack_ns)
{
	check_value(victim, profile_sum_leaf(profile, type, span), span, type, truth,
		    slack_ns);
}

/* Of what the program read its thread's clock for, right inside of each stay. */
static void check_cpu_within_1_percent(const struct victim *victim,
				       const struct profile *profile, const char *span)
{
	long long truth_ns = told(victim, span, "cpu_least");
	long long value_ns = profile_sum_with(profile, "cpu", span);

	ck_assert_int_ge(truth_ns, 5 * NS_PER_S);
	ck_assert_msg(value_ns >= truth_ns - truth_ns / 100 &&
			      value_ns <= truth_ns + truth_ns / 100,
		      "cpu of %s is %lld, not %lld to within 1 %%", span, value_ns,
		      truth_ns);
}

START_TEST(spans_took_what_the_program_measured)
{
	/* Five seconds of work in parts. */
	struct victim *victim = run_server(
		"1250", "1000", "SPANPROF=heap:rate=1,max_closed_heap_spans=5000");
	struct profile *profile = victim_read_profile(victim->profiles, "*.spans.pb.gz");
	static const char *const spans[] = {"request", "part"};

	for (size_t i = 0; i < 2; i++) {
		check_between(victim, profile, spans[i], "wall_busy", "wall", 1000);
		check_leaf_between(victim, profile, spans[i], "wall_idle", "idle", 1000);
		/* One clock: nothing needs to be compared. */
		check_between(victim, profile, spans[i], "cpu", "cpu", 0);
		check_cpu_within_1_percent(victim, profile, spans[i]);
		ck_assert_int_eq(profile_sum_leaf(profile, "alloc_objects", spans[i]),
				 told(victim, spans[i], "blocks"));
		ck_assert_int_eq(profile_sum_leaf(profile, "alloc_space", spans[i]),
				 told(victim, spans[i], "bytes"));
	}
	ck_assert_int_eq(profile_sum_leaf(profile, "spans", "request"), 1250);
	ck_assert_int_eq(profile_sum_leaf(profile, "spans", "part"), 5000);
	ck_assert_int_eq(profile_sum_leaf(profile, "inuse_objects", "part"),
			 victim_number(victim->output, "kept_blocks"));
	ck_assert_int_eq(profile_sum_leaf(profile, "inuse_objects", "request"), 0);
	ck_assert_int_eq(profile_total(profile, "cpu_user") +
				 profile_total(profile, "cpu_sys"),
			 profile_total(profile, "cpu"));
	ck_assert(!profile_has_comment(profile, "loss:"));
	ck_assert(!profile_has_comment(profile, "unfinished:"));
	profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(samples_of_all_profiles_carry_their_span)
{
	struct victim *victim = run_server("250", "1000", "SPANPROF_HEAP_RATE=1");
	struct profile *cpu = victim_read_profile(victim->profiles, "*.cpu.pb.gz");
	struct profile *heap = victim_read_profile(victim->profiles, "*.heap.pb.gz");
	int64_t in_parts = profile_sum_label(cpu, "cpu", "span_name", "part");

	/* A second of work in parts, and little else. */
	ck_assert_int_gt(in_parts, profile_total(cpu, "cpu") / 2);
	ck_assert_int_eq(profile_sum_label(heap, "alloc_objects", "span_name", "part"),
			 told(victim, "part", "blocks"));
	ck_assert_int_eq(profile_sum_label(heap, "inuse_objects", "span_name", "part"),
			 victim_number(victim->output, "kept_blocks"));
	/* Labels are not recorded unless asked for, nor are ids. */
	ck_assert_int_eq(profile_sum_label(cpu, "cpu", "user", "me"), 0);
	for (size_t i = 0; i < cpu->message->n_sample; i++)
		ck_assert_ptr_null(
			profile_sample_label(cpu, cpu->message->sample[i], "span_id"));
	profile_free(cpu);
	profile_free(heap);
	victim_free(victim);
}
END_TEST

static void check_hex(const struct profile *profile,
		      const Perftools__Profiles__Sample *sample, const char *key,
		      size_t digits)
{
	const Perftools__Profiles__Label *label =
		profile_sample_label(profile, sample, key);
	const char *text = label ? profile_string(profile, label->str) : "";

	ck_assert_uint_eq(strlen(text), digits);
	ck_assert_uint_eq(strspn(text, "0123456789abcdef"), digits);
}

START_TEST(ids_and_labels_come_when_asked_for)
{
	struct victim *victim = run_server(
		"100", "1000", "SPANPROF=spans=id,record_labels=tenant\\,user");
	struct profile *cpu = victim_read_profile(victim->profiles, "*.cpu.pb.gz");
	unsigned int in_parts = 0;

	for (size_t i = 0; i < cpu->message->n_sample; i++) {
		const Perftools__Profiles__Sample *sample = cpu->message->sample[i];
		const Perftools__Profiles__Label *name =
			profile_sample_label(cpu, sample, "span_name");

		if (!name || strcmp(profile_string(cpu, name->str), "part") != 0)
			continue;
		in_parts++;
		check_hex(cpu, sample, "span_id", 16);
		check_hex(cpu, sample, "trace_id", 32);
	}
	ck_assert_uint_gt(in_parts, 5);
	ck_assert_int_ge(profile_sum_label(cpu, "cpu", "user", "me"),
			 profile_sum_label(cpu, "cpu", "span_name", "part") * 9 / 10);
	profile_free(cpu);
	victim_free(victim);
}
END_TEST

START_TEST(off_leaves_no_trace_of_spans)
{
	struct victim *victim = run_server("50", "200", "SPANPROF_SPANS=off");
	struct profile *cpu = victim_read_profile(victim->profiles, "*.cpu.pb.gz");

	ck_assert_uint_eq(victim_count(victim->profiles, "*.spans.pb.gz"), 0);
	ck_assert_int_eq(profile_sum_label(cpu, "cpu", "span_name", "part"), 0);
	profile_free(cpu);
	victim_free(victim);
}
END_TEST

START_TEST(source_can_be_switched_off)
{
	struct victim *victim = run_server("50", "200", "SPANPROF_SOURCES=-api");

	ck_assert_uint_eq(victim_count(victim->profiles, "*.spans.pb.gz"), 0);
	victim_free(victim);
}
END_TEST

START_TEST(unknown_source_is_told_and_nothing_profiled)
{
	struct victim *victim = run_server("10", "200", "SPANPROF_SOURCES=-apy");

	ck_assert_ptr_nonnull(strstr(victim->agent_lines,
				     "\"-apy\" is unknown (did you mean \"-api\"?)"));
	ck_assert_uint_eq(victim_count(victim->profiles, "*"), 0);
	victim_free(victim);
}
END_TEST

START_TEST(cpu_time_without_clocks_is_an_estimate)
{
	struct victim *victim = run_server("250", "1000", "SPANPROF_SPAN_CPU=off");
	struct profile *profile = victim_read_profile(victim->profiles, "*.spans.pb.gz");
	long long cpu_ns = profile_sum_with(profile, "cpu", "request");
	long long truth_ns = told(victim, "request", "cpu_least");

	/* Some 100 samples. */
	ck_assert_int_gt(cpu_ns, truth_ns / 2);
	ck_assert_int_lt(cpu_ns, truth_ns * 3 / 2);
	ck_assert(profile_has_comment(profile, "cpu (estimate)"));
	check_between(victim, profile, "part", "wall_busy", "wall", 1000);
	profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(part_of_all_requests_stands_for_all)
{
	struct victim *victim = run_server("4000", "20", "SPANPROF_SPAN_SAMPLER=0.25");
	struct profile *profile = victim_read_profile(victim->profiles, "*.spans.pb.gz");
	int64_t requests = profile_sum_leaf(profile, "spans", "request");

	/* 1000 are followed, with a standard deviation of 27. */
	ck_assert_int_gt(requests, 4000 - 5 * 4 * 27);
	ck_assert_int_lt(requests, 4000 + 5 * 4 * 27);
	ck_assert_int_eq(profile_sum_leaf(profile, "spans", "part"), 4 * requests);
	ck_assert(profile_has_comment(profile, "0.250000 of all outermost spans"));
	profile_free(profile);
	victim_free(victim);
}
END_TEST

static long long last_number(const char *text, const char *name)
{
	const char *last = NULL, *next = text;

	while ((next = strstr(next, name)) != NULL)
		last = next++;
	ck_assert_ptr_nonnull(last);
	return strtoll(last + strlen(name), NULL, 10);
}

START_TEST(killed_server_loses_no_span_that_was_closed)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"span_server", "1000000", "100", NULL},
		.kill_signal = 9,
		.kill_after_ms = 1200,
	};
	struct victim *victim = victim_run(&setup);
	const char *const arguments[] = {"recover", "-o", victim->profiles,
					 victim->recordings, NULL};
	struct profile *profile;
	int64_t requests;

	ck_assert_int_eq(victim_cli(arguments), 0);
	profile = victim_read_profile(victim->profiles, "*.spans.pb.gz");
	requests = profile_sum_leaf(profile, "spans", "request");
	ck_assert_int_ge(requests, last_number(victim->output, "closed="));
	ck_assert_int_gt(requests, 100);
	/* Of those that were open parts may be closed. */
	ck_assert_int_ge(profile_sum_leaf(profile, "spans", "part"), 4 * requests);
	ck_assert_int_le(profile_sum_leaf(profile, "spans", "part"), 4 * requests + 100);
	ck_assert_int_ge(profile_sum_leaf(profile, "alloc_objects", "part"),
			 12 * requests);
	ck_assert(profile_has_comment(profile, "unfinished:"));
	ck_assert(!profile_has_comment(profile, "loss:"));
	profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, spans_took_what_the_program_measured);
	tcase_add_test(tcase, samples_of_all_profiles_carry_their_span);
	tcase_add_test(tcase, ids_and_labels_come_when_asked_for);
	tcase_add_test(tcase, off_leaves_no_trace_of_spans);
	tcase_add_test(tcase, source_can_be_switched_off);
	tcase_add_test(tcase, unknown_source_is_told_and_nothing_profiled);
	tcase_add_test(tcase, cpu_time_without_clocks_is_an_estimate);
	tcase_add_test(tcase, part_of_all_requests_stands_for_all);
	tcase_add_test(tcase, killed_server_loses_no_span_that_was_closed);
}

int main(void)
{
	return victim_main("span_profile", add_tests);
}
