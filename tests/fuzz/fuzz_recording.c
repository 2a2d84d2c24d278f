/*
 * libFuzzer target: a damaged recording, opened, drained and read as a profile.
 *
 * The first byte chooses: the bytes are the recording itself; or they are edits of
 * a sound one, {place, value} for a table and an item in it or anywhere in the
 * header. From nothing it would take for ever to get past the header.
 */
#include "../unit/test_heap_fixture.h"
#include "../unit/test_span_fixture.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static unsigned char *whole, *bytes;
static size_t whole_bytes;

/* Of an edit: where, and what to put there. */
struct edit {
	uint8_t table; /* a section's number, or the header */
	uint8_t width; /* 1, 2, 4 or 8 bytes */
	uint16_t item;
	uint16_t offset; /* in the item */
	uint64_t value;
} __attribute__((packed));

static void produce(struct sp_recording *recording)
{
	struct sp_module_record module = {.base = 4096, .build_id_bytes = 20};
	struct sp_journal *journal = &recording->header->journal;
	struct sp_slot *live = test_thread(recording, 1, true);
	struct sp_slot *ended = test_thread(recording, 2, true);

	test_heap_begin(recording);
	sp_recording_add_module(recording, &module, "/lib/fuzzed");
	for (uint32_t i = 0; i < 40; i++)
		test_produce(test_ring_of(recording, live), i, 1, TEST_END_OUTERMOST);
	test_spans_begin(recording);
	if (test_drain(recording) != 0 || test_heap_fill(recording) != 0 ||
	    test_spans_fill(recording) != 0)
		abort();
	for (uint32_t i = 0; i < 20; i++) {
		test_produce(test_ring_of(recording, live), i, 2, TEST_END_SHORT);
		test_produce(test_ring_of(recording, ended), i, 1, TEST_END_FULL);
	}
	atomic_store(&live->lost_periods, 3);
	test_thread_end(ended, 1000000);
	/* A change that is still to be carried out: of two words of a node. */
	journal->writes[0].offset =
		recording->header->sections[SP_SECTION_NODES].offset + 2 * 16;
	journal->writes[0].value = test_node(recording, 2)->frame;
	journal->writes[1].offset = journal->writes[0].offset + 8;
	memcpy(&journal->writes[1].value, &test_node(recording, 2)->parent, 8);
	atomic_store(&journal->count, 2);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct sp_recording recording;

	(void)argc;
	(void)argv;
	/* Anonymous: of a file there is no need. */
	if (test_recording_make(&recording, "/proc/nonexistent",
				SP_RECORDING_BYTES_MIN) != 0)
		abort();
	produce(&recording);
	whole_bytes = recording.mapped_bytes;
	whole = malloc(whole_bytes);
	bytes = malloc(whole_bytes);
	if (!whole || !bytes)
		abort();
	memcpy(whole, recording.header, whole_bytes);
	memcpy(bytes, whole, whole_bytes);
	sp_recording_detach(&recording);
	return 0;
}

static void examine(const void *memory, size_t size_bytes)
{
	struct sp_recording recording;
	char error[256] = "";
	uint64_t cpu_ns;
	int err = sp_recording_open_memory(&recording, memory, size_bytes, error,
					   sizeof(error));

	if (err) {
		if (!*error)
			abort();
		return;
	}
	err = test_examine(&recording, &cpu_ns);
	if (!err)
		err = test_heap_examine(&recording);
	if (!err)
		err = test_spans_examine(&recording);
	if (err == -1)
		abort();
	sp_recording_close(&recording);
}

/* The place of an edit; SIZE_MAX when there is none. */
static size_t place_of(const struct edit *edit)
{
	const struct sp_recording_header *header = (const void *)whole;
	unsigned int kind = edit->table % (SP_SECTION_COUNT + 1);
	const struct sp_section *section = &header->sections[kind % SP_SECTION_COUNT];
	uint64_t reserved = sp_atomic_value(&section->reserved_items);

	if (kind == SP_SECTION_COUNT)
		return (edit->item * UINT64_C(8) + edit->offset % 8) % sizeof(*header);
	/* A section may have no storage yet. */
	return section->offset +
	       (reserved ? edit->item % reserved : 0) * section->item_bytes +
	       edit->offset % section->item_bytes;
}

static size_t apply(const struct edit *edit, unsigned char *from)
{
	size_t at = place_of(edit);
	size_t width = (size_t)1 << edit->width % 4;

	if (at + width > whole_bytes)
		return SIZE_MAX;
	memcpy(bytes + at, from, width);
	return at;
}

#define EDITS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	struct edit edits[EDITS_MAX];
	size_t count;

	if (!size_bytes)
		return 0;
	if (data[0] & 1) {
		examine(data + 1, size_bytes - 1);
		return 0;
	}
	count = (size_bytes - 1) / sizeof(edits[0]);
	if (count > EDITS_MAX)
		count = EDITS_MAX;
	memcpy(edits, data + 1, count * sizeof(edits[0]));
	for (size_t i = 0; i < count; i++)
		apply(&edits[i], (unsigned char *)&edits[i].value);
	examine(bytes, whole_bytes);
	/* What it was before, wherever an edit has been. */
	for (size_t i = 0; i < count; i++) {
		size_t at = place_of(&edits[i]);

		if (at + 8 <= whole_bytes)
			memcpy(bytes + at, whole + at, 8);
		else
			memcpy(bytes + at, whole + at, whole_bytes - at);
	}
	return 0;
}
