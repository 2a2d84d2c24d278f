/*
 * What the ELF headers of a loaded object say, read from the memory of the process
 * itself: its file may be gone or may be another by now. Context of everything
 * here: collector.
 */
#ifndef MODULES_ELF_H
#define MODULES_ELF_H

#include "modules_maps.h"
#include "sp_modules.h"

struct sp_elf_image {
	uint64_t start, end; /* all that the program headers ask for, in whole pages */
	uint64_t base;	     /* address - ELF virtual address; 0 in a fixed executable */
	/* The first executable segment, in whole pages. */
	uint64_t text_start, text_file_offset;
	uint64_t hdr_address, hdr_bytes;	   /* .eh_frame_hdr; 0: none */
	uint64_t eh_frame_address, eh_frame_bytes; /* to the end of its segment */
	uint64_t dynamic_address, dynamic_bytes;
	uint8_t build_id[SP_BUILD_ID_BYTES_MAX];
	uint32_t build_id_bytes;
	uint64_t fingerprint; /* sp_elf_fingerprint() */
};

/* Reads the headers at the start of a mapping. False when there are none that we
 * can use: not an x86-64 ELF object, or it changed meanwhile. */
bool sp_elf_read_image(const struct sp_map *first, struct sp_elf_image *image);

struct sp_elf_section {
	uint64_t address; /* ELF virtual address; 0: not loaded */
	uint64_t file_offset, size_bytes;
};

/*
 * Opens the file an image was loaded from, unless it is another one by now. A
 * descriptor that the caller closes, or -errno (-ESTALE: another file).
 */
int sp_elf_open_file(const char *path, const struct sp_elf_image *image);

/* Finds an uncompressed section by name. False when there is none. */
bool sp_elf_find_section(int fd, const char *name, struct sp_elf_section *section);

/* Reads all of it or fails. */
bool sp_elf_read_file(int fd, uint64_t offset, void *buffer, size_t size_bytes);

#endif
