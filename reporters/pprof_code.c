/*
 * Frames as mappings, locations and functions of a pprof file, module by module.
 * Context: collector. Every frame of the table becomes the location of its index
 * + 1, whatever is known of it.
 *
 * The program is the first mapping because readers take the first one for it.
 * Mappings claim to have no functions, although their locations do (but for ours),
 * because readers then look for lines and inlined calls in the binaries and fall back on
 * our names.
 */
#include "sp_heap.h"
#include "sp_pprof_writer.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define PAGE_BYTES UINT64_C(4096)
#define BUILD_ID_BYTES_MAX ((size_t)64)

typedef Perftools__Profiles__Profile pprof_profile;

/* A run of frames of one module in the sorted table. */
struct frame_group {
	uint16_t module_id;
	uint32_t first, end;
};

static int64_t string(struct sp_pprof_writer *writer, const char *text)
{
	return sp_profile_stream_string(writer->stream, text);
}

/* The program's own mapping has to be the first. */
static uint64_t mapping_id(const struct sp_profile_view *view, uint32_t module_index)
{
	uint32_t main_index = 0;

	while (main_index < view->module_count && !view->modules[main_index].is_main)
		main_index++;
	if (module_index == main_index)
		return 1;
	return main_index < view->module_count && module_index < main_index
		       ? module_index + 2
		       : module_index + 1;
}

static void put_mapping(struct sp_pprof_writer *writer,
			const Perftools__Profiles__Mapping *mapping)
{
	pprof_profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
	Perftools__Profiles__Mapping copy = *mapping, *pointer = &copy;

	part.n_mapping = 1;
	part.mapping = &pointer;
	sp_profile_stream_put(writer->stream, &part);
}

static void put_module(struct sp_pprof_writer *writer,
		       const struct sp_view_module *module, uint64_t id)
{
	static const char digits[] = "0123456789abcdef";
	Perftools__Profiles__Mapping mapping = PERFTOOLS__PROFILES__MAPPING__INIT;
	char build_id[2 * BUILD_ID_BYTES_MAX + 1];
	size_t build_id_bytes = module->build_id ? module->build_id_bytes : 0;
	const char *path = module->path;

	if (build_id_bytes > BUILD_ID_BYTES_MAX)
		build_id_bytes = BUILD_ID_BYTES_MAX;
	for (size_t i = 0; i < build_id_bytes; i++) {
		build_id[2 * i] = digits[module->build_id[i] >> 4];
		build_id[2 * i + 1] = digits[module->build_id[i] & 0xf];
	}
	build_id[2 * build_id_bytes] = '\0';
	/* A name in brackets tells readers that there is no such file. */
	if (module->is_vdso && (!path || path[0] == '\0'))
		path = "[vdso]";
	mapping.id = id;
	mapping.memory_start = module->text_start;
	mapping.memory_limit = module->text_end;
	mapping.file_offset = module->text_file_offset;
	mapping.filename = string(writer, path);
	mapping.build_id = string(writer, build_id);
	/* What readers would find there is our code's own affair. */
	mapping.has_functions = module->is_agent;
	put_mapping(writer, &mapping);
}

/*
 * Generated code lies anywhere; its mapping spans what was met of it, so that
 * readers which take addresses relative to a mapping have one. It says that it has
 * functions: no file could tell more.
 */
static void put_jit_mapping(struct sp_pprof_writer *writer,
			    const struct frame_group *group, uint64_t id)
{
	Perftools__Profiles__Mapping mapping = PERFTOOLS__PROFILES__MAPPING__INIT;
	const uint64_t *frames = writer->frames.frames;

	writer->jit_mapping_id = id;
	mapping.id = id;
	mapping.memory_start = sp_frame_offset(frames[group->first]) & ~(PAGE_BYTES - 1);
	mapping.memory_limit =
		(sp_frame_offset(frames[group->end - 1]) | (PAGE_BYTES - 1)) + 1;
	mapping.filename = string(writer, "[jit]");
	mapping.has_functions = 1;
	put_mapping(writer, &mapping);
}

/* The next run of frames of one module, from group->end on; false at the end. */
static bool next_group(const struct sp_pprof_writer *writer, struct frame_group *group)
{
	const struct sp_frame_table *table = &writer->frames;

	group->first = group->end;
	if (group->first == table->count)
		return false;
	group->module_id = sp_frame_module(table->frames[group->first]);
	while (group->end < table->count &&
	       sp_frame_module(table->frames[group->end]) == group->module_id)
		group->end++;
	return true;
}

void sp_pprof_put_mappings(struct sp_pprof_writer *writer)
{
	const struct sp_profile_view *view = writer->view;
	struct frame_group group = {.end = 0};

	for (uint32_t i = 0; i < view->module_count; i++) {
		if (mapping_id(view, i) == 1)
			put_module(writer, &view->modules[i], 1);
	}
	for (uint32_t i = 0; i < view->module_count; i++) {
		if (mapping_id(view, i) != 1)
			put_module(writer, &view->modules[i], mapping_id(view, i));
	}
	if (next_group(writer, &group) && group.module_id == SP_MODULE_NONE)
		put_jit_mapping(writer, &group, view->module_count + UINT64_C(1));
}

/* system_name is NULL for what no linker has named: readers then leave the name as
 * it is, where they would strip "<anonymous>" from it as if it were a template. */
static uint64_t put_function_at(struct sp_pprof_writer *writer,
				const struct sp_view_named_frame *place,
				const char *system_name)
{
	pprof_profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
	Perftools__Profiles__Function function = PERFTOOLS__PROFILES__FUNCTION__INIT;
	Perftools__Profiles__Function *pointer = &function;

	function.id = ++writer->last_function_id;
	function.name = string(writer, place->name);
	function.system_name = string(writer, system_name);
	function.filename = string(writer, place->file);
	function.start_line = place->line;
	part.n_function = 1;
	part.function = &pointer;
	sp_profile_stream_put(writer->stream, &part);
	return function.id;
}

static uint64_t put_function(struct sp_pprof_writer *writer, const char *name,
			     const char *system_name)
{
	const struct sp_view_named_frame nowhere = {.name = name};

	return put_function_at(writer, &nowhere, system_name);
}

static void put_location_at(struct sp_pprof_writer *writer, uint32_t frame_index,
			    uint64_t mapping, uint64_t address, uint64_t function_id,
			    uint32_t line_number)
{
	pprof_profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
	Perftools__Profiles__Location location = PERFTOOLS__PROFILES__LOCATION__INIT;
	Perftools__Profiles__Location *location_pointer = &location;
	Perftools__Profiles__Line line = PERFTOOLS__PROFILES__LINE__INIT;
	Perftools__Profiles__Line *line_pointer = &line;

	line.function_id = function_id;
	line.line = line_number;
	location.id = frame_index + UINT64_C(1);
	location.mapping_id = mapping;
	location.address = address;
	location.n_line = 1;
	location.line = &line_pointer;
	part.n_location = 1;
	part.location = &location_pointer;
	sp_profile_stream_put(writer->stream, &part);
}

static void put_location(struct sp_pprof_writer *writer, uint32_t frame_index,
			 uint64_t mapping, uint64_t address, uint64_t function_id)
{
	put_location_at(writer, frame_index, mapping, address, function_id, 0);
}

static bool is_same_function(const struct sp_symbol_query *a,
			     const struct sp_symbol_query *b)
{
	return a->start_offset == b->start_offset && strcmp(a->name, b->name) == 0;
}

static int put_module_frames(struct sp_pprof_writer *writer,
			     const struct frame_group *group, uint32_t module_index)
{
	const struct sp_view_module *module = &writer->view->modules[module_index];
	uint64_t id = mapping_id(writer->view, module_index);
	size_t count = group->end - group->first;
	struct sp_symbol_query *queries = sp_heap_alloc(count * sizeof(*queries));
	uint64_t function_id = 0;

	if (!queries)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		queries[i] = (struct sp_symbol_query){
			.offset =
				sp_frame_offset(writer->frames.frames[group->first + i]),
		};
	}
	/* Short of memory it still gives names, if poor ones. */
	(void)sp_known_names_resolve(writer->names, module, queries, count);
	for (size_t i = 0; i < count; i++) {
		uint64_t address = module->base + queries[i].offset;
		/* One address outside of its mapping makes pprof give up on all. */
		bool is_inside =
			address >= module->text_start && address < module->text_end;

		if (i == 0 || !is_same_function(&queries[i - 1], &queries[i]))
			function_id = put_function(writer, queries[i].name,
						   queries[i].system_name);
		put_location(writer, group->first + (uint32_t)i, is_inside ? id : 0,
			     address, function_id);
	}
	sp_heap_free(queries);
	return 0;
}

/* Thousands of addresses tell nobody anything: what has no name is one function. */
static void put_jit_frames(struct sp_pprof_writer *writer,
			   const struct frame_group *group)
{
	uint64_t unnamed_function_id = 0, function_id = 0;
	const char *last_name = NULL;

	for (uint32_t i = group->first; i < group->end; i++) {
		uint64_t address = sp_frame_offset(writer->frames.frames[i]);
		const char *name = sp_symbols_resolve_jit(writer->names->symbols,
							  writer->view->pid, address);

		if (!name && unnamed_function_id == 0)
			unnamed_function_id = put_function(writer, "[jit]", NULL);
		if (name && (!last_name || strcmp(name, last_name) != 0)) {
			function_id = put_function(writer, name, NULL);
			last_name = name;
		}
		put_location(writer, i, writer->jit_mapping_id, address,
			     name ? function_id : unnamed_function_id);
	}
}

static void put_pseudo_frames(struct sp_pprof_writer *writer,
			      const struct frame_group *group)
{
	for (uint32_t i = group->first; i < group->end; i++) {
		uint64_t which = sp_frame_offset(writer->frames.frames[i]);

		put_location(writer, i, 0, 0,
			     put_function(writer, sp_pseudo_frame_name(which), NULL));
	}
}

/* What a name belongs to stands where linkers have theirs: readers tell apart by it,
 * and take a name that is another one for demangled. */
static void put_named_frames(struct sp_pprof_writer *writer,
			     const struct frame_group *group)
{
	static const struct sp_view_named_frame unknown = {.name = "[?]"};
	const struct sp_profile_view *view = writer->view;

	for (uint32_t i = group->first; i < group->end; i++) {
		uint64_t index = sp_frame_offset(writer->frames.frames[i]);
		const struct sp_view_named_frame *named =
			index < view->named_frame_count ? &view->named_frames[index]
							: &unknown;
		bool has_target =
			named->target && strcmp(named->target, named->name) != 0;

		put_location_at(
			writer, i, 0, 0,
			put_function_at(writer, named, has_target ? named->target : NULL),
			named->line);
	}
}

int sp_pprof_put_frames(struct sp_pprof_writer *writer)
{
	const struct sp_profile_view *view = writer->view;
	struct frame_group group = {.end = 0};
	int err = 0;

	while (err == 0 && next_group(writer, &group)) {
		uint32_t module_index = 0;

		if (group.module_id == SP_MODULE_NONE) {
			put_jit_frames(writer, &group);
			continue;
		}
		if (group.module_id == SP_MODULE_PSEUDO) {
			put_pseudo_frames(writer, &group);
			continue;
		}
		if (group.module_id == SP_MODULE_NAMED) {
			put_named_frames(writer, &group);
			continue;
		}
		while (module_index < view->module_count &&
		       view->modules[module_index].id != group.module_id)
			module_index++;
		if (module_index < view->module_count) {
			err = put_module_frames(writer, &group, module_index);
		} else {
			uint64_t id = put_function(writer, "[unknown module]", NULL);

			for (uint32_t i = group.first; i < group.end; i++)
				put_location(writer, i, 0,
					     sp_frame_offset(writer->frames.frames[i]),
					     id);
		}
	}
	return err;
}
