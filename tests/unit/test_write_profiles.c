/*
 * The files of one process: which there are, what they are called, what is told of
 * them.
 */
#include "profile_decode.h"
#include "sp_collector.h"
#include "sp_text.h"
#include "test_heap_fixture.h"
#include "test_span_fixture.h"

#include <check.h>
#include <fcntl.h>
#include <sys/stat.h>

static char folder[64];
static int folder_fd;
static struct sp_recording recording;
static struct sp_write_summary summary;
static char said[1024];

static void setup(void)
{
	ck_assert(test_make_folder(folder, sizeof(folder)));
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY);
	ck_assert_int_ge(folder_fd, 0);
	ck_assert_int_eq(test_recording_make(&recording, "/proc/nonexistent",
					     SP_RECORDING_BYTES_MIN * 8),
			 0);
	snprintf(recording.header->file_pattern, sizeof(recording.header->file_pattern),
		 "p");
	test_heap_begin(&recording);
	recording.header->heap_rate_bytes = 1;
	ck_assert_int_eq(test_drain(&recording), 0);
	memset(&summary, 0, sizeof(summary));
}

static void teardown(void)
{
	sp_recording_detach(&recording);
	close(folder_fd);
	test_remove_folder(folder);
}

static void add_block(uint64_t size_bytes)
{
	const struct test_block block = {.cell = test_heap_add_cell(&recording),
					 .size_bytes = size_bytes};

	test_heap_live(test_heap_entry(&recording, block.cell), &block, 0x1000);
}

static void write_all(unsigned int wishes)
{
	struct sp_text text;

	sp_collector_write(&recording, folder_fd, wishes, &summary);
	ck_assert_int_eq(sp_write_summary_error(&summary), 0);
	sp_text_init(&text, said, sizeof(said));
	sp_write_summary_say(&summary, "DIR", &text);
}

static bool is_there(const char *name)
{
	return faccessat(folder_fd, name, F_OK, 0) == 0;
}

static void occupy(const char *name)
{
	close(openat(folder_fd, name, O_WRONLY | O_CREAT, 0600));
}

static unsigned int count_files(void)
{
	char command[128];
	unsigned int count = 0;
	FILE *list;

	snprintf(command, sizeof(command), "ls -A %s | wc -l", folder);
	list = popen(command, "r");
	ck_assert_ptr_nonnull(list);
	ck_assert_int_eq(fscanf(list, "%u", &count), 1);
	pclose(list);
	return count;
}

static int64_t total_of(const char *name, const char *type)
{
	char path[PATH_MAX], error[256] = "";
	struct profile *profile;
	int64_t total;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	profile = profile_decode_file(path, error, sizeof(error));
	ck_assert_msg(profile != NULL, "%s: %s", path, error);
	ck_assert_msg(profile_check(profile, error, sizeof(error)), "%s", error);
	total = profile_total(profile, type);
	profile_free(profile);
	return total;
}

START_TEST(heap_and_cpu_are_four_files)
{
	add_block(1000);
	atomic_store(&recording.header->orphan_heap_bytes, 1500);
	write_all(0);
	ck_assert_uint_eq(count_files(), 4);
	ck_assert_int_eq(total_of("p.cpu.pb.gz", "cpu"), 0);
	ck_assert_int_eq(total_of("p.heap.pb.gz", "alloc_space"), 1000);
	ck_assert_int_eq(total_of("p.peak.pb.gz", "inuse_space"), 1000);
	ck_assert_int_eq(total_of("p.lifetimes.pb.gz", "freed_space"), 0);
	ck_assert_str_eq(said, "DIR/p.{cpu,heap,peak,lifetimes}.pb.gz: 0 samples, 0.000 "
			       "s of CPU time, 1.5 KiB allocated (exact), 1000 B in use "
			       "(exact), 0 samples lost");
}
END_TEST

START_TEST(heap_without_samples_has_no_peak_and_no_lifetimes)
{
	write_all(0);
	ck_assert_uint_eq(count_files(), 2);
	ck_assert(is_there("p.cpu.pb.gz"));
	ck_assert(is_there("p.heap.pb.gz"));
}
END_TEST

START_TEST(what_is_not_recorded_is_not_written)
{
	recording.header->heap_rate_bytes = 0;
	atomic_store(&recording.header->process_cpu_ns, 1234567890);
	write_all(SP_WRITE_LEAKS);
	ck_assert_uint_eq(count_files(), 1);
	ck_assert_str_eq(said, "DIR/p.cpu.pb.gz: 0 samples, 1.234 s of CPU time, 0 "
			       "samples lost");
}
END_TEST

START_TEST(spans_that_were_not_followed_are_told)
{
	recording.header->heap_rate_bytes = 0;
	atomic_store(&recording.header->losses[SP_LOSS_SPAN_NO_ROOM], 7);
	write_all(0);
	ck_assert_str_eq(said, "DIR/p.cpu.pb.gz: 0 samples, 0.000 s of CPU time, 7 spans "
			       "lost, 0 samples lost");
}
END_TEST

START_TEST(heap_may_be_alone)
{
	recording.header->cpu_period_ns = 0;
	write_all(0);
	ck_assert_uint_eq(count_files(), 1);
	ck_assert_str_eq(said, "DIR/p.heap.pb.gz: 0 B allocated (exact), 0 B in use "
			       "(exact), 0 samples lost");
}
END_TEST

START_TEST(heap_that_cannot_be_seen_is_called_so)
{
	recording.header->cpu_period_ns = 0;
	atomic_store(&recording.header->heap_coverage, SP_HEAP_PROGRAM_HAS_OWN);
	write_all(false);
	ck_assert_str_eq(said, "DIR/p.heap.pb.gz: heap not seen (the program defines "
			       "malloc()), 0 samples lost");
	atomic_store(&recording.header->orphan_heap_bytes, 10);
	write_all(false);
	ck_assert_ptr_nonnull(strstr(said, "10 B allocated (exact)"));
}
END_TEST

START_TEST(leaks_are_written_when_wanted)
{
	add_block(1000);
	write_all(SP_WRITE_LEAKS);
	ck_assert_int_eq(total_of("p.leaks.pb.gz", "inuse_space"), 1000);
	ck_assert_ptr_nonnull(strstr(said, "p.{cpu,heap,peak,lifetimes,leaks}.pb.gz: "));
}
END_TEST

START_TEST(later_write_replaces_our_own_files)
{
	add_block(1000);
	write_all(0);
	add_block(500);
	write_all(0);
	ck_assert_uint_eq(count_files(), 4);
	ck_assert_int_eq(total_of("p.heap.pb.gz", "inuse_space"), 1500);
}
END_TEST

START_TEST(files_of_others_stay_and_ours_share_a_number)
{
	occupy("p.cpu.pb.gz");
	add_block(1000);
	write_all(0);
	ck_assert_int_eq(total_of("p.2.heap.pb.gz", "inuse_space"), 1000);
	ck_assert_ptr_nonnull(strstr(said, "DIR/p.2.{cpu,heap,peak,lifetimes}.pb.gz: "));
	ck_assert_uint_eq(count_files(), 5);
}
END_TEST

START_TEST(number_that_is_taken_too_gives_names_of_their_own)
{
	occupy("p.heap.pb.gz");
	add_block(1000);
	write_all(0);
	ck_assert_int_eq(total_of("p.2.heap.pb.gz", "inuse_space"), 1000);
	ck_assert_ptr_nonnull(
		strstr(said, "DIR/p.{cpu,peak,lifetimes}.pb.gz, DIR/p.2.heap.pb.gz: "));
}
END_TEST

START_TEST(pattern_that_makes_too_long_a_name_is_known_before)
{
	/* "lifetimes", the longest, "4194304" and a time. */
	const size_t rest_bytes = strlen(".lifetimes.pb.gz") + 7 + 19;
	char pattern[NAME_MAX], program[100];
	size_t text_bytes = NAME_MAX - rest_bytes - strlen("redis");

	memset(pattern, 'a', text_bytes);
	strcpy(pattern + text_bytes, "%e%p%t");
	ck_assert(sp_profile_names_fit(pattern, "redis"));
	ck_assert(!sp_profile_names_fit(pattern, "redis2"));
	ck_assert(sp_profile_names_fit(pattern, "cat"));
	strcpy(pattern + text_bytes, "%x");
	ck_assert(!sp_profile_names_fit(pattern, "cat"));
	/* Of a program's name the recording has a part only. */
	memset(program, 'p', sizeof(program) - 1);
	program[sizeof(program) - 1] = '\0';
	memset(pattern, 'a', 150);
	strcpy(pattern + 150, "%e");
	ck_assert(sp_profile_names_fit(pattern, program));
}
END_TEST

START_TEST(folder_that_cannot_be_written_to_is_an_error_of_each)
{
	int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY);

	add_block(1000);
	sp_collector_write(&recording, proc_fd, 0, &summary);
	ck_assert_int_lt(sp_write_summary_error(&summary), 0);
	for (unsigned int kind = 0; kind < SP_PROFILE_LEAKS; kind++) {
		ck_assert_int_lt(summary.kinds[kind].error, 0);
		ck_assert_str_eq(summary.kinds[kind].file, "");
	}
	close(proc_fd);
	/* The next time it works, under the name it would have had. */
	write_all(0);
	ck_assert(is_there("p.heap.pb.gz"));
}
END_TEST

START_TEST(sizes_are_told_in_units)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} sizes[] = {
		{0, "0 B alloc"},
		{1023, "1023 B alloc"},
		{1024, "1.0 KiB alloc"},
		{1048500, "1023.9 KiB alloc"},
		{1048575, "1.0 MiB alloc"},
		{UINT64_C(1288490189), "1.2 GiB alloc"},
		{UINT64_MAX, "16777216.0 TiB alloc"},
	};

	for (size_t i = 0; i < SP_ARRAY_COUNT(sizes); i++) {
		struct sp_text text;

		summary.allocated_bytes = sizes[i].bytes;
		sp_text_init(&text, said, sizeof(said));
		sp_write_summary_say_kind(&summary, SP_PROFILE_HEAP, &text);
		ck_assert_msg(strncmp(said, sizes[i].text, strlen(sizes[i].text)) == 0,
			      "%s is not %s", said, sizes[i].text);
	}
}
END_TEST

/* Two spans of one path, closed and absorbed, the second one a little longer. */
static void add_spans(void)
{
	uint32_t path = test_named_path(&recording, "request", 0);

	test_spans_begin(&recording);
	for (uint64_t i = 1; i <= 2; i++) {
		struct sp_span *span =
			test_span_at(&recording, test_span(&recording, path, 1000));

		test_span_stay(span, 4000 * i);
		atomic_store(&span->cpu_ns, 500);
		atomic_store(&span->entered, 1);
		test_span_close(span, 1000 + 5000 * i);
	}
	ck_assert_int_eq(test_drain(&recording), 0);
}

START_TEST(spans_are_a_file_where_there_are_any)
{
	add_spans();
	write_all(0);
	ck_assert_uint_eq(count_files(), 3);
	/* 12,000 ticks of half a nanosecond, and 3,000 idle. */
	ck_assert_int_eq(total_of("p.spans.pb.gz", "wall_busy"), 6000);
	ck_assert_int_eq(total_of("p.spans.pb.gz", "wall_idle"), 1500);
	ck_assert_int_eq(total_of("p.spans.pb.gz", "cpu"), 1000);
	ck_assert_int_eq(total_of("p.spans.pb.gz", "spans"), 2);
	ck_assert_ptr_nonnull(strstr(said, "DIR/p.{cpu,heap,spans}.pb.gz: "));
	ck_assert_ptr_nonnull(strstr(said, ", 2 spans, "));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("write_profiles");
	TCase *tc = tcase_create("write_profiles");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, heap_and_cpu_are_four_files);
	tcase_add_test(tc, heap_without_samples_has_no_peak_and_no_lifetimes);
	tcase_add_test(tc, what_is_not_recorded_is_not_written);
	tcase_add_test(tc, spans_that_were_not_followed_are_told);
	tcase_add_test(tc, heap_may_be_alone);
	tcase_add_test(tc, heap_that_cannot_be_seen_is_called_so);
	tcase_add_test(tc, leaks_are_written_when_wanted);
	tcase_add_test(tc, later_write_replaces_our_own_files);
	tcase_add_test(tc, files_of_others_stay_and_ours_share_a_number);
	tcase_add_test(tc, number_that_is_taken_too_gives_names_of_their_own);
	tcase_add_test(tc, pattern_that_makes_too_long_a_name_is_known_before);
	tcase_add_test(tc, folder_that_cannot_be_written_to_is_an_error_of_each);
	tcase_add_test(tc, sizes_are_told_in_units);
	tcase_add_test(tc, spans_are_a_file_where_there_are_any);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
