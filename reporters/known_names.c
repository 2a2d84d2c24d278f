/*
 * See sp_known_names.h. Context: collector.
 */
#include "sp_known_names.h"

#include "sp_frame.h"
#include "sp_heap.h"

#include <errno.h>

#define FIRST_CAPACITY UINT32_C(256)

int sp_known_names_init(struct sp_known_names *known)
{
	*known = (struct sp_known_names){.symbols = sp_symbols_create()};
	sp_frame_table_init(&known->frames);
	sp_frame_table_init(&known->expected);
	return known->symbols ? 0 : -ENOMEM;
}

void sp_known_names_fini(struct sp_known_names *known)
{
	sp_symbols_destroy(known->symbols);
	sp_frame_table_fini(&known->frames);
	sp_frame_table_fini(&known->expected);
	sp_heap_free(known->answers);
}

/* How many remain: nobody has asked for them yet. They have no name. */
static size_t answer_known(const struct sp_known_names *known, uint16_t module_id,
			   struct sp_symbol_query *queries, size_t count)
{
	size_t unknown_count = 0;

	for (size_t i = 0; i < count; i++) {
		uint32_t index;

		if (sp_frame_table_find(&known->frames,
					sp_frame_make(module_id, queries[i].offset),
					&index)) {
			queries[i] = known->answers[index];
		} else {
			queries[i].name = NULL;
			unknown_count++;
		}
	}
	return unknown_count;
}

/* The first that is expected of that module or one after it. */
static uint32_t first_expected(const struct sp_known_names *known, uint32_t module_id)
{
	uint32_t low = 0, high = known->expected.count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (sp_frame_module(known->expected.frames[middle]) < module_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * What is looked for, in order of offsets: the queries without a name, and what is
 * expected from first on, up to end.
 */
static size_t merge(const struct sp_known_names *known,
		    const struct sp_symbol_query *queries, size_t count, uint32_t first,
		    uint32_t end, struct sp_symbol_query *wanted)
{
	size_t wanted_count = 0, i = 0;

	while (i < count || first < end) {
		uint64_t frame = first < end ? known->expected.frames[first] : 0;
		uint64_t offset = sp_frame_offset(frame);
		uint32_t index;

		if (i < count && (first == end || queries[i].offset <= offset)) {
			/* Asked for, and expected no more. */
			first += first < end && queries[i].offset == offset;
			if (!queries[i].name)
				wanted[wanted_count++].offset = queries[i].offset;
			i++;
			continue;
		}
		first++;
		if (!sp_frame_table_find(&known->frames, frame, &index))
			wanted[wanted_count++].offset = offset;
	}
	return wanted_count;
}

static void answer_rest(struct sp_symbol_query *queries, size_t count,
			const struct sp_symbol_query *found)
{
	for (size_t i = 0; i < count; i++) {
		if (queries[i].name)
			continue;
		while (found->offset != queries[i].offset)
			found++;
		queries[i] = *found;
	}
}

static bool has_room(struct sp_known_names *known)
{
	uint32_t capacity = known->capacity ? 2 * known->capacity : FIRST_CAPACITY;
	struct sp_symbol_query *grown;

	if (known->frames.count < known->capacity)
		return true;
	grown = sp_heap_realloc(known->answers, (size_t)capacity * sizeof(*grown));
	if (!grown)
		return false;
	known->answers = grown;
	known->capacity = capacity;
	return true;
}

static void keep(struct sp_known_names *known, uint16_t module_id,
		 const struct sp_symbol_query *found, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t frame = sp_frame_make(module_id, found[i].offset);
		uint32_t index = known->frames.count;

		if (!has_room(known) || sp_frame_table_add(&known->frames, frame) != 0)
			return;
		/* One that is there already was asked for twice at once. */
		if (known->frames.count > index)
			known->answers[index] = found[i];
	}
}

void sp_known_names_expect(struct sp_known_names *known, uint64_t frame)
{
	/* Without memory it is looked for when it is asked. */
	(void)sp_frame_table_add(&known->expected, frame);
	known->is_expected_sorted = false;
}

int sp_known_names_resolve(struct sp_known_names *known,
			   const struct sp_view_module *module,
			   struct sp_symbol_query *queries, size_t count)
{
	size_t wanted_count = answer_known(known, module->id, queries, count);
	struct sp_symbol_query *wanted;
	uint32_t first, end;
	int err;

	if (!wanted_count)
		return 0;
	if (!known->is_expected_sorted)
		sp_frame_table_sort(&known->expected);
	known->is_expected_sorted = true;
	first = first_expected(known, module->id);
	end = first_expected(known, module->id + UINT32_C(1));
	wanted = sp_heap_alloc((wanted_count + end - first) * sizeof(*wanted));
	if (!wanted)
		return sp_symbols_resolve(known->symbols, module, queries, count);
	wanted_count = merge(known, queries, count, first, end, wanted);
	err = sp_symbols_resolve(known->symbols, module, wanted, wanted_count);
	answer_rest(queries, count, wanted);
	/* Names that memory did not allow to be better may be so the next time. */
	if (!err)
		keep(known, module->id, wanted, wanted_count);
	sp_heap_free(wanted);
	return err;
}
