/*
 * From the recording of a process that is gone to a profile: when, and with what sums.
 */
#include "profile_decode.h"
#include "sp_recording_span.h"
#include "sp_recover.h"
#include "test_heap_fixture.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static char folder[64];
static char path[PATH_MAX];
static int folder_fd;
static struct sp_recording recording;
static struct sp_recover_options options;
static struct sp_recover_result result;

/* The sum of the samples below, and the clocks. */
#define SAMPLES 300U
#define ENDED_CPU_NS UINT64_C(1234567890)
#define LIVE_CPU_NS UINT64_C(5000000000)
#define PROCESS_CPU_NS UINT64_C(7000000000)

/* By a child that is dead when we look. */
static void write_recording(void)
{
	struct sp_slot *live, *ended;

	if (test_recording_make(&recording, folder, SP_RECORDING_BYTES_MIN) != 0 ||
	    !recording.is_file || test_drain(&recording) != 0)
		_exit(2);
	live = test_thread(&recording, 1, true);
	ended = test_thread(&recording, 2, true);
	for (uint32_t i = 0; i < SAMPLES; i++)
		test_produce(test_ring_of(&recording, i % 3 ? live : ended), i % 20, 1,
			     TEST_END_OUTERMOST);
	atomic_store(&live->cpu_ns, LIVE_CPU_NS);
	test_thread_end(ended, ENDED_CPU_NS);
	atomic_store(&recording.header->process_cpu_ns, PROCESS_CPU_NS);
	atomic_store(&recording.header->found_sources,
		     1U << SP_SPAN_SOURCE_API | 1U << SP_SPAN_SOURCE_THREAD_NAMES);
	raise(SIGKILL);
}

static void find_path(void)
{
	char command[256];
	FILE *list;

	snprintf(command, sizeof(command), "ls %s/*" SP_RECORDING_SUFFIX, folder);
	list = popen(command, "r");
	ck_assert_ptr_nonnull(list);
	ck_assert_ptr_nonnull(fgets(path, sizeof(path), list));
	pclose(list);
	path[strcspn(path, "\n")] = '\0';
}

static void setup_killed_process(void)
{
	int status;
	pid_t pid;

	ck_assert(test_make_folder(folder, sizeof(folder)));
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY);
	ck_assert_int_ge(folder_fd, 0);
	pid = fork();
	if (pid == 0)
		write_recording();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	find_path();
	memset(&options, 0, sizeof(options));
	memset(&result, 0xff, sizeof(result));
}

static void teardown(void)
{
	close(folder_fd);
	test_remove_folder(folder);
}

/* Stores bytes into the file. */
static void patch(size_t offset, const void *value, size_t value_bytes)
{
	int fd = open(path, O_WRONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, value, value_bytes, (off_t)offset),
			 (ssize_t)value_bytes);
	close(fd);
}

#define patch_header(member, value)                                                      \
	do {                                                                             \
		__typeof__(((struct sp_recording_header *)0)->member) patched = value;   \
		patch(offsetof(struct sp_recording_header, member), &patched,            \
		      sizeof(patched));                                                  \
	} while (0)

/* As if the process had left a heap, too: it is gone, so another one writes it. */
static void make_heap(void)
{
	struct test_block block = {.size_bytes = 50};

	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(test_recording_make(&recording, folder, SP_RECORDING_BYTES_MIN),
			 0);
	test_heap_begin(&recording);
	recording.header->heap_rate_bytes = 1;
	ck_assert_int_eq(test_drain(&recording), 0);
	block.cell = test_heap_add_cell(&recording);
	test_heap_live(test_heap_entry(&recording, 0), &block, 0x1000);
	block.size_bytes = 70;
	test_heap_freed(test_heap_entry(&recording, 1), &block);
	sp_recording_detach(&recording);
	find_path();
	patch_header(process_start_ticks, 1);
}

static int recover(void)
{
	return sp_recover_file(path, folder_fd, &options, &result);
}

static struct profile *read_profile(void)
{
	char file[PATH_MAX + 300], error[256] = "";
	struct profile *profile;

	snprintf(file, sizeof(file), "%s/%s", folder, result.files[0].name);
	profile = profile_decode_file(file, error, sizeof(error));
	ck_assert_msg(profile != NULL, "%s: %s", file, error);
	ck_assert_msg(profile_check(profile, error, sizeof(error)), "%s", error);
	return profile;
}

static void assert_nothing_written(void)
{
	char command[256];

	snprintf(command, sizeof(command), "! ls %s | grep -qv spanprof$", folder);
	ck_assert_int_eq(system(command), 0);
	ck_assert_uint_eq(result.file_count, 0);
}

START_TEST(killed_process_becomes_a_profile_with_its_sums)
{
	struct profile *profile;

	ck_assert_msg(recover() == 0, "%s", result.error);
	ck_assert_str_eq(result.error, "");
	profile = read_profile();
	ck_assert_int_eq(profile_total(profile, "samples"), SAMPLES);
	ck_assert_int_eq(profile_total(profile, "cpu"), PROCESS_CPU_NS);
	ck_assert_ptr_nonnull(strstr(result.files[0].summary, "300 samples"));
	ck_assert_ptr_nonnull(strstr(result.files[0].summary, "7.000 s"));
	ck_assert_ptr_nonnull(strstr(result.files[0].summary,
				     "0 samples lost; found: api, thread-names"));
	profile_free(profile);
}
END_TEST

/* The clocks were last read before the last samples: these say more. */
START_TEST(samples_after_the_last_look_at_the_clocks_count)
{
	struct profile *profile;

	patch_header(cpu_period_ns, 1000000000);
	patch_header(process_cpu_ns, 1);
	ck_assert_int_eq(recover(), 0);
	profile = read_profile();
	ck_assert_int_eq(profile_total(profile, "cpu"), SAMPLES * INT64_C(1000000000));
	profile_free(profile);
}
END_TEST

/* Also where threads of its kind that ended have more than their samples tell. */
START_TEST(thread_runs_on_after_its_clock_was_read_as_its_samples_tell)
{
	const uint64_t samples = 700;
	struct sp_section slots;
	struct profile *profile;
	int fd = open(path, O_RDONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(
		pread(fd, &slots, sizeof(slots),
		      offsetof(struct sp_recording_header, sections[SP_SECTION_SLOTS])),
		sizeof(slots));
	close(fd);
	patch(slots.offset + offsetof(struct sp_slot, samples), &samples,
	      sizeof(samples));
	ck_assert_int_eq(recover(), 0);
	profile = read_profile();
	ck_assert_int_eq(profile_total(profile, "cpu"),
			 samples * TEST_PERIOD_NS + ENDED_CPU_NS);
	profile_free(profile);
}
END_TEST

START_TEST(recovery_can_be_repeated)
{
	char first[sizeof(result.files[0].name)];
	struct stat before, after;
	struct profile *profile;

	ck_assert_int_eq(stat(path, &before), 0);
	ck_assert_int_eq(recover(), 0);
	memcpy(first, result.files[0].name, sizeof(first));
	ck_assert_int_eq(recover(), 0);
	ck_assert_str_ne(first, result.files[0].name);
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert_int_eq(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	profile = read_profile();
	ck_assert_int_eq(profile_total(profile, "samples"), SAMPLES);
	profile_free(profile);
}
END_TEST

START_TEST(heap_becomes_profiles_of_its_own)
{
	static const char *const names[] = {"mine.cpu.pb.gz", "mine.heap.pb.gz",
					    "mine.peak.pb.gz", "mine.lifetimes.pb.gz"};
	char file[PATH_MAX], error[256] = "";
	struct profile *profile;

	options.file_pattern = "mine";
	make_heap();
	ck_assert_msg(recover() == 0, "%s", result.error);
	ck_assert_uint_eq(result.file_count, SP_ARRAY_COUNT(names));
	for (size_t i = 0; i < SP_ARRAY_COUNT(names); i++)
		ck_assert_str_eq(result.files[i].name, names[i]);
	ck_assert_str_eq(result.files[1].summary,
			 "120 B allocated (exact), 50 B in use (exact)");
	snprintf(file, sizeof(file), "%s/mine.heap.pb.gz", folder);
	profile = profile_decode_file(file, error, sizeof(error));
	ck_assert_msg(profile != NULL, "%s: %s", file, error);
	/* One lives; one was freed, and nobody had absorbed it. */
	ck_assert_int_eq(profile_total(profile, "alloc_space"), 120);
	ck_assert_int_eq(profile_total(profile, "inuse_space"), 50);
	profile_free(profile);
}
END_TEST

START_TEST(another_pattern_names_the_file)
{
	options.file_pattern = "mine-%e";
	ck_assert_int_eq(recover(), 0);
	ck_assert_str_eq(result.files[0].name, "mine-tested.cpu.pb.gz");
}
END_TEST

START_TEST(program_name_leads_nowhere_else)
{
	const char program[64] = "../../evil";

	patch(offsetof(struct sp_recording_header, program), program, sizeof(program));
	ck_assert_int_eq(recover(), 0);
	ck_assert_ptr_null(strchr(result.files[0].name, '/'));
	profile_free(read_profile());
}
END_TEST

START_TEST(pattern_that_leads_elsewhere_is_refused)
{
	const char pattern[256] = "../%e";

	patch(offsetof(struct sp_recording_header, file_pattern), pattern,
	      sizeof(pattern));
	ck_assert_int_lt(recover(), 0);
	ck_assert_str_ne(result.error, "");
	assert_nothing_written();
}
END_TEST

static void pretend_to_be_the_writer(void)
{
	struct sp_process_identity identity;

	sp_process_identity_read(&identity, getpid());
	patch_header(pid, (uint32_t)getpid());
	patch_header(process_start_ticks, identity.start_ticks);
}

START_TEST(process_that_runs_is_left_alone_unless_forced)
{
	pretend_to_be_the_writer();
	ck_assert_int_eq(recover(), -EBUSY);
	ck_assert_ptr_nonnull(strstr(result.error, "still runs"));
	assert_nothing_written();
	options.is_forced = true;
	ck_assert_int_eq(recover(), 0);
	profile_free(read_profile());
}
END_TEST

START_TEST(process_of_another_namespace_is_left_alone_unless_forced)
{
	patch_header(pid_namespace, 1);
	ck_assert_int_lt(recover(), 0);
	ck_assert_ptr_nonnull(strstr(result.error, "--force"));
	assert_nothing_written();
	options.is_forced = true;
	ck_assert_int_eq(recover(), 0);
}
END_TEST

START_TEST(process_of_an_earlier_boot_is_gone)
{
	pretend_to_be_the_writer();
	patch_header(pid_namespace, 1);
	patch_header(boot_id_hash, 1);
	ck_assert_int_eq(recover(), 0);
}
END_TEST

START_TEST(process_that_ended_by_itself_leaves_nothing_to_do)
{
	patch_header(state, SP_RECORDING_ENDED);
	ck_assert_int_eq(recover(), 0);
	ck_assert_str_ne(result.state, "");
	assert_nothing_written();
}
END_TEST

/* The file of a process that was killed while it made it, as far as it had come. */
static void leave_unfinished(int progress)
{
	const char nothing[8] = "";
	struct stat status;

	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_int_eq(truncate(path, 0), 0);
	if (progress >= 1)
		ck_assert_int_eq(truncate(path, status.st_size), 0);
	if (progress < 2)
		return;
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(test_recording_make(&recording, folder, SP_RECORDING_BYTES_MIN),
			 0);
	recording.header->cpu_period_ns = 0;
	recording.header->heap_rate_bytes = 0;
	atomic_store(&recording.header->state, SP_RECORDING_STARTING);
	find_path();
	if (progress == 2)
		patch(0, nothing, sizeof(nothing));
}

static void name_after(pid_t pid)
{
	char other[PATH_MAX];

	snprintf(other, sizeof(other), "%s/a.b.%d.18ec928db55ae1ca" SP_RECORDING_SUFFIX,
		 folder, (int)pid);
	ck_assert_int_eq(rename(path, other), 0);
	strcpy(path, other);
}

static pid_t gone_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	return pid;
}

static void make_older(time_t seconds)
{
	struct timespec times[2];

	clock_gettime(CLOCK_REALTIME, &times[0]);
	times[0].tv_sec -= seconds;
	times[1] = times[0];
	ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void assert_left_alone(const char *why)
{
	ck_assert_int_eq(recover(), -EBUSY);
	ck_assert_msg(strstr(result.error, why) != NULL, "it said: %s", result.error);
	assert_nothing_written();
	options.is_forced = true;
	ck_assert_int_eq(recover(), 0);
	ck_assert_str_eq(result.state, "there is nothing in it yet");
	ck_assert_str_eq(result.error, "");
	assert_nothing_written();
	options.is_forced = false;
}

START_TEST(process_that_was_killed_too_early_leaves_nothing_to_do)
{
	leave_unfinished(_i);
	sp_recording_detach(&recording);
	name_after(gone_process());
	make_older(60);
	ck_assert_int_eq(recover(), 0);
	ck_assert_ptr_nonnull(strstr(result.state, "before there was anything"));
	assert_nothing_written();
	/* One that still runs may be at it. */
	name_after(getpid());
	assert_left_alone("is just making it");
}
END_TEST

/* In another pid namespace its number says nothing; but so does its file. */
START_TEST(process_that_cannot_be_seen_may_be_making_its_recording)
{
	int fd = -1;

	leave_unfinished(_i);
	name_after(gone_process());
	make_older(60);
	/* It is open until all is there, and mapped from then on. */
	if (_i < 2)
		fd = open(path, O_WRONLY);
	assert_left_alone("cannot be seen from here is just making it");
	close(fd);
	sp_recording_detach(&recording);
	make_older(5);
	assert_left_alone("it is only 5 s old");
	make_older(-60);
	ck_assert_int_eq(recover(), 0);
}
END_TEST

START_TEST(empty_file_of_another_name_is_none_of_ours)
{
	static const char *const names[] = {
		"a.17." SP_RECORDING_SUFFIX, "a.17.xyz" SP_RECORDING_SUFFIX,
		"a.-17.12ab" SP_RECORDING_SUFFIX, "a.12ab" SP_RECORDING_SUFFIX,
		"a.17.12ab.txt"};
	char other[PATH_MAX];

	leave_unfinished(0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(other, sizeof(other), "%s/%s", folder, names[i]);
		ck_assert_int_eq(rename(path, other), 0);
		strcpy(path, other);
		ck_assert_int_eq(recover(), -EINVAL);
	}
}
END_TEST

START_TEST(damaged_recording_writes_nothing)
{
	patch_header(storage_bytes_max, 1);
	ck_assert_int_eq(recover(), -EINVAL);
	ck_assert_ptr_nonnull(strstr(result.error, "damaged"));
	assert_nothing_written();
}
END_TEST

START_TEST(sums_that_cannot_be_write_nothing)
{
	patch_header(process_cpu_ns, UINT64_MAX);
	ck_assert_int_eq(recover(), -EINVAL);
	ck_assert_ptr_nonnull(strstr(result.error, "sums make no sense"));
	assert_nothing_written();
}
END_TEST

START_TEST(no_place_for_the_profile_is_an_error)
{
	int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY);

	ck_assert_int_ge(proc_fd, 0);
	ck_assert_int_lt(sp_recover_file(path, proc_fd, &options, &result), 0);
	ck_assert_ptr_nonnull(strstr(result.error, "cannot write"));
	ck_assert_uint_eq(result.file_count, 0);
	close(proc_fd);
}
END_TEST

START_TEST(missing_recording_is_an_error)
{
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(recover(), -ENOENT);
	ck_assert_str_ne(result.error, "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("recover");
	TCase *tc = tcase_create("recover");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup_killed_process, teardown);
	tcase_add_test(tc, killed_process_becomes_a_profile_with_its_sums);
	tcase_add_test(tc, samples_after_the_last_look_at_the_clocks_count);
	tcase_add_test(tc, thread_runs_on_after_its_clock_was_read_as_its_samples_tell);
	tcase_add_test(tc, recovery_can_be_repeated);
	tcase_add_test(tc, heap_becomes_profiles_of_its_own);
	tcase_add_test(tc, another_pattern_names_the_file);
	tcase_add_test(tc, program_name_leads_nowhere_else);
	tcase_add_test(tc, pattern_that_leads_elsewhere_is_refused);
	tcase_add_test(tc, process_that_runs_is_left_alone_unless_forced);
	tcase_add_test(tc, process_of_another_namespace_is_left_alone_unless_forced);
	tcase_add_test(tc, process_of_an_earlier_boot_is_gone);
	tcase_add_test(tc, process_that_ended_by_itself_leaves_nothing_to_do);
	tcase_add_loop_test(tc, process_that_was_killed_too_early_leaves_nothing_to_do, 0,
			    4);
	tcase_add_loop_test(tc, process_that_cannot_be_seen_may_be_making_its_recording,
			    0, 4);
	tcase_add_test(tc, empty_file_of_another_name_is_none_of_ours);
	tcase_add_test(tc, damaged_recording_writes_nothing);
	tcase_add_test(tc, sums_that_cannot_be_write_nothing);
	tcase_add_test(tc, no_place_for_the_profile_is_an_error);
	tcase_add_test(tc, missing_recording_is_an_error);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
