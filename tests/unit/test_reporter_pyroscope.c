/*
 * What the reporter for servers of profiles writes of spans, flush by flush.
 */
#include "profile_decode.h"
#include "sp_clock.h"
#include "sp_reporter.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct sp_reporter_ops *const ops = &sp_reporter_pyroscope;
static char folder[64];
static struct sp_reporter_config config;
static void *state;

static void setup_folder(void)
{
	strcpy(folder, "/tmp/reporter_XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	config = (struct sp_reporter_config){
		.program = "tested",
		.pid = 17,
		.start_ns = (int64_t)sp_clock_realtime_ns(),
		.dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.aggregates_samples = true,
		.probability = 1,
	};
	state = NULL;
}

static void begin(void)
{
	ck_assert_int_eq(ops->init(&state, &config), 0);
}

static void setup(void)
{
	setup_folder();
	begin();
}

static void teardown(void)
{
	char command[96];

	if (state)
		ops->fini(state);
	close(config.dir_fd);
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	ck_assert_int_eq(system(command), 0);
}

/* --- spans --- */

static void tell_of(int (*call)(void *, const struct sp_span_info *), uint64_t id,
		    const char *name, uint64_t parent, const char *user)
{
	const struct sp_view_label label = {.key = "user", .str = user};
	const uint8_t trace_id[16] = {1};
	const struct sp_span_info info = {
		.id = id,
		.scope = &parent,
		.scope_count = parent != 0,
		.name = name,
		.target = "",
		.file = "server.c",
		.line = 7,
		.trace_id = trace_id,
		.labels = &label,
		.label_count = user != NULL,
	};

	ck_assert_int_eq(call(state, &info), 0);
}

static void create(uint64_t id, const char *name, uint64_t parent, const char *user)
{
	tell_of(ops->span_created, id, name, parent, user);
}

static void wall(uint64_t id, uint64_t busy_ns, uint64_t idle_ns)
{
	const struct sp_span_wall delta = {busy_ns, idle_ns};

	ck_assert_int_eq(ops->span_wall(state, id, &delta), 0);
}

static void cpu(uint64_t id, uint64_t user_ns, uint64_t system_ns)
{
	const struct sp_span_cpu delta = {user_ns, system_ns};

	ck_assert_int_eq(ops->span_cpu(state, id, &delta), 0);
}

static void allocate(uint64_t id, uint64_t count, uint64_t bytes)
{
	const struct sp_span_allocations delta = {count, bytes};

	ck_assert_int_eq(ops->span_allocations(state, id, &delta), 0);
}

static void in_use(uint64_t id, uint64_t count, uint64_t bytes)
{
	const struct sp_span_heap total = {.bytes = bytes, .count = count};

	ck_assert_int_eq(ops->span_heap(state, id, &total), 0);
}

static void end(uint64_t id)
{
	ck_assert_int_eq(ops->span_destroyed(state, id), 0);
}

/* --- files --- */

static size_t list(const char *kind, glob_t *found)
{
	char pattern[128];

	snprintf(pattern, sizeof(pattern), "%s/%s_[0-9]*.pb.gz", folder, kind);
	return glob(pattern, 0, NULL, found) == 0 ? found->gl_pathc : 0;
}

/* The one file of that kind, which is removed; NULL if there is none. */
static struct profile *take(const char *kind)
{
	struct profile *profile;
	char error[256] = "";
	glob_t found;
	size_t count = list(kind, &found);

	ck_assert_uint_le(count, 1);
	if (!count)
		return NULL;
	profile = profile_decode_file(found.gl_pathv[0], error, sizeof(error));
	ck_assert_msg(profile != NULL, "%s", error);
	ck_assert_msg(profile_check(profile, error, sizeof(error)), "%s", error);
	unlink(found.gl_pathv[0]);
	globfree(&found);
	return profile;
}

/* Of one kind, with all there is of it: -1 if there is no such file. */
static int64_t flat(const char *kind, const char *type, const char *span)
{
	struct profile *profile = take(kind);
	int64_t sum = profile ? profile_sum_leaf(profile, type, span) : -1;

	if (profile)
		profile_free(profile);
	return sum;
}

static void flush(void)
{
	ck_assert_int_eq(ops->flush(state), 0);
}

/* --- what is in them --- */

START_TEST(each_kind_is_a_file_named_by_its_end)
{
	uint64_t before_ns = sp_clock_realtime_ns(), end_ns;
	struct profile *profile;
	glob_t found;

	create(1, "request", 0, NULL);
	wall(1, 100, 20);
	cpu(1, 50, 10);
	allocate(1, 3, 300);
	flush();
	ck_assert_uint_eq(list("wall", &found), 1);
	end_ns = strtoull(strrchr(found.gl_pathv[0], '_') + 1, NULL, 10);
	ck_assert_uint_ge(end_ns, before_ns);
	ck_assert_uint_le(end_ns, sp_clock_realtime_ns());
	globfree(&found);
	profile = take("wall");
	ck_assert_int_eq(profile->message->time_nanos, config.start_ns);
	ck_assert_uint_eq((uint64_t)(profile->message->time_nanos +
				     profile->message->duration_nanos),
			  end_ns);
	ck_assert_uint_eq(profile->message->n_sample_type, 3);
	ck_assert_int_eq(profile_sum_leaf(profile, "wall", "request"), 120);
	ck_assert_int_eq(profile_sum_leaf(profile, "wall_busy", "request"), 100);
	ck_assert_int_eq(profile_sum_leaf(profile, "wall_idle", "request"), 20);
	profile_free(profile);
	profile = take("cpu");
	ck_assert_int_eq(profile_total(profile, "cpu"), 60);
	ck_assert_int_eq(profile_total(profile, "cpu_user"), 50);
	ck_assert_int_eq(profile_total(profile, "cpu_sys"), 10);
	profile_free(profile);
	profile = take("memory");
	ck_assert_int_eq(profile_total(profile, "alloc_objects"), 3);
	ck_assert_int_eq(profile_total(profile, "alloc_space"), 300);
	ck_assert_int_eq(profile_total(profile, "inuse_space"), 0);
	profile_free(profile);
}
END_TEST

START_TEST(stack_is_the_scope_with_file_and_line)
{
	const Perftools__Profiles__Sample *sample;
	const Perftools__Profiles__Location *location;
	const Perftools__Profiles__Function *function;
	struct profile *profile;

	create(1, "request", 0, NULL);
	create(2, "query", 1, NULL);
	wall(2, 10, 0);
	flush();
	profile = take("wall");
	ck_assert_uint_eq(profile->message->n_sample, 1);
	sample = profile->message->sample[0];
	ck_assert_uint_eq(sample->n_location_id, 2);
	ck_assert_str_eq(profile_location_name(profile, sample->location_id[0]), "query");
	ck_assert_str_eq(profile_location_name(profile, sample->location_id[1]),
			 "request");
	location = profile_location(profile, sample->location_id[0]);
	function = profile_function(profile, location->line[0]->function_id);
	ck_assert_str_eq(profile_string(profile, function->filename), "server.c");
	ck_assert_int_eq(location->line[0]->line, 7);
	profile_free(profile);
}
END_TEST

START_TEST(kind_without_values_is_no_file)
{
	create(1, "request", 0, NULL);
	wall(1, 100, 0);
	flush();
	ck_assert_int_eq(flat("wall", "wall", "request"), 100);
	ck_assert_ptr_null(take("cpu"));
	ck_assert_ptr_null(take("memory"));
	flush();
	ck_assert_ptr_null(take("wall"));
}
END_TEST

START_TEST(each_flush_has_what_is_new)
{
	create(1, "request", 0, NULL);
	for (unsigned int i = 1; i <= 5; i++) {
		wall(1, 100 * i, 0);
		flush();
		ck_assert_int_eq(flat("wall", "wall", "request"), 100 * i);
	}
	end(1);
	flush();
	ck_assert_ptr_null(take("wall"));
}
END_TEST

START_TEST(span_that_is_over_is_in_the_next_files)
{
	create(1, "request", 0, NULL);
	wall(1, 100, 0);
	end(1);
	/* Its id may be heard of again, of no span that is known. */
	flush();
	wall(1, 50, 0);
	flush();
	ck_assert_int_eq(flat("wall", "wall", "request"), 100);
}
END_TEST

START_TEST(time_of_inner_spans_is_theirs)
{
	create(1, "request", 0, NULL);
	create(2, "query", 1, NULL);
	wall(2, 60, 0);
	cpu(2, 40, 0);
	wall(1, 100, 0);
	cpu(1, 70, 0);
	allocate(2, 1, 10);
	allocate(1, 1, 5);
	flush();
	ck_assert_int_eq(flat("wall", "wall", "request"), 40);
	ck_assert_int_eq(flat("cpu", "cpu", "request"), 30);
	ck_assert_int_eq(flat("memory", "alloc_space", "request"), 5);
}
END_TEST

START_TEST(inner_span_may_be_told_of_in_earlier_files)
{
	create(1, "request", 0, NULL);
	wall(1, 30, 0);
	create(2, "query", 1, NULL);
	wall(2, 60, 0);
	end(2);
	flush();
	/* The stay around it is not over: for the moment it has all of this. */
	ck_assert_int_eq(flat("wall", "wall", "query"), 60);
	wall(1, 100, 0);
	end(1);
	flush();
	/* 130 in all, 60 of them within. */
	ck_assert_int_eq(flat("wall", "wall", "request"), 70);
}
END_TEST

START_TEST(spans_that_are_alike_are_one_sample)
{
	struct profile *profile;

	for (uint64_t id = 1; id <= 10; id++) {
		create(id, "request", 0, id % 2 ? "me" : "you");
		wall(id, id, 0);
	}
	flush();
	profile = take("wall");
	ck_assert_uint_eq(profile->message->n_sample, 2);
	ck_assert_int_eq(profile_sum_label(profile, "wall", "user", "me"), 25);
	ck_assert_int_eq(profile_sum_label(profile, "wall", "user", "you"), 30);
	profile_free(profile);
}
END_TEST

START_TEST(span_has_the_labels_that_it_was_given_last)
{
	struct profile *profile;

	create(1, "request", 0, NULL);
	create(2, "request", 0, "me");
	wall(1, 10, 0);
	wall(2, 20, 0);
	flush();
	profile = take("wall");
	ck_assert_int_eq(profile_sum_label(profile, "wall", "user", "me"), 20);
	profile_free(profile);
	wall(1, 1, 0);
	wall(2, 2, 0);
	tell_of(ops->span_labelled, 1, "request", 0, "you");
	tell_of(ops->span_labelled, 2, "request", 0, "you");
	wall(1, 4, 0);
	flush();
	profile = take("wall");
	ck_assert_int_eq(profile_sum_label(profile, "wall", "user", "you"), 7);
	ck_assert_int_eq(profile_sum_label(profile, "wall", "user", "me"), 0);
	profile_free(profile);
	end(1);
	flush();
	/* Of one that is no more. */
	tell_of(ops->span_labelled, 1, "request", 0, "them");
}
END_TEST

START_TEST(or_each_is_its_own)
{
	struct profile *profile;

	config.aggregates_samples = false;
	begin();
	for (uint64_t id = 1; id <= 10; id++) {
		create(id, "request", 0, "me");
		wall(id, id, 0);
	}
	flush();
	profile = take("wall");
	ck_assert_uint_eq(profile->message->n_sample, 10);
	ck_assert_int_eq(profile_sum_label(profile, "wall", "user", "me"), 55);
	profile_free(profile);
}
END_TEST

START_TEST(memory_in_use_is_told_once_for_each_total)
{
	create(1, "request", 0, NULL);
	create(2, "other", 0, NULL);
	in_use(1, 2, 200);
	in_use(2, 1, 50);
	flush();
	ck_assert_int_eq(flat("memory", "inuse_space", "request"), 200);
	wall(1, 1, 0);
	flush();
	/* Servers would add it up. */
	ck_assert_ptr_null(take("memory"));
	in_use(1, 1, 100);
	in_use(2, 1, 50);
	flush();
	ck_assert_int_eq(flat("memory", "inuse_space", "other"), 50);
	end(1);
	in_use(2, 1, 50);
	flush();
	ck_assert_int_eq(flat("memory", "inuse_space", "request"), 0);
}
END_TEST

START_TEST(part_stands_for_all)
{
	struct profile *profile;

	config.probability = 0.25;
	begin();
	create(1, "request", 0, NULL);
	wall(1, 100, 10);
	flush();
	profile = take("wall");
	ck_assert_int_eq(profile_total(profile, "wall"), 440);
	ck_assert_ptr_nonnull(strstr(profile_comment(profile, 1),
				     "a part of 250000 millionths of all outermost"));
	profile_free(profile);
}
END_TEST

START_TEST(many_spans_keep_their_sums)
{
	const uint64_t count = 20000;
	struct profile *profile;

	for (uint64_t id = 1; id <= count; id++) {
		char name[16];

		snprintf(name, sizeof(name), "span %u", (unsigned int)(id % 700));
		create(id, name, id % 3 ? 0 : id - 1, NULL);
		wall(id, 1000, 0);
		if (id % 2)
			end(id);
	}
	flush();
	profile = take("wall");
	/* Of a third the span around it has nothing left. */
	ck_assert_int_eq(profile_total(profile, "wall"),
			 (int64_t)(1000 * (count - count / 3)));
	profile_free(profile);
	for (uint64_t id = 2; id <= count; id += 2)
		wall(id, 1, 0);
	flush();
	profile = take("wall");
	ck_assert_int_gt(profile_total(profile, "wall"), 0);
	profile_free(profile);
}
END_TEST

START_TEST(without_a_folder_it_does_not_start)
{
	int dir_fd = config.dir_fd;
	void *before = state;

	config.dir_fd = -1;
	ck_assert_int_eq(ops->init(&state, &config), -ENOENT);
	ck_assert_ptr_eq(state, before);
	config.dir_fd = dir_fd;
}
END_TEST

START_TEST(what_cannot_be_written_is_lost_and_no_more)
{
	const struct rlimit none = {0, RLIM_INFINITY},
			    before = {RLIM_INFINITY, RLIM_INFINITY};

	signal(SIGXFSZ, SIG_IGN);
	create(1, "request", 0, NULL);
	wall(1, 100, 0);
	setrlimit(RLIMIT_FSIZE, &none);
	ck_assert_int_eq(ops->flush(state), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &before);
	wall(1, 50, 0);
	flush();
	ck_assert_int_eq(flat("wall", "wall", "request"), 50);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reporter_pyroscope");
	TCase *tc = tcase_create("begun"), *other = tcase_create("not begun");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_checked_fixture(other, setup_folder, teardown);
	tcase_add_test(tc, each_kind_is_a_file_named_by_its_end);
	tcase_add_test(tc, stack_is_the_scope_with_file_and_line);
	tcase_add_test(tc, kind_without_values_is_no_file);
	tcase_add_test(tc, each_flush_has_what_is_new);
	tcase_add_test(tc, span_that_is_over_is_in_the_next_files);
	tcase_add_test(tc, time_of_inner_spans_is_theirs);
	tcase_add_test(tc, inner_span_may_be_told_of_in_earlier_files);
	tcase_add_test(tc, spans_that_are_alike_are_one_sample);
	tcase_add_test(tc, span_has_the_labels_that_it_was_given_last);
	tcase_add_test(other, or_each_is_its_own);
	tcase_add_test(tc, memory_in_use_is_told_once_for_each_total);
	tcase_add_test(other, part_stands_for_all);
	tcase_add_test(tc, many_spans_keep_their_sums);
	tcase_add_test(other, without_a_folder_it_does_not_start);
	tcase_add_test(tc, what_cannot_be_written_is_lost_and_no_more);
	suite_add_tcase(suite, tc);
	suite_add_tcase(suite, other);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
