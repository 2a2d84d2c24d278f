/*
 * The agent's work on spans, interrupted at one instruction after the other by a handler
 * of the program's that forks and returns in both processes: both run on, and each
 * has the spans that it has made.
 */
#include "cpu_profile.h"
#include "profile_decode.h"
#include "victim.h"

#include <stdio.h>
#include <string.h>

#define CHILD_SPANS 10
#define CHILD_CALLS 5

static const char *const modes[] = {"fork", "mark", "stay", "leave"};

static struct victim *run(const char *mode)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"span_steps", mode, NULL},
		.environment = (const char *const[]){"SPANPROF_SPANS=id,getppid",
						     "SPANPROF_RECORD_LABELS=who",
						     "SPANPROF_CPU_HZ=1000", NULL},
		.timeout_s = 120,
	};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	victim_assert_clean(victim);
	ck_assert_str_eq(victim->errors, "");
	/* There is a lot to meet. */
	ck_assert_int_ge(victim_number(victim->output, "meetings"), 50);
	return victim;
}

static struct profile *read_profile(const char *path)
{
	char error[256] = "";
	struct profile *profile = profile_decode_file(path, error, sizeof(error));

	ck_assert_msg(profile != NULL, "%s: %s", path, error);
	ck_assert_msg(profile_check(profile, error, sizeof(error)), "%s", error);
	return profile;
}

static void assert_spans(const struct profile *profile, const char *name, int64_t least,
			 int64_t most)
{
	int64_t spans = profile_sum_leaf(profile, "spans", name);

	ck_assert_msg(spans >= least && spans <= most,
		      "%lld spans \"%s\"; should be %lld to %lld", (long long)spans, name,
		      (long long)least, (long long)most);
}

static void assert_no_misuse(const struct profile *profile)
{
	const char *comment;

	for (size_t i = 0; (comment = profile_comment(profile, i)) != NULL; i++)
		ck_assert_msg(!strstr(comment, "made no sense"), "%s", comment);
}

static void assert_parent(const struct victim *victim, const char *path)
{
	struct profile *profile = read_profile(path);
	int64_t done = victim_number(victim->output, "done");

	assert_spans(profile, "outer", done, done);
	assert_spans(profile, "getppid", done, done);
	assert_spans(profile, "inner 7", 1, 1);
	assert_spans(profile, "child", 0, 0);
	assert_spans(profile, "handler", 0, 0);
	assert_no_misuse(profile);
	profile_free(profile);
}

/* Of the interrupted work some may be done by the child, from its own calls on. */
static void assert_child(const char *path)
{
	struct profile *profile = read_profile(path);

	assert_spans(profile, "child", CHILD_SPANS, CHILD_SPANS);
	ck_assert_int_eq(profile_sum_leaf(profile, "alloc_objects", "child"),
			 CHILD_SPANS);
	assert_spans(profile, "getppid", CHILD_CALLS, CHILD_CALLS + 1);
	assert_spans(profile, "outer", 0, 1);
	assert_spans(profile, "handler", 0, 1);
	assert_no_misuse(profile);
	profile_free(profile);
}

static int64_t samples_burning;

/* It has left all of its spans before it burns that. */
static void assert_no_span_on_burning(const char *path)
{
	struct profile *profile = read_profile(path);

	for (size_t i = 0; i < profile->message->n_sample; i++) {
		const Perftools__Profiles__Sample *sample = profile->message->sample[i];
		const Perftools__Profiles__Label *label =
			profile_sample_label(profile, sample, "span_name");

		if (!profile_sample_has(profile, sample, "burn"))
			continue;
		samples_burning += sample->value[0];
		ck_assert_msg(!label, "%s: still in a span", path);
	}
	profile_free(profile);
}

/* All but the parent's, which are checked by a function of their own or not at all. */
static void assert_children(const struct victim *victim, const char *pattern,
			    void (*check)(const char *path),
			    void (*check_parent)(const struct victim *victim,
						 const char *path))
{
	struct victim_files files;
	char parent[32];

	snprintf(parent, sizeof(parent), ".%lld.", victim_number(victim->output, "pid"));
	victim_list(victim->profiles, pattern, &files);
	ck_assert_int_eq((int64_t)files.count,
			 victim_number(victim->output, "meetings") + 1);
	for (size_t i = 0; i < files.count; i++) {
		if (!strstr(files.paths[i], parent))
			check(files.paths[i]);
		else if (check_parent)
			check_parent(victim, files.paths[i]);
	}
	victim_files_free(&files);
}

START_TEST(child_of_a_handler_that_interrupted_a_span_goes_on)
{
	struct victim *victim = run(modes[_i]);

	assert_children(victim, "*.spans.pb.gz", assert_child, assert_parent);
	samples_burning = 0;
	assert_children(victim, "*.cpu.pb.gz", assert_no_span_on_burning, NULL);
	ck_assert_int_ge(samples_burning, 50);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, child_of_a_handler_that_interrupted_a_span_goes_on, 0,
			    sizeof(modes) / sizeof(modes[0]));
}

int main(void)
{
	return victim_main("span_steps", add);
}
