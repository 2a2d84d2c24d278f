/*
 * Calls of library functions as spans whose frames end, or wait, out of order: the
 * program does what it does without us, and each call is one span that ends.
 */
#include "profile_decode.h"
#include "real_program.h"
#include "victim.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *how;
	int64_t fn_call, fn_none; /* spans; -1: some */
} ways[] = {
	{"throw", 400, 0}, {"backtrace", 1, 0}, {"handler", 0, -1},
	{"vfork", 10, -1}, {"switch", 125, 0},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static const char *const kinds[] = {"span_frames_lazy", "span_frames_now"};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct profile *read_spans(const struct victim *victim)
{
	struct victim_files files;
	char error[256] = "", pattern[64];
	struct profile *profile;

	snprintf(pattern, sizeof(pattern), "*.%d.spans.pb.gz", victim->pid);
	victim_list(victim->profiles, pattern, &files);
	ck_assert_msg(files.count == 1, "%zu files %s; said: %s", files.count, pattern,
		      victim->agent_lines);
	profile = profile_decode_file(files.paths[0], error, sizeof(error));
	ck_assert_msg(profile != NULL, "%s: %s", files.paths[0], error);
	victim_files_free(&files);
	return profile;
}

static void assert_spans(const struct profile *profile, const char *name, int64_t wanted)
{
	int64_t spans = profile_sum_leaf(profile, "spans", name);

	ck_assert_msg(wanted < 0 ? spans > 0 : spans == wanted,
		      "%lld spans \"%s\"; should be %lld", (long long)spans, name,
		      (long long)wanted);
}

/* None is left, and none was ended that was not there. */
static void assert_all_ended(const struct profile *profile)
{
	static const char *const signs[] = {"made no sense", "not followed", "open"};
	const char *comment;

	for (size_t i = 0; (comment = profile_comment(profile, i)) != NULL; i++)
		for (size_t j = 0; j < sizeof(signs) / sizeof(signs[0]); j++)
			ck_assert_msg(!strstr(comment, signs[j]), "%s", comment);
}

START_TEST(call_is_a_span_that_ends_however_its_frame_does)
{
	const int way = _i % (int)WAYS;
	const char *program = kinds[_i / (int)WAYS];
	struct victim_setup setup = {
		.argv = NAMES(program, ways[way].how),
		.environment =
			NAMES("SPANPROF_SPANS=fn_call,fn_none", "SPANPROF_CPU_HZ=1000"),
	};
	char path[PATH_MAX];
	struct victim *victim;
	struct profile *profile;

	if (access(victim_program_path(program, path), X_OK) != 0) {
		printf("no C++ compiler: skipped\n");
		return;
	}
	victim = victim_run_both(&setup);
	profile = read_spans(victim);
	assert_spans(profile, "fn_call", ways[way].fn_call);
	assert_spans(profile, "fn_none", ways[way].fn_none);
	assert_all_ended(profile);
	profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, call_is_a_span_that_ends_however_its_frame_does, 0,
			    WAYS * KINDS);
}

int main(void)
{
	return victim_main("span_frames", add);
}
