/*
 * Which objects the program was started with. Context: collector.
 */
#ifndef MODULES_STARTUP_H
#define MODULES_STARTUP_H

#include "modules_elf.h"

struct sp_startup_object {
	const struct sp_elf_image *image;
	const char *path;
	bool is_root;	 /* certainly there for good, whoever needs it */
	bool is_startup; /* out */
};

/*
 * Marks the roots and what they need, directly or not (DT_NEEDED): the loader
 * never unloads those. A name that fits two objects marks neither. Short of memory,
 * only roots are marked.
 */
void sp_startup_mark(struct sp_startup_object *objects, uint32_t count);

#endif
