/*
 * Where a stripped file's symbols went: the debug file named by its build id,
 * else the one named by .gnu_debuglink.
 *
 * Context of everything here: collector.
 */
#ifndef SP_DEBUG_FILE_H
#define SP_DEBUG_FILE_H

#include "sp_elf_file.h"

/* Everyone's place for separate debug files. */
#define SP_DEBUG_ROOT "/usr/lib/debug"

/* What is known of the file whose symbols are wanted. */
struct sp_debug_wanted {
	const char *path; /* of the stripped file */
	const uint8_t *build_id;
	uint32_t build_id_bytes;
	const char *link; /* from .gnu_debuglink, or "" */
	uint32_t link_crc;
};

/*
 * Opens the debug file; only one that carries the same build id is taken, or,
 * when the stripped file has none, the linked one with the right checksum. 0,
 * -ENOENT when there is none, or -errno.
 */
int sp_debug_file_open(struct sp_elf_file *file, const char *root,
		       const struct sp_debug_wanted *wanted);

#endif
