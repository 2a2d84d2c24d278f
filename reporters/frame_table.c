/*
 * A hash set of frames over a dense array, and a heapsort of that array. Context:
 * collector. The sort is our own because qsort() may take its scratch space from
 * the host's heap.
 */
#include "sp_frame_table.h"

#include "sp_heap.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define FIRST_CAPACITY_FRAMES 128
#define CAPACITY_FRAMES_MAX (UINT32_C(1) << 30)

/*
 * Fibonacci hashing: only the product's highest bits depend on all of the frame. Those
 * below would be the same for one place in all copies of a library, as the module is in
 * the frame's highest bits.
 */
static uint32_t first_slot(const struct sp_frame_table *table, uint64_t frame)
{
	uint64_t product = frame * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)((product >> 32) * table->capacity_frames * 2 >> 32);
}

static uint32_t next_slot(const struct sp_frame_table *table, uint32_t slot)
{
	return (slot + 1) & (table->capacity_frames * 2 - 1);
}

static void insert_slot(struct sp_frame_table *table, uint32_t index)
{
	uint32_t slot = first_slot(table, table->frames[index]);

	while (table->slots[slot] != 0)
		slot = next_slot(table, slot);
	table->slots[slot] = index + 1;
}

static int grow(struct sp_frame_table *table)
{
	uint32_t capacity = table->capacity_frames ? table->capacity_frames * 2
						   : FIRST_CAPACITY_FRAMES;
	uint64_t *frames;
	uint32_t *slots;

	if (capacity > CAPACITY_FRAMES_MAX)
		return -ENOMEM;
	slots = sp_heap_zalloc((size_t)capacity * 2 * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	frames = sp_heap_realloc(table->frames, (size_t)capacity * sizeof(*frames));
	if (!frames) {
		sp_heap_free(slots);
		return -ENOMEM;
	}
	sp_heap_free(table->slots);
	table->frames = frames;
	table->slots = slots;
	table->capacity_frames = capacity;
	for (uint32_t i = 0; i < table->count; i++)
		insert_slot(table, i);
	return 0;
}

void sp_frame_table_init(struct sp_frame_table *table)
{
	memset(table, 0, sizeof(*table));
}

void sp_frame_table_fini(struct sp_frame_table *table)
{
	sp_heap_free(table->frames);
	sp_heap_free(table->slots);
	sp_frame_table_init(table);
}

bool sp_frame_table_find(const struct sp_frame_table *table, uint64_t frame,
			 uint32_t *index)
{
	if (table->count == 0)
		return false;
	for (uint32_t slot = first_slot(table, frame); table->slots[slot] != 0;
	     slot = next_slot(table, slot)) {
		if (table->frames[table->slots[slot] - 1] == frame) {
			*index = table->slots[slot] - 1;
			return true;
		}
	}
	return false;
}

int sp_frame_table_add(struct sp_frame_table *table, uint64_t frame)
{
	uint32_t index;

	if (sp_frame_table_find(table, frame, &index))
		return 0;
	if (table->count == table->capacity_frames) {
		int err = grow(table);

		if (err)
			return err;
	}
	table->frames[table->count] = frame;
	insert_slot(table, table->count);
	table->count++;
	return 0;
}

static void sift_down(uint64_t *values, size_t root, size_t count)
{
	uint64_t sinking = values[root];

	for (;;) {
		size_t child = 2 * root + 1;

		if (child >= count)
			break;
		if (child + 1 < count && values[child + 1] > values[child])
			child++;
		if (values[child] <= sinking)
			break;
		values[root] = values[child];
		root = child;
	}
	values[root] = sinking;
}

void sp_frame_table_sort(struct sp_frame_table *table)
{
	size_t count = table->count;

	if (count == 0)
		return;
	for (size_t root = count / 2; root-- > 0;)
		sift_down(table->frames, root, count);
	for (size_t end = count; end-- > 1;) {
		uint64_t largest = table->frames[0];

		table->frames[0] = table->frames[end];
		table->frames[end] = largest;
		sift_down(table->frames, 0, end);
	}
	memset(table->slots, 0,
	       (size_t)table->capacity_frames * 2 * sizeof(*table->slots));
	for (uint32_t i = 0; i < table->count; i++)
		insert_slot(table, i);
}
