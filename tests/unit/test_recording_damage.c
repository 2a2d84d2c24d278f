/*
 * Recordings that are damaged or cut off: each is refused with one clear line, or read
 * to the end; nothing else happens.
 */
#include "test_sound_fixture.h"

#include <stddef.h>

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
	if (!err) {
		ck_assert_int_eq(test_heap_examine(&recording), 0);
		ck_assert_int_eq(test_spans_examine(&recording), 0);
	}
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
	((struct sp_ring *)item(SP_SECTION_RINGS_SMALL, 0))->capacity_bytes *= 2U;
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

int main(void)
{
	Suite *suite = suite_create("recording_damage");
	TCase *tc = tcase_create("recording_damage");
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
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
