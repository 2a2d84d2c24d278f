/*
 * What lies between two profiles of a process, and which two have nothing between
 * them.
 */
#include "sp_compiler.h"
#include "sp_profile_delta.h"
#include "sp_profile_read.h"

#include "pprof_fixture.h"
#include "pprof_once.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SECOND INT64_C(1000000000)

static struct memory_view older, newer;
static struct sp_view_module older_modules[2], newer_modules[2];
static const char *older_comments[] = {"command: app", "process: 17, user 0.1 s", "old"};
static const char *newer_comments[] = {"command: app", "process: 17, user 0.3 s", "new"};
static char error[512];

static void begin(struct memory_view *view, struct sp_view_module *modules,
		  const char *const *comments, int64_t duration_ns)
{
	memory_view_init(view);
	memcpy(modules, pprof_modules, sizeof(pprof_modules));
	view->view.modules = modules;
	view->view.module_count = 2;
	view->view.comments = comments;
	view->view.comment_count = 3;
	view->view.duration_ns = duration_ns;
}

static void setup(void)
{
	begin(&older, older_modules, older_comments, 2 * SECOND);
	begin(&newer, newer_modules, newer_comments, 5 * SECOND);
	strcpy(error, "untouched");
}

static void teardown(void)
{
	memory_view_fini(&older);
	memory_view_fini(&newer);
}

static struct sp_view_sample *add(struct memory_view *view, int64_t count, uint64_t leaf)
{
	const uint64_t frames[] = {leaf, sp_frame_make(PROGRAM, 0x1010)};

	return memory_view_add(view, count, frames, 2);
}

static void write_view(const struct memory_view *view, struct memory_sink *out)
{
	memory_sink_init(out);
	ck_assert_int_eq(pprof_write_once(&view->view, &out->sink), 0);
}

static Perftools__Profiles__Profile *read_bytes(const void *bytes, size_t size_bytes)
{
	Perftools__Profiles__Profile *message = NULL;
	const char *problem = NULL;

	ck_assert_msg(sp_profile_read(bytes, size_bytes, &message, &problem) == 0, "%s",
		      problem);
	return message;
}

static Perftools__Profiles__Profile *packed_and_read(const struct memory_view *view)
{
	Perftools__Profiles__Profile *message;
	struct memory_sink out;

	write_view(view, &out);
	message = read_bytes(out.data, out.size_bytes);
	memory_sink_fini(&out);
	return message;
}

static int write_delta_to(struct memory_sink *out)
{
	Perftools__Profiles__Profile *old = packed_and_read(&older);
	Perftools__Profiles__Profile *new = packed_and_read(&newer);
	int err;

	memory_sink_init(out);
	err = sp_profile_delta_write(&(struct sp_delta_input){old, "OLD"},
				     &(struct sp_delta_input){new, "NEW"}, &out->sink,
				     error, sizeof(error));
	sp_profile_read_free(old);
	sp_profile_read_free(new);
	return err;
}

static struct profile *delta(void)
{
	struct memory_sink out;
	struct profile *decoded;
	char problem[256] = "";
	int err = write_delta_to(&out);

	ck_assert_msg(err == 0, "%d: %s", err, error);
	decoded = profile_decode(out.data, out.size_bytes, problem, sizeof(problem));
	ck_assert_msg(decoded != NULL, "%s", problem);
	ck_assert_msg(profile_check(decoded, problem, sizeof(problem)), "%s", problem);
	memory_sink_fini(&out);
	return decoded;
}

static void assert_refused(const char *message)
{
	struct memory_sink out;

	ck_assert_int_eq(write_delta_to(&out), -EINVAL);
	ck_assert_str_eq(error, message);
	ck_assert_uint_eq(out.size_bytes, 0);
	memory_sink_fini(&out);
}

#define LEAF(number) sp_frame_make(LIBRARY, 0x2000 + 0x100U * (unsigned int)(number) + 4)

START_TEST(values_are_subtracted_stack_by_stack)
{
	struct profile *decoded;

	/* In another order, so that ids differ. */
	add(&older, 3, LEAF(1));
	add(&older, 4, LEAF(2));
	add(&older, 5, LEAF(3));
	add(&newer, 50, LEAF(4));
	add(&newer, 5, LEAF(3));
	add(&newer, 10, LEAF(1));
	decoded = delta();
	ck_assert_uint_eq(decoded->message->n_sample, 3);
	ck_assert_int_eq(profile_sum_leaf(decoded, "samples", "f3_2100"), 7);
	ck_assert_int_eq(profile_sum_leaf(decoded, "samples", "f3_2200"), -4);
	ck_assert_int_eq(profile_sum_leaf(decoded, "samples", "f3_2400"), 50);
	ck_assert_int_eq(profile_sum_with(decoded, "cpu", "f5_1000"), 530000000);
	profile_free(decoded);
}
END_TEST

START_TEST(what_did_not_change_is_left_out)
{
	struct profile *decoded;

	add(&older, 3, LEAF(1));
	add(&newer, 3, LEAF(1));
	decoded = delta();
	ck_assert_uint_eq(decoded->message->n_sample, 0);
	ck_assert_uint_eq(decoded->message->n_location, 0);
	ck_assert_uint_eq(decoded->message->n_mapping, 2);
	profile_free(decoded);
}
END_TEST

START_TEST(labels_tell_samples_apart)
{
	struct profile *decoded;

	memory_view_label_number(add(&older, 3, LEAF(1)), "bytes", 64, "bytes");
	memory_view_label_number(add(&newer, 8, LEAF(1)), "bytes", 64, "bytes");
	memory_view_label_number(add(&newer, 9, LEAF(1)), "bytes", 128, "bytes");
	memory_view_label_text(add(&newer, 1, LEAF(1)), "span", "load");
	decoded = delta();
	ck_assert_uint_eq(decoded->message->n_sample, 3);
	ck_assert_int_eq(profile_total(decoded, "samples"), 15);
	ck_assert_int_eq(profile_sum_label(decoded, "samples", "span", "load"), 1);
	profile_free(decoded);
}
END_TEST

START_TEST(module_that_moved_is_the_same_code)
{
	struct profile *decoded;

	newer_modules[0].base += 0x100000;
	newer_modules[0].text_start += 0x100000;
	newer_modules[0].text_end += 0x100000;
	add(&older, 3, LEAF(1));
	add(&newer, 10, LEAF(1));
	decoded = delta();
	ck_assert_uint_eq(decoded->message->n_sample, 1);
	ck_assert_int_eq(decoded->message->sample[0]->value[0], 7);
	ck_assert_uint_eq(decoded->message->n_mapping, 3);
	profile_free(decoded);
}
END_TEST

START_TEST(other_module_at_the_same_address_is_other_code)
{
	static const uint8_t build_id[4] = {1, 2, 3, 4};
	struct profile *decoded;

	newer_modules[0].build_id = build_id;
	newer_modules[0].build_id_bytes = sizeof(build_id);
	add(&older, 3, LEAF(1));
	add(&newer, 10, LEAF(1));
	decoded = delta();
	ck_assert_uint_eq(decoded->message->n_sample, 2);
	ck_assert_int_eq(profile_total(decoded, "samples"), 7);
	profile_free(decoded);
}
END_TEST

START_TEST(code_without_a_file_is_told_by_address_and_name)
{
	const uint64_t named = sp_frame_make(SP_MODULE_NONE, JIT_NAMED_FROM + 0x5000);
	const uint64_t nameless = sp_frame_make(SP_MODULE_NONE, 0x1234000);
	const uint64_t pseudo = sp_frame_pseudo(SP_PSEUDO_DROPPED);
	struct profile *decoded;

	/* The mapping of generated code spans what was met, which differs. */
	add(&older, 3, nameless);
	add(&older, 2, pseudo);
	add(&newer, 4, named);
	add(&newer, 7, nameless);
	add(&newer, 9, pseudo);
	decoded = delta();
	ck_assert_uint_eq(decoded->message->n_sample, 3);
	ck_assert_int_eq(profile_sum_leaf(decoded, "samples", "[jit]"), 4);
	ck_assert_int_eq(profile_sum_leaf(decoded, "samples", "[dropped]"), 7);
	ck_assert_int_eq(profile_total(decoded, "samples"), 15);
	profile_free(decoded);
}
END_TEST

START_TEST(head_says_what_it_is)
{
	const Perftools__Profiles__Profile *message;
	struct profile *decoded;

	add(&newer, 1, LEAF(1));
	decoded = delta();
	message = decoded->message;
	ck_assert_int_eq(message->time_nanos, INT64_C(1700000000) * SECOND + 2 * SECOND);
	ck_assert_int_eq(message->duration_nanos, 3 * SECOND);
	ck_assert_int_eq(message->period, 10000000);
	ck_assert_str_eq(profile_string(decoded, message->default_sample_type), "cpu");
	ck_assert_str_eq(profile_comment(decoded, 0),
			 "delta: NEW less OLD, 3.000 s later");
	ck_assert_str_eq(profile_comment(decoded, 1), "process: 17");
	ck_assert_str_eq(profile_comment(decoded, 2), "command: app");
	ck_assert_ptr_null(profile_comment(decoded, 3));
	/* The program's mapping comes first. */
	ck_assert_str_eq(profile_string(decoded, message->mapping[0]->filename),
			 "/opt/app");
	profile_free(decoded);
}
END_TEST

START_TEST(other_kinds_are_refused)
{
	newer.view.value_types[0] = (struct sp_value_type){"contentions", "count"};
	assert_refused("OLD and NEW are different kinds of profiles: samples is measured "
		       "in one, contentions in the other");
	newer.view.value_types[0] = older.view.value_types[0];
	newer.view.period = 5;
	assert_refused("OLD and NEW are different kinds of profiles: samples is measured "
		       "in one, samples in the other");
}
END_TEST

START_TEST(kinds_that_measure_the_same_are_told_apart)
{
	older_comments[2] = "kind: peak";
	newer_comments[2] = "kind: leaks";
	assert_refused("OLD and NEW are different kinds of profiles: one is of the kind "
		       "peak, the other leaks");
	newer_comments[2] = "kind: peak";
	add(&newer, 1, LEAF(1));
	profile_free(delta());
	newer_comments[2] = "new";
	profile_free(delta());
	older_comments[2] = "old";
}
END_TEST

START_TEST(delta_is_no_profile_to_subtract)
{
	newer_comments[2] = "delta: NEW less OLD, 3.000 s later";
	assert_refused("NEW is itself what \"spanprof delta\" has made of two profiles");
	newer_comments[2] = "new";
	older_comments[2] = "delta: NEW less OLD, 3.000 s later";
	assert_refused("OLD is itself what \"spanprof delta\" has made of two profiles");
	older_comments[2] = "old";
}
END_TEST

START_TEST(other_processes_are_refused)
{
	newer_comments[1] = "process: 18";
	assert_refused("OLD is of process 17 and NEW of process 18");
	newer_comments[1] = "made by hand";
	assert_refused("NEW is no profile that spanprof made of one process");
	newer_comments[1] = "process: 17, user 0.3 s";
	newer.view.time_ns++;
	assert_refused("OLD and NEW are of two processes with the number 17, one after "
		       "the other");
	newer.view.time_ns--;
	newer.view.duration_ns = SECOND;
	assert_refused("OLD is younger than NEW; name the older one first");
}
END_TEST

START_TEST(values_that_do_not_fit_are_refused)
{
	add(&older, 1, LEAF(1))->values[0] = INT64_MIN;
	add(&newer, 1, LEAF(1))->values[0] = 1;
	assert_refused("OLD is damaged: its samples make no sense");
}
END_TEST

START_TEST(without_memory_nothing_is_leaked)
{
	Perftools__Profiles__Profile *old, *new;
	size_t before_bytes;
	int err = -ENOMEM;

	for (int i = 0; i < 70; i++) {
		add(&older, i + 1, LEAF(i % 30));
		add(&newer, i + 2, LEAF(i));
	}
	old = packed_and_read(&older);
	new = packed_and_read(&newer);
	before_bytes = test_heap_used_bytes();
	for (size_t allowed = 0; err; allowed++) {
		struct memory_sink out;

		memory_sink_init(&out);
		test_heap_refuse_after(allowed);
		err = sp_profile_delta_write(&(struct sp_delta_input){old, "OLD"},
					     &(struct sp_delta_input){new, "NEW"},
					     &out.sink, error, sizeof(error));
		test_heap_refuse_after(SIZE_MAX);
		ck_assert(err == 0 || err == -ENOMEM);
		ck_assert_uint_eq(test_heap_used_bytes(), before_bytes);
		memory_sink_fini(&out);
		ck_assert_uint_lt(allowed, 10000);
	}
	sp_profile_read_free(old);
	sp_profile_read_free(new);
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}
END_TEST

/* --- reading --- */

static size_t gunzip(const struct memory_sink *in, uint8_t *out, size_t out_bytes)
{
	z_stream inflater = {.next_in = in->data, .avail_in = (uInt)in->size_bytes};

	ck_assert_int_eq(inflateInit2(&inflater, 15 + 16), Z_OK);
	inflater.next_out = out;
	inflater.avail_out = (uInt)out_bytes;
	ck_assert_int_eq(inflate(&inflater, Z_FINISH), Z_STREAM_END);
	inflateEnd(&inflater);
	return out_bytes - inflater.avail_out;
}

/* Stored, not compressed: it is quicker. */
static size_t gzip(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
	z_stream deflater = {.next_in = (uint8_t *)(uintptr_t)in,
			     .avail_in = (uInt)in_bytes};

	ck_assert_int_eq(
		deflateInit2(&deflater, 0, Z_DEFLATED, 9 + 16, 1, Z_DEFAULT_STRATEGY),
		Z_OK);
	deflater.next_out = out;
	deflater.avail_out = (uInt)out_bytes;
	ck_assert_int_eq(deflate(&deflater, Z_FINISH), Z_STREAM_END);
	deflateEnd(&deflater);
	return out_bytes - deflater.avail_out;
}

/* As the command does it: whatever is read is used, and stays in its bounds. */
static bool use(const uint8_t *bytes, size_t size_bytes,
		const Perftools__Profiles__Profile *other)
{
	Perftools__Profiles__Profile *message = NULL;
	const char *problem = NULL;
	struct memory_sink out;

	if (sp_profile_read(bytes, size_bytes, &message, &problem) != 0) {
		ck_assert_ptr_nonnull(problem);
		return false;
	}
	memory_sink_init(&out);
	for (int is_newer = 0; is_newer < 2; is_newer++) {
		struct sp_delta_input damaged = {message, "DAMAGED"}, sound = {other, ""};

		error[0] = '\0';
		if (sp_profile_delta_write(is_newer ? &sound : &damaged,
					   is_newer ? &damaged : &sound, &out.sink, error,
					   sizeof(error)) != 0)
			ck_assert_str_ne(error, "");
	}
	memory_sink_fini(&out);
	sp_profile_read_free(message);
	return true;
}

START_TEST(damage_is_survived_wherever_it_is)
{
	static uint8_t packed[8192], zipped[16384];
	Perftools__Profiles__Profile *sound;
	size_t packed_bytes, accepted = 0;
	struct memory_sink out;

	for (int i = 0; i < 6; i++) {
		memory_view_label_number(add(&newer, i + 2, LEAF(i)), "bytes", 64,
					 "bytes");
		memory_view_label_text(add(&newer, i + 2, LEAF(i)), "span", "load");
	}
	sound = packed_and_read(&newer);
	write_view(&newer, &out);
	packed_bytes = gunzip(&out, packed, sizeof(packed));
	memory_sink_fini(&out);
	for (size_t at = 0; at < packed_bytes; at++) {
		static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
		uint8_t before = packed[at];

		for (size_t i = 0; i < SP_ARRAY_COUNT(values); i++) {
			packed[at] = values[i];
			accepted +=
				use(zipped,
				    gzip(packed, packed_bytes, zipped, sizeof(zipped)),
				    sound);
		}
		packed[at] = before;
	}
	ck_assert_uint_gt(accepted, 100); /* it is not only gzip's sum that refuses */
	sp_profile_read_free(sound);
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}
END_TEST

START_TEST(cut_file_is_refused)
{
	Perftools__Profiles__Profile *message;
	const char *problem;
	struct memory_sink out;

	add(&newer, 1, LEAF(1));
	write_view(&newer, &out);
	for (size_t bytes = 0; bytes < out.size_bytes; bytes++) {
		ck_assert_int_eq(sp_profile_read(out.data, bytes, &message, &problem),
				 -EINVAL);
		ck_assert_str_eq(problem, "not a whole gzip file");
	}
	memory_sink_fini(&out);
}
END_TEST

START_TEST(what_follows_a_profile_is_refused)
{
	Perftools__Profiles__Profile *message;
	struct memory_sink out;
	const char *problem;
	uint8_t *longer;

	write_view(&newer, &out);
	longer = calloc(1, out.size_bytes + 1);
	memcpy(longer, out.data, out.size_bytes);
	ck_assert_int_eq(sp_profile_read(longer, out.size_bytes + 1, &message, &problem),
			 -EINVAL);
	free(longer);
	memory_sink_fini(&out);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, values_are_subtracted_stack_by_stack);
	tcase_add_test(tc, what_did_not_change_is_left_out);
	tcase_add_test(tc, labels_tell_samples_apart);
	tcase_add_test(tc, module_that_moved_is_the_same_code);
	tcase_add_test(tc, other_module_at_the_same_address_is_other_code);
	tcase_add_test(tc, code_without_a_file_is_told_by_address_and_name);
	tcase_add_test(tc, head_says_what_it_is);
	tcase_add_test(tc, other_kinds_are_refused);
	tcase_add_test(tc, kinds_that_measure_the_same_are_told_apart);
	tcase_add_test(tc, delta_is_no_profile_to_subtract);
	tcase_add_test(tc, other_processes_are_refused);
	tcase_add_test(tc, values_that_do_not_fit_are_refused);
	tcase_add_test(tc, without_memory_nothing_is_leaked);
	tcase_add_test(tc, damage_is_survived_wherever_it_is);
	tcase_add_test(tc, cut_file_is_refused);
	tcase_add_test(tc, what_follows_a_profile_is_refused);
}

int main(void)
{
	return run_pprof_suite("profile_delta", add_tests);
}
