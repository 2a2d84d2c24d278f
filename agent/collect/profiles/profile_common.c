/*
 * The part of a view that does not depend on what was measured. Context: collector.
 */
#include "profile_common.h"

#include "sp_heap.h"
#include "sp_recording_reader.h"

#include <string.h>

struct sp_view_module *sp_profile_modules(const struct sp_recording *recording,
					  uint32_t *count)
{
	uint64_t records = sp_recording_used(recording, SP_SECTION_MODULES);
	struct sp_view_module *modules = sp_heap_zalloc((records + 1) * sizeof(*modules));

	if (!modules)
		return NULL;
	for (uint64_t i = 0; i < records; i++) {
		const struct sp_module_record *record =
			sp_recording_item(recording, SP_SECTION_MODULES, i);

		modules[i] = (struct sp_view_module){
			.id = (uint16_t)(i + 1),
			.is_main = record->flags & SP_MODULE_FLAG_MAIN,
			.is_agent = record->flags & SP_MODULE_FLAG_AGENT,
			.is_vdso = record->flags & SP_MODULE_FLAG_VDSO,
			.base = record->base,
			.text_start = record->text_start,
			.text_end = record->text_end,
			.text_file_offset = record->text_file_offset,
			.build_id = record->build_id,
			.build_id_bytes =
				record->build_id_bytes <= sizeof(record->build_id)
					? record->build_id_bytes
					: 0,
			.fingerprint = record->fingerprint,
			.path = sp_recording_string(recording, record->path),
		};
	}
	*count = (uint32_t)records;
	return modules;
}

void sp_profile_view_begin(struct sp_profile_view *view,
			   const struct sp_recording *recording,
			   const struct sp_view_module *modules, uint32_t module_count)
{
	const struct sp_recording_header *header = recording->header;
	uint64_t last_ns = sp_atomic_value(&header->last_update_monotonic_ns);

	memset(view, 0, sizeof(*view));
	view->time_ns = (int64_t)header->start_realtime_ns;
	if (last_ns > header->start_monotonic_ns)
		view->duration_ns = (int64_t)(last_ns - header->start_monotonic_ns);
	view->pid = (int)header->pid;
	view->modules = modules;
	view->module_count = module_count;
}
