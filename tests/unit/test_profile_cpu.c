/*
 * To whom a CPU profile gives what the process used beyond its threads' clocks.
 */
#include "profile_cpu.h"
#include "test_recording_fixture.h"

#include <check.h>

#define THREADS 10U
#define THREAD_NS (2 * TEST_PERIOD_NS)
#define GROUP 1U
#define MICROSECOND_NS UINT64_C(1000)

static struct sp_recording recording;
static struct sp_cpu_profile *profile;

static void setup(void)
{
	ck_assert_int_eq(test_recording_make(&recording, "/proc/nonexistent",
					     SP_RECORDING_BYTES_MIN * 8),
			 0);
	atomic_store(&recording.header->are_clocks_final, 1);
}

static void teardown(void)
{
	sp_cpu_profile_destroy(profile);
	sp_recording_detach(&recording);
}

/* Threads of one group, each with a sample, that are gone; each took end_ns more. */
static const struct sp_cpu_totals *profile_of_ends(uint32_t group, uint64_t end_ns)
{
	for (uint32_t i = 0; i < THREADS; i++) {
		struct sp_slot *slot = test_thread(&recording, group, true);

		ck_assert(test_produce(test_ring_of(&recording, slot), 0, 1,
				       TEST_END_OUTERMOST));
		test_thread_end(slot, THREAD_NS);
		ck_assert_int_eq(test_drain(&recording), 0);
	}
	atomic_store(&recording.header->process_cpu_ns, THREADS * (THREAD_NS + end_ns));
	profile = sp_cpu_profile_create(&recording);
	ck_assert_ptr_nonnull(profile);
	ck_assert_uint_eq(sp_cpu_profile_totals(profile)->cpu_ns,
			  THREADS * (THREAD_NS + end_ns));
	return sp_cpu_profile_totals(profile);
}

static int64_t shown_ns(void)
{
	const struct sp_profile_view *view = sp_cpu_profile_view(profile);
	struct sp_view_sample sample;
	int64_t sum_ns = 0;

	while (view->next_sample(view->cursor, &sample) == 1)
		sum_ns += sample.values[1];
	return sum_ns;
}

START_TEST(ends_of_threads_are_their_own_time)
{
	ck_assert_uint_eq(profile_of_ends(GROUP, 50 * MICROSECOND_NS)->unsampled_ns, 0);
	ck_assert_int_eq(shown_ns(), THREADS * (THREAD_NS + 50 * MICROSECOND_NS));
}
END_TEST

START_TEST(what_no_end_takes_is_of_threads_that_nobody_saw)
{
	ck_assert_uint_eq(profile_of_ends(GROUP, 300 * MICROSECOND_NS)->unsampled_ns,
			  THREADS * 200 * MICROSECOND_NS);
	ck_assert_int_eq(shown_ns(), THREADS * (THREAD_NS + 300 * MICROSECOND_NS));
}
END_TEST

START_TEST(strangers_take_as_much_as_they_have)
{
	ck_assert_uint_eq(profile_of_ends(SP_GROUP_UNKNOWN, THREAD_NS)->unsampled_ns, 0);
	ck_assert_int_eq(shown_ns(), THREADS * 2 * THREAD_NS);
}
END_TEST

/* io_uring's threads, for one, whose clocks were last read when half was done. */
START_TEST(threads_of_the_kernel_are_no_unsampled_ones)
{
	struct sp_group *group = sp_recording_item(&recording, SP_SECTION_GROUPS, GROUP);
	const struct sp_cpu_totals *totals;
	const struct sp_profile_view *view;
	struct sp_view_sample sample;

	atomic_store(&group->entry_address, SP_ENTRY_KERNEL_WORKER);
	atomic_store(&group->ended_cpu_ns, THREAD_NS);
	atomic_store(&recording.header->process_cpu_ns, 2 * THREAD_NS);
	profile = sp_cpu_profile_create(&recording);
	totals = sp_cpu_profile_totals(profile);
	ck_assert_uint_eq(totals->kernel_workers_ns, 2 * THREAD_NS);
	ck_assert_uint_eq(totals->unsampled_ns, 0);
	view = sp_cpu_profile_view(profile);
	ck_assert_int_eq(view->next_sample(view->cursor, &sample), 1);
	ck_assert_int_eq(sample.values[1], 2 * THREAD_NS);
	ck_assert_uint_eq(sample.frame_count, 1);
	ck_assert_uint_eq(sample.frames[0], sp_frame_pseudo(SP_PSEUDO_KERNEL_WORKER));
	ck_assert_int_eq(view->next_sample(view->cursor, &sample), 0);
}
END_TEST

static const char *scale_comment(void)
{
	const struct sp_profile_view *view = sp_cpu_profile_view(profile);

	for (uint32_t i = 0; i < view->comment_count; i++)
		if (strncmp(view->comments[i], "scale: ", 7) == 0)
			return view->comments[i];
	return "";
}

/* A library that is gone lay where the one with the threads' function now is. */
START_TEST(entry_is_of_the_module_that_it_was_met_in)
{
	struct sp_module_record module = {.base = 0x7f0000000000,
					  .text_start = 0x7f0000001000,
					  .text_end = 0x7f0000002000};
	struct sp_group *group = sp_recording_item(&recording, SP_SECTION_GROUPS, GROUP);

	sp_recording_add_module(&recording, &module, "/lib/gone.so");
	sp_recording_add_module(&recording, &module, "/lib/there.so");
	atomic_store(&group->entry_address, module.base + 0x1234);
	atomic_store(&group->entry_frame, sp_frame_make(2, 0x1234));
	profile_of_ends(GROUP, 0);
	ck_assert_msg(strstr(scale_comment(), " entry there.so+0x1234: "), "%s",
		      scale_comment());
	sp_cpu_profile_destroy(profile);
	/* And before anybody has looked, only its address is known. */
	atomic_store(&group->entry_frame, 0);
	profile = sp_cpu_profile_create(&recording);
	ck_assert_msg(strstr(scale_comment(), " entry 0x7f0000001234: "), "%s",
		      scale_comment());
}
END_TEST

START_TEST(threads_of_unknown_entry_are_said_to_be)
{
	profile_of_ends(SP_GROUP_UNKNOWN, 0);
	ck_assert_msg(strstr(scale_comment(), "threads of unknown entry: 10 samples"),
		      "%s", scale_comment());
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("profile_cpu");
	TCase *tc = tcase_create("profile_cpu");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, ends_of_threads_are_their_own_time);
	tcase_add_test(tc, what_no_end_takes_is_of_threads_that_nobody_saw);
	tcase_add_test(tc, threads_of_the_kernel_are_no_unsampled_ones);
	tcase_add_test(tc, strangers_take_as_much_as_they_have);
	tcase_add_test(tc, entry_is_of_the_module_that_it_was_met_in);
	tcase_add_test(tc, threads_of_unknown_entry_are_said_to_be);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
