/*
 * Opening what is a recording and what is none: the first is copied and left as it is,
 * the rest refused with one clear line.
 */
#include "test_sound_fixture.h"

/* --- what is no recording --- */

static int open_path(const char *what, char *error, size_t error_bytes)
{
	struct sp_recording recording;
	int err;

	*error = '\0';
	err = sp_recording_open(&recording, what, error, error_bytes);
	if (!err)
		sp_recording_close(&recording);
	return err;
}

static void write_file(const void *content, size_t size_bytes)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, content, size_bytes), (ssize_t)size_bytes);
	close(fd);
}

START_TEST(foreign_files_are_refused)
{
	char error[256];

	ck_assert_int_eq(open_path("/proc/self/exe", error, sizeof(error)), -EINVAL);
	ck_assert_str_eq(error, "this is not a spanprof recording");
	ck_assert_int_eq(open_path("/bin/sh", error, sizeof(error)), -EINVAL);
	write_file("", 0);
	ck_assert_int_eq(open_path(path, error, sizeof(error)), -EINVAL);
	ck_assert_str_eq(error, "this is not a spanprof recording: too short");
	write_file(SP_RECORDING_MAGIC, 8);
	ck_assert_int_eq(open_path(path, error, sizeof(error)), -EINVAL);
}
END_TEST

START_TEST(what_is_no_regular_file_is_refused_without_waiting)
{
	char error[256], fifo[128];

	snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ck_assert_int_eq(open_path(fifo, error, sizeof(error)), -EINVAL);
	ck_assert_str_eq(error, "not a regular file");
	ck_assert_int_eq(open_path(folder, error, sizeof(error)), -EINVAL);
	ck_assert_str_eq(error, "not a regular file");
	ck_assert_int_eq(open_path("/dev/zero", error, sizeof(error)), -EINVAL);
	ck_assert_int_eq(open_path("/proc/nonexistent", error, sizeof(error)), -ENOENT);
	ck_assert_str_eq(error, "No such file or directory");
}
END_TEST

START_TEST(error_may_have_little_room_or_none)
{
	char error[4] = "abc";

	ck_assert_int_eq(open_path("/proc/self/exe", error, sizeof(error)), -EINVAL);
	ck_assert_str_eq(error, "thi");
	bytes[0] = 'S';
	struct sp_recording recording;
	ck_assert_int_eq(
		sp_recording_open_memory(&recording, bytes, whole_bytes, NULL, 0),
		-EINVAL);
}
END_TEST

START_TEST(file_is_only_read)
{
	struct sp_recording recording;
	char error[256];
	unsigned char *before = whole;
	uint64_t cpu_ns;

	ck_assert_int_eq(chmod(path, 0400), 0);
	ck_assert_int_eq(sp_recording_open(&recording, path, error, sizeof(error)), 0);
	ck_assert_int_eq(test_examine(&recording, &cpu_ns), 0);
	ck_assert_uint_eq(cpu_ns, whole_cpu_ns);
	sp_recording_close(&recording);
	free(bytes);
	read_whole();
	ck_assert_mem_eq(before, whole, whole_bytes);
	free(before);
}
END_TEST

/* A file that shrinks while it is read is an error, and no SIGBUS later. */
START_TEST(copy_does_not_depend_on_its_file)
{
	struct sp_recording recording;
	char error[256];
	uint64_t cpu_ns;

	ck_assert_int_eq(sp_recording_open(&recording, path, error, sizeof(error)), 0);
	ck_assert_int_eq(truncate(path, 0), 0);
	ck_assert_int_eq(test_examine(&recording, &cpu_ns), 0);
	ck_assert_uint_eq(cpu_ns, whole_cpu_ns);
	sp_recording_close(&recording);
}
END_TEST

START_TEST(strings_are_found_by_their_offset)
{
	struct sp_recording recording;
	char error[256];
	const struct sp_module_record *module;

	ck_assert_int_eq(sp_recording_open(&recording, path, error, sizeof(error)), 0);
	module = sp_recording_item(&recording, SP_SECTION_MODULES, 1);
	ck_assert_str_eq(sp_recording_string(&recording, module->path), "/lib/second");
	ck_assert_str_eq(sp_recording_string(&recording, 0), "");
	ck_assert_str_eq(sp_recording_string(&recording, UINT64_MAX), "");
	ck_assert_str_eq(sp_recording_string(&recording, 1 << 20), "");
	sp_recording_close(&recording);
}
END_TEST

/* --- who writes it --- */

START_TEST(writer_that_runs_is_told_from_one_that_does_not)
{
	struct sp_recording recording;
	char error[256];
	struct sp_recording_header *header;

	ck_assert_int_eq(sp_recording_open(&recording, path, error, sizeof(error)), 0);
	header = recording.header;
	ck_assert_int_eq(sp_recording_is_live(&recording), 1);
	header->process_start_ticks++; /* another process of that number */
	ck_assert_int_eq(sp_recording_is_live(&recording), 0);
	header->process_start_ticks--;
	header->pid = 0;
	ck_assert_int_eq(sp_recording_is_live(&recording), 0);
	header->pid = UINT32_MAX;
	ck_assert_int_eq(sp_recording_is_live(&recording), 0);
	header->pid = (uint32_t)getpid();
	header->pid_namespace++;
	ck_assert_int_lt(sp_recording_is_live(&recording), 0);
	header->boot_id_hash++;
	ck_assert_int_eq(sp_recording_is_live(&recording), 0);
	sp_recording_close(&recording);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("recording_open");
	TCase *tc = tcase_create("recording_open");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup_sound_recording, teardown);
	tcase_add_test(tc, foreign_files_are_refused);
	tcase_add_test(tc, what_is_no_regular_file_is_refused_without_waiting);
	tcase_add_test(tc, error_may_have_little_room_or_none);
	tcase_add_test(tc, file_is_only_read);
	tcase_add_test(tc, copy_does_not_depend_on_its_file);
	tcase_add_test(tc, strings_are_found_by_their_offset);
	tcase_add_test(tc, writer_that_runs_is_told_from_one_that_does_not);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
