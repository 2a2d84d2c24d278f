/*
 * A profile in pprof's format. Context: collector. The view is read twice: first
 * for its different frames, which get their names module by module, then for its
 * samples, which are written as they are read; so memory grows with the code that
 * ran and not with the samples.
 *
 * The conventions met here and why: the program is the first mapping and the
 * default sample type's name has a number that no sample type's index has,
 * because readers go by that; mappings claim to have no functions, although
 * their locations do, because readers then look for lines and inlined calls in
 * the binaries and fall back on our names.
 */
#include "sp_frame_table.h"
#include "sp_heap.h"
#include "sp_label_keys.h"
#include "sp_profile_stream.h"
#include "sp_reporter.h"
#include "sp_symbols.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PAGE_BYTES UINT64_C(4096)
#define BUILD_ID_BYTES_MAX ((size_t)64)
/* What a packed location with its function, and a packed sample, come to. */
#define EXPECTED_FRAME_BYTES ((size_t)48)
#define EXPECTED_SAMPLE_BYTES ((size_t)24)

typedef Perftools__Profiles__Profile pprof_profile;

struct writer {
	const struct sp_profile_view *view;
	struct sp_profile_stream *stream;
	struct sp_symbols *symbols;
	struct sp_frame_table frames; /* a location's id is its frame's index + 1 */
	struct sp_label_keys label_keys;
	uint64_t last_function_id;
	uint64_t jit_mapping_id; /* 0: none */
	uint64_t *location_ids;	 /* scratch, for one sample */
	size_t location_ids_capacity;
	size_t expected_bytes;
};

/* A run of frames of one module in the sorted table. */
struct frame_group {
	uint16_t module_id;
	uint32_t first, end;
};

/* A sample without a stack would be in the total but under no function. */
static void complete_stack(struct sp_view_sample *sample)
{
	static const uint64_t no_stack = (uint64_t)SP_MODULE_PSEUDO
						 << SP_FRAME_MODULE_SHIFT |
					 SP_PSEUDO_INCOMPLETE;

	if (sample->frame_count == 0) {
		sample->frames = &no_stack;
		sample->frame_count = 1;
	}
	if (sample->label_count > SP_VIEW_LABELS_MAX)
		sample->label_count = SP_VIEW_LABELS_MAX;
}

/* 1 with a sample, 0 at the end, or -errno. */
static int next_sample(struct writer *writer, struct sp_view_sample *sample)
{
	int status = writer->view->next_sample(writer->view->cursor, sample);

	if (status > 0)
		complete_stack(sample);
	return status;
}

static int collect(struct writer *writer)
{
	struct sp_view_sample sample;
	int status;

	writer->view->rewind(writer->view->cursor);
	while ((status = next_sample(writer, &sample)) > 0) {
		for (uint32_t i = 0; i < sample.frame_count; i++) {
			int err = sp_frame_table_add(&writer->frames, sample.frames[i]);

			if (err)
				return err;
		}
		for (uint32_t i = 0; i < sample.label_count; i++)
			sp_label_keys_note(&writer->label_keys, &sample.labels[i]);
		writer->expected_bytes += EXPECTED_SAMPLE_BYTES + 2 * sample.frame_count;
	}
	sp_frame_table_sort(&writer->frames);
	writer->expected_bytes += EXPECTED_FRAME_BYTES * writer->frames.count;
	return status;
}

static int64_t string(struct writer *writer, const char *text)
{
	return sp_profile_stream_string(writer->stream, text);
}

static Perftools__Profiles__ValueType value_type(struct writer *writer,
						 const struct sp_value_type *type)
{
	Perftools__Profiles__ValueType message = PERFTOOLS__PROFILES__VALUE_TYPE__INIT;

	message.unit = string(writer, type->unit);
	message.type = string(writer, type->type);
	return message;
}

/*
 * Some readers take default_sample_type for an index into the sample types if it
 * is small enough to be one. With every other name of a type given its number
 * first, it is not.
 */
static int64_t default_sample_type(struct writer *writer)
{
	const struct sp_profile_view *view = writer->view;

	if (view->default_value_type >= view->value_type_count)
		return 0;
	for (uint32_t i = 0; i < view->value_type_count; i++) {
		string(writer, view->value_types[i].unit);
		if (i != view->default_value_type)
			string(writer, view->value_types[i].type);
	}
	return string(writer, view->value_types[view->default_value_type].type);
}

static void put_types(struct writer *writer)
{
	const struct sp_profile_view *view = writer->view;
	pprof_profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
	Perftools__Profiles__ValueType types[SP_VIEW_VALUES_MAX];
	Perftools__Profiles__ValueType *type_pointers[SP_VIEW_VALUES_MAX];
	Perftools__Profiles__ValueType period_type;

	part.default_sample_type = default_sample_type(writer);
	for (uint32_t i = 0; i < view->value_type_count; i++) {
		types[i] = value_type(writer, &view->value_types[i]);
		type_pointers[i] = &types[i];
	}
	part.n_sample_type = view->value_type_count;
	part.sample_type = type_pointers;
	period_type = value_type(writer, &view->period_type);
	part.period_type = &period_type;
	part.period = view->period;
	part.time_nanos = view->time_ns;
	part.duration_nanos = view->duration_ns;
	part.drop_frames = string(writer, view->drop_frames);
	sp_profile_stream_put(writer->stream, &part);
}

static void put_comment(struct writer *writer, const char *text)
{
	pprof_profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
	int64_t comment = string(writer, text);

	part.n_comment = 1;
	part.comment = &comment;
	sp_profile_stream_put(writer->stream, &part);
}

static void put_comments(struct writer *writer)
{
	for (uint32_t i = 0; i < writer->view->comment_count; i++)
		put_comment(writer, writer->view->comments[i]);
	if (writer->label_keys.left_out_labels > 0) {
		char text[96];

		snprintf(text, sizeof(text),
			 "%" PRIu64 " labels left out: key reserved or more than %d keys",
			 writer->label_keys.left_out_labels, SP_LABEL_KEYS_MAX);
		put_comment(writer, text);
	}
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

static void put_mapping(struct writer *writer,
			const Perftools__Profiles__Mapping *mapping)
{
	pprof_profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
	Perftools__Profiles__Mapping copy = *mapping, *pointer = &copy;

	part.n_mapping = 1;
	part.mapping = &pointer;
	sp_profile_stream_put(writer->stream, &part);
}

static void put_module(struct writer *writer, const struct sp_view_module *module,
		       uint64_t id)
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
	put_mapping(writer, &mapping);
}

/*
 * Generated code lies anywhere; its mapping spans what was met of it, so that
 * readers which take addresses relative to a mapping have one. It says that it has
 * functions: no file could tell more.
 */
static void put_jit_mapping(struct writer *writer, const struct frame_group *group,
			    uint64_t id)
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
static bool next_group(const struct writer *writer, struct frame_group *group)
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

static void put_mappings(struct writer *writer)
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
static uint64_t put_function(struct writer *writer, const char *name,
			     const char *system_name)
{
	pprof_profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
	Perftools__Profiles__Function function = PERFTOOLS__PROFILES__FUNCTION__INIT;
	Perftools__Profiles__Function *pointer = &function;

	function.id = ++writer->last_function_id;
	function.name = string(writer, name);
	function.system_name = string(writer, system_name);
	part.n_function = 1;
	part.function = &pointer;
	sp_profile_stream_put(writer->stream, &part);
	return function.id;
}

static void put_location(struct writer *writer, uint32_t frame_index, uint64_t mapping,
			 uint64_t address, uint64_t function_id)
{
	pprof_profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
	Perftools__Profiles__Location location = PERFTOOLS__PROFILES__LOCATION__INIT;
	Perftools__Profiles__Location *location_pointer = &location;
	Perftools__Profiles__Line line = PERFTOOLS__PROFILES__LINE__INIT;
	Perftools__Profiles__Line *line_pointer = &line;

	line.function_id = function_id;
	location.id = frame_index + UINT64_C(1);
	location.mapping_id = mapping;
	location.address = address;
	location.n_line = 1;
	location.line = &line_pointer;
	part.n_location = 1;
	part.location = &location_pointer;
	sp_profile_stream_put(writer->stream, &part);
}

static bool is_same_function(const struct sp_symbol_query *a,
			     const struct sp_symbol_query *b)
{
	return a->start_offset == b->start_offset && strcmp(a->name, b->name) == 0;
}

static int put_module_frames(struct writer *writer, const struct frame_group *group,
			     uint32_t module_index)
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
	(void)sp_symbols_resolve(writer->symbols, module, queries, count);
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
static void put_jit_frames(struct writer *writer, const struct frame_group *group)
{
	uint64_t unnamed_function_id = 0, function_id = 0;
	const char *last_name = NULL;

	for (uint32_t i = group->first; i < group->end; i++) {
		uint64_t address = sp_frame_offset(writer->frames.frames[i]);
		const char *name = sp_symbols_resolve_jit(writer->symbols,
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

static void put_pseudo_frames(struct writer *writer, const struct frame_group *group)
{
	for (uint32_t i = group->first; i < group->end; i++) {
		uint64_t which = sp_frame_offset(writer->frames.frames[i]);

		put_location(writer, i, 0, 0,
			     put_function(writer, sp_pseudo_frame_name(which), NULL));
	}
}

static int put_frames(struct writer *writer)
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

/* False if the label is to be left out. */
static bool fill_label(struct writer *writer, const struct sp_view_label *label,
		       Perftools__Profiles__Label *message)
{
	const struct sp_label_key *key = sp_label_keys_find(&writer->label_keys, label);
	char number[24];

	if (!key)
		return false;
	message->key = string(writer, key->key);
	if (label->str) {
		message->str = string(writer, label->str);
		return message->str != 0; /* "" would be read as a number */
	}
	if (key->is_text) {
		snprintf(number, sizeof(number), "%" PRId64, label->number);
		message->str = string(writer, number);
		return true;
	}
	message->num = label->number;
	message->num_unit = string(writer, label->unit);
	return true;
}

static size_t fill_labels(struct writer *writer, const struct sp_view_sample *sample,
			  Perftools__Profiles__Label *labels)
{
	size_t count = 0;

	for (uint32_t i = 0; i < sample->label_count; i++) {
		bool is_repeated = false;

		perftools__profiles__label__init(&labels[count]);
		if (!fill_label(writer, &sample->labels[i], &labels[count]))
			continue;
		for (size_t before = 0; before < count; before++)
			is_repeated |= labels[before].key == labels[count].key;
		count += !is_repeated;
	}
	return count;
}

static int fill_location_ids(struct writer *writer, const struct sp_view_sample *sample)
{
	if (sample->frame_count > writer->location_ids_capacity) {
		uint64_t *grown =
			sp_heap_realloc(writer->location_ids,
					(size_t)sample->frame_count * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		writer->location_ids = grown;
		writer->location_ids_capacity = sample->frame_count;
	}
	for (uint32_t i = 0; i < sample->frame_count; i++) {
		uint32_t index;

		/* The view promised to show the same samples twice. */
		if (!sp_frame_table_find(&writer->frames, sample->frames[i], &index))
			return -EPROTO;
		writer->location_ids[i] = index + UINT64_C(1);
	}
	return 0;
}

static int put_sample(struct writer *writer, struct sp_view_sample *sample)
{
	pprof_profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
	Perftools__Profiles__Sample message = PERFTOOLS__PROFILES__SAMPLE__INIT;
	Perftools__Profiles__Sample *message_pointer = &message;
	Perftools__Profiles__Label labels[SP_VIEW_LABELS_MAX];
	Perftools__Profiles__Label *label_pointers[SP_VIEW_LABELS_MAX];
	int err = fill_location_ids(writer, sample);

	if (err)
		return err;
	message.n_location_id = sample->frame_count;
	message.location_id = writer->location_ids;
	message.n_value = writer->view->value_type_count;
	message.value = sample->values;
	message.n_label = fill_labels(writer, sample, labels);
	for (size_t i = 0; i < message.n_label; i++)
		label_pointers[i] = &labels[i];
	message.label = label_pointers;
	part.n_sample = 1;
	part.sample = &message_pointer;
	sp_profile_stream_put(writer->stream, &part);
	return sp_profile_stream_error(writer->stream);
}

static int put_samples(struct writer *writer)
{
	struct sp_view_sample sample;
	int status;

	writer->view->rewind(writer->view->cursor);
	while ((status = next_sample(writer, &sample)) > 0) {
		int err = put_sample(writer, &sample);

		if (err)
			return err;
	}
	return status;
}

static int put_profile(struct writer *writer)
{
	int err;

	put_types(writer);
	put_comments(writer);
	put_mappings(writer);
	err = put_frames(writer);
	return err ? err : put_samples(writer);
}

static int write_profile(const struct sp_profile_view *view, struct sp_sink *sink)
{
	struct writer writer = {.view = view};
	int err, close_err;

	if (view->value_type_count > SP_VIEW_VALUES_MAX)
		return -EINVAL;
	sp_frame_table_init(&writer.frames);
	sp_label_keys_init(&writer.label_keys);
	writer.symbols = sp_symbols_create();
	if (!writer.symbols)
		return -ENOMEM;
	err = collect(&writer);
	if (err)
		goto out;
	err = sp_profile_stream_open(&writer.stream, sink, writer.expected_bytes);
	if (err)
		goto out;
	err = put_profile(&writer);
	close_err = sp_profile_stream_close(writer.stream);
	if (!err)
		err = close_err;
out:
	sp_heap_free(writer.location_ids);
	sp_frame_table_fini(&writer.frames);
	sp_symbols_destroy(writer.symbols);
	return err;
}

const struct sp_reporter_ops sp_reporter_pprof = {
	.name = "pprof",
	.extension = "pb.gz",
	.write_profile = write_profile,
};
