/*
 * What a search of a module's import slots needs to know of its image.
 * Context of everything here: hook, collector.
 */
#ifndef GOT_IMAGE_H
#define GOT_IMAGE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_got_table {
	uint64_t address, count; /* Elf64_Rela[] */
};

/* Addresses; 0 where the module has no such table. */
struct sp_got_image {
	uint64_t start, end; /* all segments, in whole pages */
	uint64_t base;
	uint64_t relro_start, relro_end; /* pages that the loader has made read-only */
	uint64_t dynamic;
	uint64_t symbols, strings, strings_bytes;
	uint64_t versions, needs, definitions;
	struct sp_got_table plt, other;
	bool is_symbolic; /* looks names up in itself first */
};

/*
 * Reads the headers of what is mapped at start. 0, -ENOEXEC when it is nothing that
 * imports functions, -EFAULT when it is being unmapped.
 */
int sp_got_image_read(uint64_t start, struct sp_got_image *image);

/* Guarded; false also for what is not in the image. */
bool sp_got_image_bytes(const struct sp_got_image *image, uint64_t address, void *buffer,
			size_t size_bytes);

static inline bool sp_got_image_holds(const struct sp_got_image *image, uint64_t address)
{
	return address >= image->start && address < image->end;
}

/*
 * The version that the module asks for, or gives, with the symbol of that index. Only
 * of a module that stays loaded: the string is its own. NULL: none.
 */
const char *sp_got_image_version(const struct sp_got_image *image, uint32_t index);

#endif
