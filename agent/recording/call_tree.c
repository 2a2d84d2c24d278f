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
/* At most half full, an index of ours never comes near; a damaged file may try. */
#define PROBES_MAX 4096U

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x =
		a * UINT64_C(0x9e3779b97f4a7c15) ^ (b + UINT64_C(0x7f4a7c159e3779b9));

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

static uint64_t cell_hash(const struct sp_cell *cell)
{
	return mix((uint64_t)cell->node << 32 | cell->group,
		   (uint64_t)cell->labels << 32 | (uint64_t)cell->kind << 16 |
			   cell->mode);
}

static bool is_same_node(const struct sp_node *node, uint32_t parent, uint64_t frame)
{
	return node->frame == frame && node->parent == parent;
}

static bool is_same_cell(const struct sp_cell *a, const struct sp_cell *b)
{
	return a->node == b->node && a->group == b->group && a->kind == b->kind &&
	       a->mode == b->mode && a->labels == b->labels;
}

/* Where the search for a hash goes on, entry by entry. */
struct probe {
	const struct sp_index *index;
	uint64_t at;
	uint32_t steps;
};

static struct probe probe_begin(const struct sp_index *index, uint64_t hash)
{
	return (struct probe){index, hash & (index->capacity_entries - 1), 0};
}

/* The next item that the search meets; false at a free entry, or when it takes too long.
 */
static bool probe_next(struct probe *probe, uint32_t *item)
{
	uint32_t entry = probe->index->entries[probe->at];

	if (!entry || probe->steps > PROBES_MAX)
		return false;
	*item = entry - 1; /* entries hold item + 1; 0 = free */
	probe->at = (probe->at + 1) & (probe->index->capacity_entries - 1);
	probe->steps++;
	return true;
}

/* Where probe_next() ended; false when that is no free entry. */
static bool index_put(struct sp_index *index, const struct probe *probe, uint32_t item)
{
	if (probe->steps > PROBES_MAX)
		return false;
	index->entries[probe->at] = item + 1;
	index->used_entries++;
	return true;
}

static struct probe find_node(const struct sp_absorber *absorber,
			      const struct sp_index *index, uint32_t parent,
			      uint64_t frame, uint32_t *found)
{
	struct probe probe = probe_begin(index, node_hash(parent, frame));
	uint32_t item;

	*found = SP_NODE_NONE;
	while (probe_next(&probe, &item))
		if (is_same_node(node_at(absorber, item), parent, frame)) {
			*found = item;
			break;
		}
	return probe;
}

static struct probe find_cell(const struct sp_absorber *absorber,
			      const struct sp_index *index, const struct sp_cell *key,
			      uint32_t *found)
{
	struct probe probe = probe_begin(index, cell_hash(key));
	uint32_t item;

	*found = SP_CELL_NONE;
	while (probe_next(&probe, &item))
		if (is_same_cell(cell_at(absorber, item), key)) {
			*found = item;
			break;
		}
	return probe;
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

/* An item that is there twice was not written by us. */
static int build_nodes(struct sp_absorber *absorber, struct sp_index *index)
{
	uint64_t used = sp_recording_used(absorber->recording, SP_SECTION_NODES);
	int err = index_init(index, used);

	for (uint32_t i = 1; i < used && !err; i++) {
		const struct sp_node *node = node_at(absorber, i);
		uint32_t found;
		struct probe probe =
			find_node(absorber, index, node->parent, node->frame, &found);

		if (found != SP_NODE_NONE || !index_put(index, &probe, i))
			err = -EINVAL;
	}
	if (err)
		index_free(index);
	return err;
}

static int build_cells(struct sp_absorber *absorber, struct sp_index *index)
{
	uint64_t used = sp_recording_used(absorber->recording, SP_SECTION_CELLS);
	int err = index_init(index, used);

	for (uint32_t i = 0; i < used && !err; i++) {
		uint32_t found;
		struct probe probe =
			find_cell(absorber, index, cell_at(absorber, i), &found);

		if (found != SP_CELL_NONE || !index_put(index, &probe, i))
			err = -EINVAL;
	}
	if (err)
		index_free(index);
	return err;
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

static bool is_half_full(const struct sp_index *index)
{
	return index->used_entries * 2 >= index->capacity_entries;
}

/* Builds a larger one beside it; if there is no memory, go on until full. */
static bool make_room(struct sp_absorber *absorber, struct sp_index *index,
		      int (*build)(struct sp_absorber *, struct sp_index *))
{
	struct sp_index larger;

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

static void publish_item(struct sp_absorber *absorber, enum sp_section_kind kind,
			 uint32_t item)
{
	sp_absorber_step("item: filled");
	/* Pairs with sp_recording_used(): contents before count. */
	atomic_store_explicit(&absorber->recording->header->sections[kind].used_items,
			      (uint64_t)item + 1, memory_order_release);
	sp_absorber_step("item: published");
}

static uint32_t find_or_add_node(struct sp_absorber *absorber, uint32_t parent,
				 uint64_t frame)
{
	struct sp_node *node;
	uint32_t item;
	struct probe probe = find_node(absorber, &absorber->nodes, parent, frame, &item);

	if (item != SP_NODE_NONE)
		return item;
	if (is_half_full(&absorber->nodes)) {
		if (!make_room(absorber, &absorber->nodes, build_nodes))
			return SP_NODE_NONE;
		probe = find_node(absorber, &absorber->nodes, parent, frame, &item);
	}
	item = next_item(absorber, SP_SECTION_NODES);
	if (item == UINT32_MAX || !index_put(&absorber->nodes, &probe, item))
		return SP_NODE_NONE;
	node = node_at(absorber, item);
	node->frame = frame;
	node->parent = parent;
	node->depth_frames = node_at(absorber, parent)->depth_frames + 1;
	publish_item(absorber, SP_SECTION_NODES, item);
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

uint32_t sp_call_tree_cell(struct sp_absorber *absorber, const struct sp_cell *key)
{
	struct sp_cell *cell;
	uint32_t item;
	struct probe probe = find_cell(absorber, &absorber->cells, key, &item);

	if (item != SP_CELL_NONE)
		return item;
	if (is_half_full(&absorber->cells)) {
		if (!make_room(absorber, &absorber->cells, build_cells))
			return SP_CELL_NONE;
		probe = find_cell(absorber, &absorber->cells, key, &item);
	}
	item = next_item(absorber, SP_SECTION_CELLS);
	if (item == UINT32_MAX || !index_put(&absorber->cells, &probe, item))
		return SP_CELL_NONE;
	cell = cell_at(absorber, item);
	cell->node = key->node;
	cell->kind = key->kind;
	cell->mode = key->mode;
	cell->group = key->group;
	cell->labels = key->labels;
	for (unsigned int i = 0; i < SP_CELL_VALUES; i++)
		atomic_store_explicit(&cell->values[i], 0, memory_order_relaxed);
	publish_item(absorber, SP_SECTION_CELLS, item);
	return item;
}
