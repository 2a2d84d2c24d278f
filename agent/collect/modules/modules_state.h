/*
 * What the files of the module tracker share: the objects of the last scan, the modules
 * known by them, and what has been replaced. Context of everything here: collector (one
 * thread).
 */
#ifndef MODULES_STATE_H
#define MODULES_STATE_H

#include "modules_elf.h"
#include "modules_frames.h"
#include "modules_maps.h"
#include "sp_modules.h"
#include "sp_unwind.h"

#include <dlfcn.h>

/* A module; snapshots point to its mark, and hence it is released as they are. */
struct sp_tracked {
	struct sp_tracked *next;
	struct sp_unwind_module module; /* as in the last snapshot */
	struct sp_frames_areas areas;
	struct sp_elf_image image;
	uint64_t device, inode;
	_Atomic uint64_t mark; /* sp_unwind_module.mark */
	uint64_t mark_before;  /* what it was before the last scan read anything */
	bool is_seen;
	/* It is in the published snapshot, and the loader knows it: whoever unloads it
	 * finds it there. */
	bool is_watched;
	bool is_told; /* to whom wants to know what is loaded */
};

/* An object found in one scan. */
struct sp_found {
	const struct sp_map *map;
	struct sp_elf_image image;
	uint64_t text_end;
	bool is_text_readable;
	bool is_permanent;
	struct dl_find_object loader; /* dlfo_link_map NULL: unknown to the loader */
	struct sp_tracked *known;
};

struct sp_modules_retired;

struct sp_modules {
	sp_modules_announce announce;
	void *context;
	sp_modules_loaded loaded;   /* NULL: nobody wants to know */
	struct sp_tracked *tracked; /* by address */
	struct sp_modules_retired *retired, *waiting;
	struct sp_unwind_snapshot *published;
	struct sp_maps maps;
	struct sp_found *found; /* by address */
	uint32_t found_count, found_capacity;
	/* Objects of the last scan that found has no room for, and of how many somebody
	 * has been told. */
	uint32_t left_out_count, left_out_told;
	struct sp_unwind_range *code;
	uint32_t code_count;
	bool is_scanned; /* once at least */
	uint64_t closes; /* sp_unwind_closes before the last scan read anything */
};

/*
 * Publishes what the last scan comes to, if anything changed, and retires what is gone.
 * 0, -ENOMEM, or -EAGAIN: something was closed since the scan began, so that new modules
 * are believed after another one only.
 */
int sp_modules_publish(struct sp_modules *modules);

/* No snapshot uses it any more. */
void sp_tracked_free(struct sp_tracked *tracked);

#endif
