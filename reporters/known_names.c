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
	return known->symbols ? 0 : -ENOMEM;
}

void sp_known_names_fini(struct sp_known_names *known)
{
	sp_symbols_destroy(known->symbols);
	sp_frame_table_fini(&known->frames);
	sp_heap_free(known->answers);
}

/* The queries that nobody has asked yet go to unknown, in their order. */
static size_t answer_known(const struct sp_known_names *known, uint16_t module_id,
			   struct sp_symbol_query *queries, size_t count,
			   struct sp_symbol_query *unknown)
{
	size_t unknown_count = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t offset = queries[i].offset;
		uint32_t index;

		if (sp_frame_table_find(&known->frames, sp_frame_make(module_id, offset),
					&index)) {
			queries[i] = known->answers[index];
		} else {
			queries[i].name = NULL;
			unknown[unknown_count++].offset = offset;
		}
	}
	return unknown_count;
}

static void answer_rest(struct sp_symbol_query *queries, size_t count,
			const struct sp_symbol_query *found)
{
	for (size_t i = 0; i < count; i++)
		if (!queries[i].name)
			queries[i] = *found++;
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

int sp_known_names_resolve(struct sp_known_names *known,
			   const struct sp_view_module *module,
			   struct sp_symbol_query *queries, size_t count)
{
	struct sp_symbol_query *unknown = sp_heap_alloc(count * sizeof(*unknown));
	size_t unknown_count;
	int err;

	if (!unknown)
		return sp_symbols_resolve(known->symbols, module, queries, count);
	unknown_count = answer_known(known, module->id, queries, count, unknown);
	err = sp_symbols_resolve(known->symbols, module, unknown, unknown_count);
	answer_rest(queries, count, unknown);
	/* Names that memory did not allow to be better may be so the next time. */
	if (!err)
		keep(known, module->id, unknown, unknown_count);
	sp_heap_free(unknown);
	return err;
}
