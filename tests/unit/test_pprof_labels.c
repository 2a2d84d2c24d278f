/*
 * Labels of samples, as readers of pprof files want them.
 */
#include "pprof_fixture.h"

#include <stdio.h>
#include <string.h>

START_TEST(labels_are_text_or_numbers_with_units)
{
	struct sp_view_sample *sample = add_frame(2, sp_frame_make(PROGRAM, 0x1000));
	const Perftools__Profiles__Label *label;

	memory_view_label_text(sample, "span_name", "load");
	memory_view_label_number(sample, "size", 4096, "bytes");
	report();
	ck_assert_uint_eq(profile->message->sample[0]->n_label, 2);
	ck_assert_int_eq(profile_sum_label(profile, "samples", "span_name", "load"), 2);
	label = profile_sample_label(profile, profile->message->sample[0], "size");
	ck_assert_ptr_nonnull(label);
	ck_assert_int_eq(label->num, 4096);
	ck_assert_int_eq(label->str, 0);
	ck_assert_str_eq(text(label->num_unit), "bytes");
}
END_TEST

START_TEST(key_with_text_and_numbers_becomes_text)
{
	memory_view_label_number(add_frame(1, sp_frame_make(PROGRAM, 0x1000)), "user",
				 -42, NULL);
	memory_view_label_text(add_frame(2, sp_frame_make(PROGRAM, 0x1000)), "user",
			       "me");
	report();
	ck_assert_int_eq(profile_sum_label(profile, "samples", "user", "-42"), 1);
	ck_assert_int_eq(profile_sum_label(profile, "samples", "user", "me"), 2);
}
END_TEST

START_TEST(label_given_twice_keeps_its_first_value)
{
	struct sp_view_sample *sample = add_frame(1, sp_frame_make(PROGRAM, 0x1000));

	memory_view_label_text(sample, "span_name", "outer");
	memory_view_label_text(sample, "span_name", "inner");
	memory_view_label_text(sample, "mode", "user");
	report();
	ck_assert_uint_eq(profile->message->sample[0]->n_label, 2);
	ck_assert_int_eq(profile_sum_label(profile, "samples", "span_name", "outer"), 1);
	ck_assert_int_eq(profile_sum_label(profile, "samples", "mode", "user"), 1);
}
END_TEST

START_TEST(label_without_text_is_no_label)
{
	memory_view_label_text(add_frame(1, sp_frame_make(PROGRAM, 0x1000)), "mode", "");
	report();
	ck_assert_uint_eq(profile->message->sample[0]->n_label, 0);
}
END_TEST

START_TEST(keys_of_the_readers_are_left_out_and_told)
{
	struct sp_view_sample *sample = add_frame(1, sp_frame_make(PROGRAM, 0x1000));

	memory_view_label_text(sample, "pprof::base", "true");
	memory_view_label_text(sample, "", "no key");
	memory_view_label_text(sample, "mode", "user");
	report();
	ck_assert_uint_eq(profile->message->sample[0]->n_label, 1);
	ck_assert_uint_eq(profile->message->n_comment, 1);
	ck_assert_ptr_nonnull(strstr(profile_comment(profile, 0), "2 labels left out"));
}
END_TEST

START_TEST(keys_past_the_limit_are_left_out_and_told)
{
	static char keys[70][8];

	for (int i = 0; i < 70; i++) {
		snprintf(keys[i], sizeof(keys[i]), "key%d", i);
		memory_view_label_number(add_frame(1, sp_frame_make(PROGRAM, 0x1000)),
					 keys[i], 1 + i, "items");
	}
	report();
	ck_assert_uint_eq(profile->message->sample[63]->n_label, 1);
	ck_assert_uint_eq(profile->message->sample[64]->n_label, 0);
	ck_assert_ptr_nonnull(strstr(profile_comment(profile, 0), "6 labels left out"));
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, labels_are_text_or_numbers_with_units);
	tcase_add_test(tc, key_with_text_and_numbers_becomes_text);
	tcase_add_test(tc, label_given_twice_keeps_its_first_value);
	tcase_add_test(tc, label_without_text_is_no_label);
	tcase_add_test(tc, keys_of_the_readers_are_left_out_and_told);
	tcase_add_test(tc, keys_past_the_limit_are_left_out_and_told);
}

int main(void)
{
	return run_pprof_suite("pprof_labels", add_tests);
}
