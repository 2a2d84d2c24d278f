/*
 * Where the sections lie for a given size. Shared by the writer, which makes the
 * layout, and the reader, which refuses any other.
 */
#ifndef SP_RECORDING_LAYOUT_H
#define SP_RECORDING_LAYOUT_H

#include "sp_recording.h"

/* Bytes the header takes: whole pages. */
#define SP_HEADER_BYTES 8192U
_Static_assert(sizeof(struct sp_recording_header) <= SP_HEADER_BYTES,
	       "header fits its pages");

struct sp_layout {
	struct {
		uint64_t offset, item_bytes, capacity_items, first_items;
	} sections[SP_SECTION_COUNT];
	uint64_t total_bytes;
};

/* Context: signal. The one layout for storage_bytes_max. */
void sp_layout_compute(struct sp_layout *layout, uint64_t storage_bytes_max);

/* Context: signal. sp_recording_reserve() through a descriptor that is open already
 * (-1: none). */
int sp_recording_reserve_with(struct sp_recording *recording, enum sp_section_kind kind,
			      uint64_t items, int fd);

/* Context: signal. Makes the file of that path, which must not be there: a descriptor of
 * it, empty, or -errno. */
int sp_recording_create_file(struct sp_recording *recording);

/*
 * Context: signal. Where the kernel puts large pages behind shared memory, each section
 * would take one and more, however little is in it: the pages of a mapping stay small.
 * fd is the file's, of its whole size; -1: none.
 */
void sp_recording_keep_pages_small(struct sp_recording *recording, void *memory,
				   uint64_t size_bytes, int fd);

/* Context: signal. Storage of a file that is mapped at memory; 0 or -errno. */
int sp_recording_take_of_file(const struct sp_recording *recording, void *memory, int fd,
			      uint64_t offset, uint64_t size_bytes);

/* Context: signal. The process's limit on that, or UINT64_MAX. */
uint64_t sp_recording_limit(int resource);

/* Context: signal. How many addresses a recording may take: of a limited address space
 * the program keeps nearly all. */
uint64_t sp_recording_addresses_max(void);

/* Context: signal. Are some of its addresses another's by now? */
bool sp_recording_has_given_back(const struct sp_recording *recording);

/* Context: signal. Nobody touches what has no storage yet; but the program's mlockall()
 * would, which fills all that can be touched. */
void sp_recording_close_unused(const struct sp_recording *recording);

#endif
