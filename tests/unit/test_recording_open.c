/*
 * Recordings that are damaged, cut off, foreign or no recordings at all: each is
 * refused with one clear line, or read to the end; nothing else happens.
 */
#include "test_heap_fixture.h"

#include <check.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>

static char folder[64];
static char path[PATH_MAX];
static unsigned char *whole; /* a sound recording, as its file is */
static size_t whole_bytes;
static unsigned char *bytes; /* a copy to be damaged */
static uint64_t whole_cpu_ns;
static uint64_t stored_bytes; /* up to the last byte that has storage */

static void read_whole(void)
{
	struct stat status;
	int fd = open(path, O_RDONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &status), 0);
	whole_bytes = (size_t)status.st_size;
	whole = malloc(whole_bytes);
	bytes = malloc(whole_bytes);
	ck_assert_ptr_nonnull(whole);
	ck_assert_ptr_nonnull(bytes);
	ck_assert_int_eq(read(fd, whole, whole_bytes), (ssize_t)whole_bytes);
	memcpy(bytes, whole, whole_bytes);
	close(fd);
}

/* Something in every table: sums, rings to be drained, an unfinished change. */
static void write_something(struct sp_recording *recording)
{
	struct sp_module_record module = {.base = 4096, .build_id_bytes = 20};
	struct sp_journal *journal = &recording->header->journal;
	struct sp_slot *slot = test_thread(recording, 1, true);
	struct sp_slot *ended = test_thread(recording, 2, true);

	test_heap_begin(recording);
	ck_assert_uint_eq(sp_recording_add_module(recording, &module, "/bin/first"), 1);
	ck_assert_uint_eq(sp_recording_add_module(recording, &module, "/lib/second"), 2);
	for (uint32_t i = 0; i < 200; i++)
		test_produce(test_ring_of(recording, slot), i % 50, 1,
			     TEST_END_OUTERMOST);
	ck_assert_int_eq(test_drain(recording), 0);
	ck_assert_int_eq(test_heap_fill(recording), 0);
	for (uint32_t i = 0; i < 100; i++) {
		test_produce(test_ring_of(recording, slot), i, 2, TEST_END_SHORT);
		test_produce(test_ring_of(recording, ended), i, 1, TEST_END_FULL);
	}
	atomic_store(&slot->cpu_ns, 5000000000);
	test_thread_end(ended, 1500000000);
	atomic_store(&recording->header->process_cpu_ns, 7000000000);
	journal->writes[0].offset = offsetof(struct sp_recording_header, process_user_ns);
	journal->writes[0].value = 6000000000;
	atomic_store(&journal->count, 1);
}

static void find_stored_bytes(const struct sp_recording *recording)
{
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		const struct sp_section *section = &recording->header->sections[kind];

		stored_bytes =
			section->offset +
			sp_atomic_value(&section->reserved_items) * section->item_bytes;
	}
}

static void setup_sound_recording(void)
{
	struct sp_recording recording;
	char error[256] = "";

	ck_assert(test_make_folder(folder, sizeof(folder)));
	ck_assert_int_eq(test_recording_make(&recording, folder, SP_RECORDING_BYTES_MIN),
			 0);
	ck_assert(recording.is_file);
	write_something(&recording);
	find_stored_bytes(&recording);
	snprintf(path, sizeof(path), "%s", recording.path);
	sp_recording_detach(&recording);
	read_whole();
	ck_assert_int_eq(sp_recording_open(&recording, path, error, sizeof(error)), 0);
	ck_assert_int_eq(test_examine(&recording, &whole_cpu_ns), 0);
	ck_assert_uint_gt(whole_cpu_ns, 0);
	sp_recording_close(&recording);
}

static void teardown(void)
{
	free(whole);
	free(bytes);
	test_remove_folder(folder);
}

static struct sp_recording_header *header_of(unsigned char *memory)
{
	return (void *)memory;
}

/* Opens the damaged copy and reads it to the end; whether it was refused. */
static bool is_refused(size_t size_bytes, uint64_t *cpu_ns)
{
	struct sp_recording recording;
	char error[256] = "";
	int err = sp_recording_open_memory(&recording, bytes, size_bytes, error,
					   sizeof(error));

	ck_assert_int_le(err, 0);
	if (err) {
		ck_assert_msg(*error && !strchr(error, '\n'), "says \"%s\"", error);
		return true;
	}
	ck_assert_str_eq(error, "");
	err = test_examine(&recording, cpu_ns);
	ck_assert_int_ne(err, -1);
	if (!err)
		ck_assert_int_eq(test_heap_examine(&recording), 0);
	sp_recording_close(&recording);
	return err != 0;
}

static const char *why_refused(void)
{
	static char error[256];
	struct sp_recording recording;

	error[0] = '\0';
	ck_assert_int_lt(sp_recording_open_memory(&recording, bytes, whole_bytes, error,
						  sizeof(error)),
			 0);
	return error;
}

START_TEST(recording_cut_off_anywhere_is_refused)
{
	uint64_t cpu_ns = 0;

	ck_assert(!is_refused(whole_bytes, &cpu_ns));
	for (size_t size = 0; size < stored_bytes; size += 4096) {
		ck_assert(is_refused(size, &cpu_ns));
		if (size)
			ck_assert(is_refused(size - 1, &cpu_ns));
	}
	ck_assert(is_refused(stored_bytes - 1, &cpu_ns));
	/* Behind the last byte in use nothing is missed. */
	cpu_ns = 0;
	ck_assert(!is_refused(stored_bytes, &cpu_ns));
	ck_assert_uint_eq(cpu_ns, whole_cpu_ns);
}
END_TEST

START_TEST(file_cut_off_is_refused_too)
{
	struct sp_recording recording;
	char error[256];

	for (off_t size = (off_t)stored_bytes - 1; size >= 0; size -= 65536) {
		ck_assert_int_eq(truncate(path, size), 0);
		error[0] = '\0';
		ck_assert_int_lt(
			sp_recording_open(&recording, path, error, sizeof(error)), 0);
		ck_assert_str_ne(error, "");
	}
}
END_TEST

START_TEST(header_with_any_odd_word_does_no_harm)
{
	unsigned int refused = 0, read = 0;

	for (size_t at = 0; at + 8 <= sizeof(struct sp_recording_header); at += 8) {
		uint64_t value, cpu_ns;

		memcpy(&value, whole + at, 8);
		const uint64_t values[] = {0,	      1,	  value + 1,
					   value - 1, value * 2,  value / 2,
					   ~value,    UINT64_MAX, 1U << 31,
					   INT64_MAX, value + 8,  value ^ 1U << 30};

		for (unsigned int i = 0; i < SP_ARRAY_COUNT(values); i++) {
			memcpy(bytes + at, &values[i], 8);
			if (is_refused(whole_bytes, &cpu_ns))
				refused++;
			else
				read++;
		}
		memcpy(bytes + at, &value, 8);
	}
	ck_assert_uint_gt(refused, 300);
	ck_assert_uint_gt(read, 300);
}
END_TEST

static uint64_t random_state = 88172645463325252;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Mostly where it matters: heads of tables, rings, the header's numbers. */
static size_t random_place(void)
{
	const struct sp_recording_header *header = header_of(whole);
	const struct sp_section *section =
		&header->sections[next_random() % SP_SECTION_COUNT];
	uint64_t reserved_bytes =
		sp_atomic_value(&section->reserved_items) * section->item_bytes;

	switch (next_random() % 4) {
	case 0:
		return offsetof(struct sp_recording_header, sections) +
		       next_random() % (sizeof(*header) -
					offsetof(struct sp_recording_header, sections));
	case 1:
		return section->offset + next_random() % 256;
	default:
		/* A section may have no storage yet. */
		return section->offset + next_random() % (reserved_bytes + 1);
	}
}

START_TEST(random_damage_does_no_harm)
{
	unsigned int refused = 0;

	for (unsigned int round = 0; round < 4000; round++) {
		size_t places[8];
		unsigned int count = 1 + (unsigned int)(next_random() % 8);
		uint64_t cpu_ns;

		for (unsigned int i = 0; i < count; i++) {
			places[i] = random_place();
			bytes[places[i]] ^= (unsigned char)(1 + next_random() % 255);
		}
		refused += is_refused(whole_bytes, &cpu_ns);
		for (unsigned int i = 0; i < count; i++)
			bytes[places[i]] = whole[places[i]];
	}
	ck_assert_uint_gt(refused, 400);
	ck_assert_uint_lt(refused, 3999);
}
END_TEST

START_TEST(whole_sections_of_noise_do_no_harm)
{
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		struct sp_section *section = &header_of(bytes)->sections[kind];
		uint64_t reserved_bytes =
			sp_atomic_value(&section->reserved_items) * section->item_bytes;
		uint64_t cpu_ns;

		for (uint64_t at = 0; at < reserved_bytes; at++)
			bytes[section->offset + at] = (unsigned char)next_random();
		is_refused(whole_bytes, &cpu_ns);
		memset(bytes + section->offset, 0xff, reserved_bytes);
		is_refused(whole_bytes, &cpu_ns);
		memset(bytes + section->offset, 0, reserved_bytes);
		is_refused(whole_bytes, &cpu_ns);
		memcpy(bytes + section->offset, whole + section->offset, reserved_bytes);
	}
}
END_TEST

/* --- damage with a name --- */

static void *item(enum sp_section_kind kind, uint64_t index)
{
	const struct sp_section *section = &header_of(bytes)->sections[kind];

	return bytes + section->offset + index * section->item_bytes;
}

static void damage_magic(void)
{
	bytes[0] = 'S';
}

static void damage_version(void)
{
	header_of(bytes)->layout_version++;
}

static void damage_header_size(void)
{
	header_of(bytes)->header_bytes -= 8;
}

static void damage_storage_limit(void)
{
	header_of(bytes)->storage_bytes_max = UINT64_MAX;
}

static void damage_total(void)
{
	header_of(bytes)->total_bytes += 4096;
}

static void damage_used(void)
{
	struct sp_section *section = &header_of(bytes)->sections[SP_SECTION_NODES];

	atomic_store(&section->used_items, atomic_load(&section->reserved_items) + 1);
}

/* Each within its capacity, but more than all may have: asks for memory only. */
static void damage_reserved(void)
{
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		struct sp_section *section = &header_of(bytes)->sections[kind];

		atomic_store(&section->reserved_items, section->capacity_items);
	}
}

static void damage_period(void)
{
	header_of(bytes)->cpu_period_ns = 0;
	header_of(bytes)->heap_rate_bytes = 0;
}

static void damage_node(void)
{
	((struct sp_node *)item(SP_SECTION_NODES, 3))->parent = 3;
}

static void damage_first_node(void)
{
	((struct sp_node *)item(SP_SECTION_NODES, 1))->frame++;
}

static void damage_cell(void)
{
	((struct sp_cell *)item(SP_SECTION_CELLS, 1))->node = 1U << 30;
}

static void damage_ring(void)
{
	struct sp_ring *ring = item(SP_SECTION_RINGS_LARGE, 0);

	atomic_store(&ring->head, atomic_load(&ring->tail) + ring->capacity_bytes + 8);
}

static void damage_small_ring(void)
{
	((struct sp_ring *)item(SP_SECTION_RINGS_SMALL, 0))->capacity_bytes *= 2;
}

static void damage_strings(void)
{
	uint64_t used =
		atomic_load(&header_of(bytes)->sections[SP_SECTION_STRINGS].used_items);

	*(char *)item(SP_SECTION_STRINGS, used - 1) = 'x';
}

static void damage_journal_count(void)
{
	atomic_store(&header_of(bytes)->journal.count, SP_JOURNAL_WRITES_MAX + 1);
}

static void damage_journal_offset(void)
{
	header_of(bytes)->journal.writes[0].offset = whole_bytes;
}

static void damage_journal_alignment(void)
{
	header_of(bytes)->journal.writes[0].offset += 4;
}

static void damage_journal_target(void)
{
	header_of(bytes)->journal.writes[0].offset =
		offsetof(struct sp_recording_header, sections);
}

/* Both offsets are fine; what they would write is not. */
static void damage_node_by_journal(void)
{
	struct sp_journal *journal = &header_of(bytes)->journal;

	journal->writes[0].offset =
		header_of(bytes)->sections[SP_SECTION_NODES].offset + 3 * 16 + 8;
	journal->writes[0].value = UINT32_MAX;
}

static void damage_ring_by_journal(void)
{
	struct sp_journal *journal = &header_of(bytes)->journal;

	journal->writes[0].offset =
		header_of(bytes)->sections[SP_SECTION_RINGS_LARGE].offset;
	journal->writes[0].value = UINT64_C(1) << 40;
}

static const struct {
	void (*damage)(void);
	const char *words;
} named[] = {
	{damage_magic, "not a spanprof recording"},
	{damage_version, "another version"},
	{damage_header_size, "another version"},
	{damage_storage_limit, "size makes no sense"},
	{damage_total, "does not fit its layout"},
	{damage_used, "section table"},
	{damage_reserved, "more than its storage"},
	{damage_period, "no period"},
	{damage_node, "loop"},
	{damage_first_node, "begins wrong"},
	{damage_cell, "without its stack"},
	{damage_ring, "ring"},
	{damage_small_ring, "ring"},
	{damage_strings, "strings"},
	{damage_journal_count, "journal is wrong"},
	{damage_journal_offset, "journal points astray"},
	{damage_journal_alignment, "journal points astray"},
	{damage_journal_target, "journal points astray"},
	{damage_node_by_journal, "loop"},
	{damage_ring_by_journal, "ring"},
};

START_TEST(damage_is_called_by_its_name)
{
	const char *words;

	named[_i].damage();
	words = why_refused();
	ck_assert_msg(strstr(words, named[_i].words) != NULL, "\"%s\" lacks \"%s\"",
		      words, named[_i].words);
}
END_TEST

/* Sums that cannot be are found when all is drained. */
START_TEST(absurd_sums_are_refused)
{
	static const uint64_t values[] = {UINT64_MAX, UINT64_MAX / 2, UINT64_C(1) << 62,
					  UINT64_C(1) << 40};
	struct sp_cell *cell = item(SP_SECTION_CELLS, 1);
	uint64_t cpu_ns;

	for (unsigned int i = 0; i < SP_ARRAY_COUNT(values); i++) {
		atomic_store(&cell->values[1], values[i]);
		ck_assert(is_refused(whole_bytes, &cpu_ns));
	}
	atomic_store(&cell->values[1], 1);
	ck_assert(!is_refused(whole_bytes, &cpu_ns));
}
END_TEST

/* All zero but for its length: a table that would take years to index. */
START_TEST(huge_repeating_table_is_refused_at_once)
{
	struct sp_section *section = &header_of(bytes)->sections[SP_SECTION_NODES];
	struct sp_section *cells = &header_of(bytes)->sections[SP_SECTION_CELLS];
	uint64_t cpu_ns;

	atomic_store(&section->reserved_items, section->capacity_items);
	atomic_store(&section->used_items, section->capacity_items);
	atomic_store(&cells->reserved_items, 680);
	ck_assert(is_refused(whole_bytes, &cpu_ns));
}
END_TEST

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

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup_sound_recording, teardown);
	tcase_add_test(tc, recording_cut_off_anywhere_is_refused);
	tcase_add_test(tc, file_cut_off_is_refused_too);
	tcase_add_test(tc, header_with_any_odd_word_does_no_harm);
	tcase_add_test(tc, random_damage_does_no_harm);
	tcase_add_test(tc, whole_sections_of_noise_do_no_harm);
	tcase_add_loop_test(tc, damage_is_called_by_its_name, 0,
			    (int)SP_ARRAY_COUNT(named));
	tcase_add_test(tc, absurd_sums_are_refused);
	tcase_add_test(tc, huge_repeating_table_is_refused_at_once);
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
