/*
 * Reports that cannot be written, and reports that are large.
 */
#include "pprof_fixture.h"

#include <errno.h>
#include <string.h>

struct endless {
	uint32_t next, count;
	uint32_t failing_pass; /* from 1; 0: none */
	uint32_t growing_pass; /* from which on there is a frame more */
	uint32_t pass;
	uint64_t frames[30];
};

static int next_of_endless(void *cursor, struct sp_view_sample *sample)
{
	struct endless *endless = cursor;
	uint32_t i = endless->next;

	if (i == endless->count)
		return endless->pass == endless->failing_pass ? -EIO : 0;
	memset(sample, 0, sizeof(*sample));
	for (uint32_t j = 0; j < 30; j++)
		endless->frames[j] = sp_frame_make(
			PROGRAM, 0x1000 + 16 * ((i * 31 + j * j * (i % 7 + 1)) % 2000));
	if (endless->growing_pass && endless->pass >= endless->growing_pass)
		endless->frames[0] = sp_frame_make(PROGRAM, 0x90000);
	sample->frames = endless->frames;
	sample->frame_count = 30;
	sample->values[0] = 1;
	sample->values[1] = 10000000;
	endless->next++;
	return 1;
}

static void rewind_endless(void *cursor)
{
	struct endless *endless = cursor;

	endless->next = 0;
	endless->pass++;
}

static void show_endless(struct endless *endless)
{
	memory.view.next_sample = next_of_endless;
	memory.view.rewind = rewind_endless;
	memory.view.cursor = endless;
}

START_TEST(too_many_value_types_are_refused)
{
	memory.view.value_type_count = SP_VIEW_VALUES_MAX + 1;
	ck_assert_int_eq(pprof_write(), -EINVAL);
	ck_assert_uint_eq(sink.writes, 0);
}
END_TEST

START_TEST(failing_sink_makes_the_report_fail)
{
	size_t writes;

	add_many_stacks();
	ck_assert_int_eq(pprof_write(), 0);
	writes = sink.writes;
	ck_assert_uint_gt(writes, 10);
	for (size_t failing = 1; failing <= writes; failing += failing < 3 ? 1 : 7) {
		sink.failing_write = failing;
		sink.error = -ENOSPC;
		ck_assert_int_eq(pprof_write(), -ENOSPC);
		/* What failed is not tried again. */
		ck_assert_uint_eq(sink.writes, failing);
	}
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}
END_TEST

START_TEST(short_memory_makes_the_report_fail_and_loses_none)
{
	size_t allowed = 0;
	int err = -ENOMEM;

	for (uint32_t i = 0; i < 300; i++)
		memory_view_label_text(
			add_frame(1, sp_frame_make(PROGRAM, 0x1000 + 64 * i)), "mode",
			i % 2 ? "user" : "kernel \xff");
	for (; err; allowed++) {
		test_heap_refuse_after(allowed);
		err = pprof_write();
		test_heap_refuse_after(SIZE_MAX);
		ck_assert_uint_eq(test_heap_used_bytes(), 0);
		ck_assert(err == 0 || err == -ENOMEM);
		ck_assert_uint_lt(allowed, 1000);
	}
	ck_assert_uint_gt(allowed, 10);
	report();
	ck_assert_int_eq(profile_total(profile, "samples"), 300);
}
END_TEST

START_TEST(memory_does_not_grow_with_samples)
{
	struct endless few = {.count = 5000}, many = {.count = 100000};
	size_t few_bytes;

	show_endless(&few);
	test_heap_reset_peak();
	ck_assert_int_eq(pprof_write(), 0);
	few_bytes = test_heap_peak_bytes();
	show_endless(&many);
	test_heap_reset_peak();
	report();
	ck_assert_uint_eq(profile->message->n_sample, 100000);
	ck_assert_int_eq(profile_total(profile, "samples"), 100000);
	ck_assert_uint_le(test_heap_peak_bytes(), few_bytes);
	ck_assert_uint_lt(test_heap_peak_bytes(), 1 << 20);
}
END_TEST

START_TEST(error_of_the_view_is_the_reports)
{
	struct endless endless = {.count = 10, .failing_pass = (uint32_t)_i};

	show_endless(&endless);
	ck_assert_int_eq(pprof_write(), -EIO);
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}
END_TEST

START_TEST(view_that_changes_between_passes_is_refused)
{
	struct endless endless = {.count = 10, .growing_pass = 2};

	show_endless(&endless);
	ck_assert_int_eq(pprof_write(), -EPROTO);
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, too_many_value_types_are_refused);
	tcase_add_test(tc, failing_sink_makes_the_report_fail);
	tcase_add_test(tc, short_memory_makes_the_report_fail_and_loses_none);
	tcase_add_test(tc, memory_does_not_grow_with_samples);
	tcase_add_loop_test(tc, error_of_the_view_is_the_reports, 1, 3);
	tcase_add_test(tc, view_that_changes_between_passes_is_refused);
}

int main(void)
{
	return run_pprof_suite("pprof_failure", add_tests);
}
