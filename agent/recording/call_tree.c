/*
 * Nodes and cells are appended to the recording: contents first, then the count
 * that publishes them; a kill in between leaves an item nobody knows, which the
 * next one overwrites. The hash indexes live in private memory, as they can be
 * rebuilt from the items at any time. Context: signal, consumer lock held.
 */
#include "call_tree.h"

#include "sp_frame.h"
#include "sp_pages.h"
#include "sp_recording_writer.h"

#include <errno.h>

#define FIRST_ENTRIES UINT64_C(4096)

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x = a * UINT64_C(0x9e3779b97f4a7c15) ^ (b + UINT64_C(0x7f4a7c159e3779b9));

	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	return x;
}

static struct sp_node *node_at(const struct sp_absorber *absorber, uint32_t index)
{
	return sp_recording_item(absorber->recording, SP_SECTION_NODES, index);
}

static struct sp_cell *cell_at(const struct sp_absorber *absorber, uint32_t index)
{
	return sp_recording_item(absorber->recording, SP_SECTION_CELLS, index);
}

static uint64_t node_hash(uint32_t parent, uint64_t frame)
{
	return mix(frame, parent);
}

static uint64_t cell_hash(enum sp_cell_kind kind, uint32_t node, uint32_t group, uint16_t mode)
{
	return mix((uint64_t)node << 32 | group, (uint64_t)kind << 16 | mode);
}

/* Entries hold item index + 1. */
static void index_put(struct sp_index *index, uint64_t hash, uint32_t item)
{
	uint64_t at = hash & (index->capacity_entries - 1);

	while (index->entries[at])
		at = (at + 1) & (index->capacity_entries - 1);
	index->entries[at] = item + 1;
	index->used_entries++;
}

static int index_init(struct sp_index *index, uint64_t items)
{
	uint64_t capacity = FIRST_ENTRIES;

	while (capacity < items * 4)
		capacity *= 2;
	index->entries = sp_pages_map(capacity * sizeof(uint32_t));
	if (!index->entries)
		return -ENOMEM;
	index->capacity_entries = capacity;
	index->used_entries = 0;
	return 0;
}

static void index_free(struct sp_index *index)
{
	sp_pages_unmap(index->entries, index->capacity_entries * sizeof(uint32_t));
	index->entries = NULL;
	index->capacity_entries = 0;
}

static int build_nodes(struct sp_absorber *absorber, struct sp_index *index)
{
	uint64_t used = sp_recording_used(absorber->recording, SP_SECTION_NODES);
	int err = index_init(index, used);

	if (err)
		return err;
	for (uint32_t i = 1; i < used; i++) {
		const struct sp_node *node = node_at(absorber, i);

		index_put(index, node_hash(node->parent, node->frame), i);
	}
	return 0;
}

static int build_cells(struct sp_absorber *absorber, struct sp_index *index)
{
	uint64_t used = sp_recording_used(absorber->recording, SP_SECTION_CELLS);
	int err = index_init(index, used);

	if (err)
		return err;
	for (uint32_t i = 0; i < used; i++) {
		const struct sp_cell *cell = cell_at(absorber, i);

		index_put(index,
			  cell_hash((enum sp_cell_kind)cell->kind, cell->node, cell->group,
				    cell->mode),
			  i);
	}
	return 0;
}

int sp_call_tree_build(struct sp_absorber *absorber)
{
	int err = build_nodes(absorber, &absorber->nodes);

	return err ? err : build_cells(absorber, &absorber->cells);
}

void sp_call_tree_free(struct sp_absorber *absorber)
{
	index_free(&absorber->nodes);
	index_free(&absorber->cells);
}

/* Half full: build a larger one beside it; if there is no memory, go on until full. */
static bool make_room(struct sp_absorber *absorber, struct sp_index *index,
		      int (*build)(struct sp_absorber *, struct sp_index *))
{
	struct sp_index larger;

	if (index->used_entries * 2 < index->capacity_entries)
		return true;
	if (build(absorber, &larger) == 0) {
		index_free(index);
		*index = larger;
		return true;
	}
	return index->used_entries + 1 < index->capacity_entries;
}

/* Storage for one more item, and its index; SP_NODE_NONE when there is none. */
static uint32_t next_item(struct sp_absorber *absorber, enum sp_section_kind kind)
{
	uint64_t used = sp_recording_used(absorber->recording, kind);

	if (used >= sp_recording_reserved(absorber->recording, kind) &&
	    sp_recording_reserve(absorber->recording, kind, used + 1) != 0)
		return UINT32_MAX;
	return (uint32_t)used;
}

static void publish_item(struct sp_absorber *absorber, enum sp_section_kind kind, uint32_t item)
{
	/* Pairs with sp_recording_used(): contents before count. */
	atomic_store_explicit(&absorber->recording->header->sections[kind].used_items,
			      (uint64_t)item + 1, memory_order_release);
}

static uint32_t find_or_add_node(struct sp_absorber *absorber, uint32_t parent, uint64_t frame)
{
	struct sp_index *index = &absorber->nodes;
	uint64_t hash = node_hash(parent, frame);
	struct sp_node *node;
	uint32_t item;

	for (uint64_t at = hash & (index->capacity_entries - 1); index->entries[at];
	     at = (at + 1) & (index->capacity_entries - 1)) {
		node = node_at(absorber, index->entries[at] - 1);
		if (node->frame == frame && node->parent == parent)
			return index->entries[at] - 1;
	}
	if (!make_room(absorber, index, build_nodes))
		return SP_NODE_NONE;
	item = next_item(absorber, SP_SECTION_NODES);
	if (item == UINT32_MAX)
		return SP_NODE_NONE;
	node = node_at(absorber, item);
	node->frame = frame;
	node->parent = parent;
	node->depth_frames = node_at(absorber, parent)->depth_frames + 1;
	publish_item(absorber, SP_SECTION_NODES, item);
	index_put(index, hash, item);
	return item;
}

uint32_t sp_call_tree_intern(struct sp_absorber *absorber, const uint64_t *frames,
			     uint32_t frame_count)
{
	uint32_t node = 0;

	while (frame_count && node != SP_NODE_NONE)
		node = find_or_add_node(absorber, node, frames[--frame_count]);
	return node;
}

uint32_t sp_call_tree_cell(struct sp_absorber *absorber, enum sp_cell_kind kind, uint32_t node,
			   uint32_t group, uint16_t mode)
{
	struct sp_index *index = &absorber->cells;
	uint64_t hash = cell_hash(kind, node, group, mode);
	struct sp_cell *cell;
	uint32_t item;

	for (uint64_t at = hash & (index->capacity_entries - 1); index->entries[at];
	     at = (at + 1) & (index->capacity_entries - 1)) {
		cell = cell_at(absorber, index->entries[at] - 1);
		if (cell->node == node && cell->group == group && cell->kind == kind &&
		    cell->mode == mode)
			return index->entries[at] - 1;
	}
	if (!make_room(absorber, index, build_cells))
		return SP_CELL_NONE;
	item = next_item(absorber, SP_SECTION_CELLS);
	if (item == UINT32_MAX)
		return SP_CELL_NONE;
	cell = cell_at(absorber, item);
	cell->node = node;
	cell->kind = (uint16_t)kind;
	cell->mode = mode;
	cell->group = group;
	cell->labels = 0;
	for (unsigned int i = 0; i < SP_CELL_VALUES; i++)
		atomic_store_explicit(&cell->values[i], 0, memory_order_relaxed);
	publish_item(absorber, SP_SECTION_CELLS, item);
	index_put(index, hash, item);
	return item;
}
