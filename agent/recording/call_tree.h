/*
 * The stack table and the aggregates: nodes of a call tree and cells, found through
 * private hash indexes. Context: signal, consumer lock held.
 */
#ifndef SP_CALL_TREE_H
#define SP_CALL_TREE_H

#include "sp_absorb.h"

#define SP_NODE_NONE UINT32_MAX
#define SP_CELL_NONE UINT32_MAX

/* Index (re)built from the recording. 0 or -ENOMEM. */
int sp_call_tree_build(struct sp_absorber *absorber);
void sp_call_tree_free(struct sp_absorber *absorber);

/* The node of a stack given leaf first, or SP_NODE_NONE when the table is full. */
uint32_t sp_call_tree_intern(struct sp_absorber *absorber, const uint64_t *frames,
			     uint32_t frame_count);

/* The cell of that key, or SP_CELL_NONE when the table is full. */
uint32_t sp_call_tree_cell(struct sp_absorber *absorber, const struct sp_cell *key);

#endif
