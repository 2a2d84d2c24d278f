/*
 * Each different frame of a profile once, in order of module and offset, so that
 * names can be found in one pass over each module's symbols.
 *
 * Context of everything here: collector.
 */
#ifndef SP_FRAME_TABLE_H
#define SP_FRAME_TABLE_H

#include <stdbool.h>
#include <stdint.h>

struct sp_frame_table {
	uint64_t *frames;
	uint32_t count;
	uint32_t capacity_frames;
	uint32_t *slots; /* index + 1; twice as many as frames, a power of two */
};

void sp_frame_table_init(struct sp_frame_table *table);
void sp_frame_table_fini(struct sp_frame_table *table);

/* 0 or -ENOMEM. A frame that is there already stays as it is. */
int sp_frame_table_add(struct sp_frame_table *table, uint64_t frame);

/* Sorts frames; indexes keep their meaning until the next add. */
void sp_frame_table_sort(struct sp_frame_table *table);

/* Where in frames it is; false if nowhere. */
bool sp_frame_table_find(const struct sp_frame_table *table, uint64_t frame,
			 uint32_t *index);

#endif
