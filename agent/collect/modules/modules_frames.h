/*
 * Makes the unwind data of a module ready for the handler. Context of everything
 * here: collector.
 */
#ifndef MODULES_FRAMES_H
#define MODULES_FRAMES_H

#include "modules_elf.h"
#include "sp_unwind.h"

#define SP_FRAMES_AREAS_MAX 6

/* Private memory that a module's unwind data point into. */
struct sp_frames_areas {
	uint32_t count;
	struct {
		void *pages;
		size_t size_bytes;
	} area[SP_FRAMES_AREAS_MAX];
	void *ahead; /* of the agent's heap; NULL: none */
};

/*
 * Sets the unwind data of module, whose base, text and is_permanent are set: in place
 * for a permanent one, else copies. Where there is no search table, or .debug_frame in
 * the file at path is needed, a sorted one is built. A module without any data keeps
 * none. 0, or, with none kept: -ENOMEM, or -EFAULT when they cannot be read, as they are
 * damaged or the module is not there yet, or no more.
 */
int sp_frames_prepare(const struct sp_elf_image *image, const char *path,
		      struct sp_unwind_module *module, struct sp_frames_areas *areas);

void sp_frames_release(struct sp_frames_areas *areas);

#endif
