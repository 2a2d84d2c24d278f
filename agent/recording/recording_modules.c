/*
 * The module table: appended by the consumer, read by whoever names frames.
 * Context: collector.
 */
#include "sp_recording_reader.h"
#include "sp_recording_writer.h"

#include <string.h>

/* Appends a string; its offset, or 0 (the empty string) when there is no room. */
static uint64_t add_string(struct sp_recording *recording, const char *string)
{
	struct sp_section *section = &recording->header->sections[SP_SECTION_STRINGS];
	uint64_t used = atomic_load_explicit(&section->used_items, memory_order_relaxed);
	size_t bytes = strlen(string) + 1;

	if (used + bytes > sp_recording_reserved(recording, SP_SECTION_STRINGS) &&
	    sp_recording_reserve(recording, SP_SECTION_STRINGS, used + bytes) != 0)
		return 0;
	memcpy(sp_recording_item(recording, SP_SECTION_STRINGS, used), string, bytes);
	atomic_store_explicit(&section->used_items, used + bytes, memory_order_release);
	return used;
}

static void note_program(struct sp_recording_header *header,
			 const struct sp_module_record *module)
{
	if (!(module->flags & SP_MODULE_FLAG_MAIN))
		return;
	memcpy(header->exe_build_id, module->build_id, sizeof(header->exe_build_id));
	header->exe_build_id_bytes = module->build_id_bytes;
}

uint16_t sp_recording_add_module(struct sp_recording *recording,
				 const struct sp_module_record *module, const char *path)
{
	struct sp_section *section = &recording->header->sections[SP_SECTION_MODULES];
	uint64_t used = atomic_load_explicit(&section->used_items, memory_order_relaxed);
	struct sp_module_record *record;

	if (used >= section->capacity_items || used >= SP_MODULE_RECORDS_MAX ||
	    (used >= sp_recording_reserved(recording, SP_SECTION_MODULES) &&
	     sp_recording_reserve(recording, SP_SECTION_MODULES, used + 1) != 0)) {
		sp_recording_count(recording, SP_LOSS_NO_MODULE_ID, 1);
		return 0;
	}
	record = sp_recording_item(recording, SP_SECTION_MODULES, used);
	*record = *module;
	note_program(recording->header, module);
	record->path = add_string(recording, path);
	atomic_store_explicit(&section->used_items, used + 1, memory_order_release);
	return (uint16_t)(used + 1);
}

void sp_recording_copy_modules(struct sp_recording *to, const struct sp_recording *from)
{
	uint64_t count = sp_recording_used(from, SP_SECTION_MODULES);

	for (uint64_t i = 0; i < count; i++) {
		const struct sp_module_record *module =
			sp_recording_item(from, SP_SECTION_MODULES, i);

		if (!sp_recording_add_module(to, module,
					     sp_recording_string(from, module->path)))
			return;
	}
}
