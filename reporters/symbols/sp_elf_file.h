/*
 * Reading an ELF file that may be damaged, truncated or shrinking under us. It
 * is never mapped (a page past a shrunken end would be SIGBUS in the host):
 * every byte comes through pread() into memory of our own, at an offset checked
 * against the size found at opening, and a short read is an ordinary failure.
 * x86-64 files only; anything else is refused.
 *
 * Context of everything here: collector.
 */
#ifndef SP_ELF_FILE_H
#define SP_ELF_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_ELF_CODE_RANGES_MAX 64
#define SP_ELF_SEGMENTS_MAX 64
#define SP_ELF_BUILD_ID_BYTES_MAX 32
#define SP_ELF_DEBUG_LINK_BYTES 256

/* Both ends are ELF virtual addresses. */
struct sp_elf_range {
	uint64_t start, end;
};

/* Where a stretch of virtual addresses lies in the file. */
struct sp_elf_segment {
	uint64_t address, offset, size_bytes;
};

/* A symbol table and its names; symbol_count 0 when the file has none. */
struct sp_elf_table {
	uint64_t symbols_offset, symbol_count;
	uint64_t strings_offset, strings_bytes;
	char *kept_strings; /* all of them in memory, or NULL */
};

struct sp_elf_file {
	int fd; /* -1: closed */
	/* Where the image begins in fd; not 0 only in memory. */
	uint64_t image_offset;
	uint64_t size_bytes;
	struct sp_elf_table symtab, dynsym;
	/* Executable sections: what a symbol of a function must lie in. */
	struct sp_elf_range code[SP_ELF_CODE_RANGES_MAX];
	uint32_t code_count;
	struct sp_elf_segment segments[SP_ELF_SEGMENTS_MAX];
	uint32_t segment_count;
	struct sp_elf_segment eh_frame_hdr; /* size_bytes 0: none */
	uint8_t build_id[SP_ELF_BUILD_ID_BYTES_MAX];
	uint32_t build_id_bytes;
	char debug_link[SP_ELF_DEBUG_LINK_BYTES]; /* "" : none */
	uint32_t debug_link_crc;
};

/*
 * A part of the file kept in memory, so that neighbouring reads cost one system
 * call. It holds one buffer from sp_heap until it is closed.
 */
struct sp_elf_window {
	const struct sp_elf_file *file;
	uint8_t *bytes;
	size_t capacity_bytes;
	uint64_t start;
	size_t length_bytes;
};

/*
 * 0, or -errno (-ENOEXEC: no ELF file for this machine, -EINVAL: no regular file,
 * -ENOMEM). A file whose tables are damaged opens, with those parts left out.
 * After a failure there is nothing to close.
 */
int sp_elf_open(struct sp_elf_file *file, const char *path);

/* The same for what this process runs, also if its file was removed. */
int sp_elf_open_program(struct sp_elf_file *file);

/* The same for a whole file in this process's memory (the vDSO), which is read through
 * sp_process_open("mem"). */
int sp_elf_open_memory(struct sp_elf_file *file, uint64_t address, uint64_t size_bytes);

/*
 * The same for a library as the loader has mapped it, from its first byte on: .dynsym,
 * code, build id and .eh_frame_hdr, which are all that is in memory.
 */
int sp_elf_open_image(struct sp_elf_file *file, uint64_t address);

void sp_elf_close(struct sp_elf_file *file);

/* Bytes read, fewer at the end of the file, or -errno. */
long sp_elf_read(const struct sp_elf_file *file, uint64_t offset, void *bytes,
		 size_t size_bytes);

/* Offset in the file of size_bytes bytes at an address; false when not in the file. */
bool sp_elf_locate(const struct sp_elf_file *file, uint64_t address, uint64_t size_bytes,
		   uint64_t *offset);

bool sp_elf_has_build_id(const struct sp_elf_file *file, const uint8_t *build_id,
			 uint32_t build_id_bytes);

/* Are its headers those of that sp_elf_fingerprint(), of a module without a build id? */
bool sp_elf_has_fingerprint(const struct sp_elf_file *file, uint64_t fingerprint);

/* The executable section around an address, or NULL. */
const struct sp_elf_range *sp_elf_code_around(const struct sp_elf_file *file,
					      uint64_t address);

/*
 * Reads all names of a table at once if they are few enough for the number of names that
 * will be asked for, which saves a system call for each of these; without memory for it,
 * names are read one by one.
 */
void sp_elf_keep_names(const struct sp_elf_file *file, struct sp_elf_table *table,
		       size_t wanted_names);

/*
 * Name at an offset of a table's strings, cut at name_bytes - 1 and ended by
 * NUL. false when the offset is outside the strings, the name is empty or it
 * has no end within the strings.
 */
bool sp_elf_read_name(const struct sp_elf_file *file, const struct sp_elf_table *table,
		      uint64_t name_offset, char *name, size_t name_bytes);

/* For those that open. The descriptor alone; an Elf64_Ehdr of this machine's; the first
 * build id among notes, if there is none yet. */
int sp_elf_open_own_memory(struct sp_elf_file *file, uint64_t address,
			   uint64_t size_bytes);
bool sp_elf_is_ours(const void *header);
void sp_elf_read_build_id(struct sp_elf_file *file, struct sp_elf_window *window,
			  uint64_t offset, uint64_t size_bytes);

int sp_elf_window_open(struct sp_elf_window *window, const struct sp_elf_file *file,
		       size_t capacity_bytes);
void sp_elf_window_close(struct sp_elf_window *window);

/* size_bytes bytes at offset, good until the next call; NULL when not there. */
const void *sp_elf_window_at(struct sp_elf_window *window, uint64_t offset,
			     size_t size_bytes);

#endif
