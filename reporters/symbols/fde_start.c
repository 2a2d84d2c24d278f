/*
 * Reads .eh_frame_hdr and, for the entries that are hit, the length of the code
 * they describe from .eh_frame. Runs on the reporter thread. Invariant: every
 * entry is read through the segments' bounds; an entry that makes no sense covers
 * nothing.
 */
#include "sp_fde_start.h"

#include <errno.h>
#include <string.h>

#define INDEX_WINDOW_BYTES ((size_t)65536)
/* Entries that are asked for are rarely neighbours. */
#define FRAME_WINDOW_BYTES ((size_t)512)
#define CIE_WINDOW_BYTES ((size_t)512)

/* Pointer encodings of DWARF in the LSB's .eh_frame. */
#define ENCODING_FORMAT 0x0f
#define ENCODING_ABSOLUTE 0x00
#define ENCODING_UDATA2 0x02
#define ENCODING_UDATA4 0x03
#define ENCODING_UDATA8 0x04
#define ENCODING_SDATA2 0x0a
#define ENCODING_SDATA4 0x0b
#define ENCODING_SDATA8 0x0c
#define ENCODING_OMITTED 0xff
/* Signed 4 bytes, relative to the section: all that linkers write. */
#define ENCODING_INDEX 0x3b

#define CIE_HEAD_BYTES 64
#define FDE_HEAD_BYTES 8
#define LENGTH_IS_64_BIT UINT32_C(0xffffffff)

struct index_entry {
	int32_t start, entry; /* both relative to .eh_frame_hdr */
};
#define INDEX_WINDOW_ENTRIES (INDEX_WINDOW_BYTES / sizeof(struct index_entry))

struct reader {
	const struct sp_elf_file *file;
	struct sp_elf_window index, frames, cies;
	uint64_t table_offset; /* of the first entry, in the file */
	uint64_t entry_count;
	uint64_t cie_offset; /* whose encoding is kept */
	uint8_t cie_encoding;
};

static size_t encoded_bytes(uint8_t encoding)
{
	switch (encoding & ENCODING_FORMAT) {
	case ENCODING_UDATA2:
	case ENCODING_SDATA2:
		return 2;
	case ENCODING_UDATA4:
	case ENCODING_SDATA4:
		return 4;
	case ENCODING_ABSOLUTE:
	case ENCODING_UDATA8:
	case ENCODING_SDATA8:
		return 8;
	default:
		return 0;
	}
}

/* Skips a LEB128 number; position past the end when there is no end. */
static size_t skip_leb128(const uint8_t *bytes, size_t at, size_t length)
{
	while (at < length && (bytes[at] & 0x80))
		at++;
	return at + 1;
}

/* How a CIE's entries write addresses, out of its head; ENCODING_OMITTED if unclear. */
static uint8_t parse_cie(const uint8_t *bytes, size_t length)
{
	size_t at = 9, augmentation = 9;

	/* length, id 0, version 1 (or 3), augmentation string, code and data
	 * alignment, return address column, then the string's data in order */
	if (length < 10 || (bytes[8] != 1 && bytes[8] != 3))
		return ENCODING_OMITTED;
	while (at < length && bytes[at] != 0)
		at++;
	at++;
	if (bytes[augmentation] == 0)
		return ENCODING_ABSOLUTE;
	if (bytes[augmentation] != 'z')
		return ENCODING_OMITTED;
	at = skip_leb128(bytes, at, length);
	at = skip_leb128(bytes, at, length);
	at = bytes[8] == 1 ? at + 1 : skip_leb128(bytes, at, length);
	at = skip_leb128(bytes, at, length); /* size of the data */
	for (augmentation++; augmentation < length && bytes[augmentation] != 0;
	     augmentation++) {
		if (at >= length)
			return ENCODING_OMITTED;
		switch (bytes[augmentation]) {
		case 'R':
			return bytes[at];
		case 'P':
			if (encoded_bytes(bytes[at]) == 0)
				return ENCODING_OMITTED;
			at += 1 + encoded_bytes(bytes[at]);
			break;
		case 'L':
			at++;
			break;
		case 'S':
		case 'B':
			break;
		default:
			return ENCODING_OMITTED;
		}
	}
	return ENCODING_ABSOLUTE;
}

static uint8_t cie_encoding_at(struct reader *reader, uint64_t offset)
{
	const uint8_t *bytes;
	size_t length = CIE_HEAD_BYTES;

	if (reader->cie_offset == offset)
		return reader->cie_encoding;
	bytes = sp_elf_window_at(&reader->cies, offset, length);
	while (!bytes && length > 16) {
		/* Near the end of the file: as much as there is. */
		length /= 2;
		bytes = sp_elf_window_at(&reader->cies, offset, length);
	}
	reader->cie_offset = offset;
	reader->cie_encoding = bytes ? parse_cie(bytes, length) : ENCODING_OMITTED;
	return reader->cie_encoding;
}

/* Bytes of code that the entry at an address describes; 0 when unclear. */
static uint64_t code_bytes_of(struct reader *reader, uint64_t entry_address)
{
	uint64_t offset, code_bytes = 0;
	uint32_t length, cie_distance;
	const uint8_t *bytes;
	uint8_t encoding;
	size_t width;

	if (!sp_elf_locate(reader->file, entry_address, FDE_HEAD_BYTES, &offset))
		return 0;
	bytes = sp_elf_window_at(&reader->frames, offset, FDE_HEAD_BYTES);
	if (!bytes)
		return 0;
	memcpy(&length, bytes, sizeof(length));
	memcpy(&cie_distance, bytes + 4, sizeof(cie_distance));
	if (length == LENGTH_IS_64_BIT || cie_distance == 0 || cie_distance > offset + 4)
		return 0;
	encoding = cie_encoding_at(reader, offset + 4 - cie_distance);
	width = encoding == ENCODING_OMITTED ? 0 : encoded_bytes(encoding);
	if (width == 0 || length < 4 + 2 * width)
		return 0;
	bytes = sp_elf_window_at(&reader->frames, offset + FDE_HEAD_BYTES + width, width);
	if (!bytes)
		return 0;
	memcpy(&code_bytes, bytes, width); /* little-endian, and never negative */
	return code_bytes;
}

static bool read_index_head(struct reader *reader)
{
	const struct sp_elf_segment *header = &reader->file->eh_frame_hdr;
	const uint8_t *bytes;
	size_t head_bytes;
	uint32_t entry_count;

	bytes = sp_elf_window_at(&reader->index, header->offset, 4);
	if (header->size_bytes < 4 || !bytes || bytes[0] != 1 ||
	    bytes[1] == ENCODING_OMITTED ||
	    (bytes[2] & ENCODING_FORMAT) != ENCODING_UDATA4 ||
	    bytes[3] != ENCODING_INDEX || encoded_bytes(bytes[1]) == 0)
		return false;
	head_bytes = 4 + encoded_bytes(bytes[1]) + sizeof(entry_count);
	bytes = sp_elf_window_at(&reader->index, header->offset, head_bytes);
	if (header->size_bytes < head_bytes || !bytes)
		return false;
	memcpy(&entry_count, bytes + head_bytes - sizeof(entry_count),
	       sizeof(entry_count));
	reader->table_offset = header->offset + head_bytes;
	reader->entry_count =
		(header->size_bytes - head_bytes) / sizeof(struct index_entry);
	if (entry_count < reader->entry_count)
		reader->entry_count = entry_count;
	return true;
}

/* Entry number i of those at bytes. */
static struct index_entry entry_of(const uint8_t *bytes, uint64_t i)
{
	struct index_entry entry;

	memcpy(&entry, bytes + i * sizeof(entry), sizeof(entry));
	return entry;
}

/*
 * Goes on from entry number *at, past all that start at or below address; they are in
 * order. The last of them, if there is one, is put into last. false: it cannot be read.
 */
static bool pass_entries(struct reader *reader, uint64_t address, uint64_t *at,
			 struct index_entry *last)
{
	const uint64_t base = reader->file->eh_frame_hdr.address;

	while (*at < reader->entry_count) {
		uint64_t first = *at - *at % INDEX_WINDOW_ENTRIES;
		uint64_t count = reader->entry_count - first;
		uint64_t low = *at - first, high;
		const uint8_t *bytes;

		if (count > INDEX_WINDOW_ENTRIES)
			count = INDEX_WINDOW_ENTRIES;
		bytes = sp_elf_window_at(&reader->index,
					 reader->table_offset +
						 first * sizeof(struct index_entry),
					 (size_t)count * sizeof(struct index_entry));
		if (!bytes)
			return false;
		for (high = count; low < high;) {
			/* The last one first: addresses are few, entries many. */
			uint64_t middle =
				high == count ? count - 1 : low + (high - low) / 2;
			struct index_entry entry = entry_of(bytes, middle);

			if (base + (uint64_t)(int64_t)entry.start <= address)
				low = middle + 1;
			else
				high = middle;
		}
		if (first + low > *at)
			*last = entry_of(bytes, low - 1);
		*at = first + low;
		if (low < count)
			break;
	}
	return true;
}

static void walk_index(struct reader *reader, const uint64_t *offsets,
		       const bool *is_wanted, size_t count, uint64_t *starts)
{
	const uint64_t base = reader->file->eh_frame_hdr.address;
	uint64_t start = SP_FDE_NONE, end = 0;
	uint64_t at = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t passed = at;
		struct index_entry last;

		if (!is_wanted[i])
			continue;
		if (!pass_entries(reader, offsets[i], &at, &last))
			return;
		if (at > passed) {
			uint64_t code_bytes = code_bytes_of(
				reader, base + (uint64_t)(int64_t)last.entry);

			start = base + (uint64_t)(int64_t)last.start;
			end = code_bytes > UINT64_MAX - start ? start
							      : start + code_bytes;
		}
		if (start != SP_FDE_NONE && offsets[i] < end)
			starts[i] = start;
	}
}

int sp_fde_find_starts(const struct sp_elf_file *file, const uint64_t *offsets,
		       const bool *is_wanted, size_t count, uint64_t *starts)
{
	struct reader reader = {.file = file, .cie_offset = UINT64_MAX};
	int err;

	for (size_t i = 0; i < count; i++)
		starts[i] = SP_FDE_NONE;
	if (file->eh_frame_hdr.size_bytes == 0)
		return 0;
	err = sp_elf_window_open(&reader.index, file, INDEX_WINDOW_BYTES);
	if (!err)
		err = sp_elf_window_open(&reader.frames, file, FRAME_WINDOW_BYTES);
	if (!err)
		err = sp_elf_window_open(&reader.cies, file, CIE_WINDOW_BYTES);
	if (!err && read_index_head(&reader))
		walk_index(&reader, offsets, is_wanted, count, starts);
	sp_elf_window_close(&reader.index);
	sp_elf_window_close(&reader.frames);
	sp_elf_window_close(&reader.cies);
	return err;
}
