/*
 * /proc/self/maps as an array. Context of everything here: collector.
 */
#ifndef MODULES_MAPS_H
#define MODULES_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_map {
	uint64_t start, end;
	uint64_t file_offset;
	uint64_t device, inode; /* inode 0: no file */
	bool is_readable, is_executable;
	uint32_t path; /* offset in sp_maps.paths */
};

struct sp_maps {
	struct sp_map *maps; /* by address, without overlaps */
	uint32_t count, capacity;
	char *paths; /* NUL-terminated, back to back; "" first */
	uint32_t paths_bytes, paths_capacity;
};

/*
 * Fills maps, which starts zeroed or was filled before and is then overwritten, with
 * the mappings of files, the vdso and whatever is executable, as they are told by
 * the file fd, which is closed; one that is negative is an error. The kernel tells the
 * file piece by piece while others map and unmap: what would not ascend is left out.
 * 0 or -errno; maps is then empty.
 */
int sp_maps_read(struct sp_maps *maps, int fd);

void sp_maps_free(struct sp_maps *maps);

/* The path of a mapping, without what the kernel adds when the file is deleted. */
static inline const char *sp_maps_path(const struct sp_maps *maps,
				       const struct sp_map *map)
{
	return maps->paths + map->path;
}

#endif
