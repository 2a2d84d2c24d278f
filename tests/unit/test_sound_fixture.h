/*
 * A sound recording with something in every table: its file, the file's bytes, and a
 * copy of them to be damaged.
 */
#ifndef TEST_SOUND_FIXTURE_H
#define TEST_SOUND_FIXTURE_H

#include "test_heap_fixture.h"
#include "test_span_fixture.h"

#include <check.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

static char folder[64];
static char path[PATH_MAX];
static unsigned char *whole; /* as the file is */
static size_t whole_bytes;
static unsigned char *bytes; /* a copy to be damaged */
static uint64_t whole_cpu_ns;
static uint64_t stored_bytes; /* up to the last byte that has storage */

static inline void read_whole(void)
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
static inline void write_something(struct sp_recording *recording)
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
	test_spans_begin(recording);
	ck_assert_int_eq(test_spans_fill(recording), 0);
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

static inline void find_stored_bytes(const struct sp_recording *recording)
{
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		const struct sp_section *section = &recording->header->sections[kind];

		stored_bytes =
			section->offset +
			sp_atomic_value(&section->reserved_items) * section->item_bytes;
	}
}

static inline void setup_sound_recording(void)
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

static inline void teardown(void)
{
	free(whole);
	free(bytes);
	test_remove_folder(folder);
}

#endif
