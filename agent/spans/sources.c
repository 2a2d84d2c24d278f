/*
 * The list of sources, and which of them are switched on.
 * Context: init, but for the notes of hooks.
 */
#include "span_sources.h"

#include "sp_list.h"
#include "sp_options_value.h"
#include "sp_recording_spans.h"
#include "sp_span_capture.h"
#include "sp_text.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

static const struct sp_span_source_ops *const sources[] = {
	&sp_span_api,		&sp_span_environment, &sp_span_otel_thread,
	&sp_span_custom_labels, &sp_span_functions,   &sp_span_thread_names,
	&sp_span_process_title,
};
#define SOURCES (sizeof(sources) / sizeof(sources[0]))

static _Atomic uint32_t on_sources;

static const char *name_of(size_t index)
{
	return sp_span_source_name(sources[index]->source);
}

/* Is name, with or without the sign, an item of the list? */
static bool is_listed(const char *list, char sign, const char *name)
{
	size_t name_bytes = strlen(name);
	struct sp_list_item item;

	while (list && sp_list_next(&list, &item)) {
		if (sign && *item.at != sign)
			continue;
		item.at += sign != '\0';
		item.bytes -= sign != '\0';
		if (sp_list_item_is(&item, name, name_bytes))
			return true;
	}
	return false;
}

static bool is_source(const char *name, size_t name_bytes)
{
	for (size_t i = 0; i < SOURCES; i++) {
		if (strlen(name_of(i)) == name_bytes &&
		    memcmp(name_of(i), name, name_bytes) == 0)
			return true;
	}
	return false;
}

/* The source that was probably meant; of equally near ones the first. */
static const char *find_nearest(const char *name, size_t name_bytes)
{
	const char *nearest = name_of(0);
	unsigned int least = UINT_MAX;

	for (size_t i = 0; i < SOURCES; i++) {
		unsigned int distance = sp_word_distance(name, name_bytes, name_of(i),
							 strlen(name_of(i)));

		if (distance < least) {
			least = distance;
			nearest = name_of(i);
		}
	}
	return nearest;
}

static void say_unknown(const char *item, size_t item_bytes, struct sp_text *error)
{
	bool has_sign = *item == '-';

	sp_text_char(error, '"');
	for (size_t i = 0; i < item_bytes; i++)
		sp_text_char(error, item[i]);
	sp_text_string(error, "\" is unknown (did you mean \"");
	sp_text_string(error, has_sign ? "-" : "");
	sp_text_string(error, find_nearest(item + has_sign, item_bytes - has_sign));
	sp_text_string(error, "\"?)");
}

bool sp_spans_check(const char *list, char *error, unsigned long error_bytes)
{
	struct sp_list_item item;
	struct sp_text text;

	sp_text_init(&text, error, error_bytes);
	while (sp_list_next(&list, &item)) {
		size_t sign = *item.at == '-';

		if (!is_source(item.at + sign, item.bytes - sign)) {
			say_unknown(item.at, item.bytes, &text);
			return false;
		}
	}
	return true;
}

void sp_spans_begin(const struct sp_spans_setup *setup)
{
	for (size_t i = 0; i < SOURCES; i++) {
		const struct sp_span_source_ops *source = sources[i];
		bool is_on = (source->is_on_by_default ||
			      is_listed(setup->sources, '\0', name_of(i))) &&
			     !is_listed(setup->sources, '-', name_of(i));

		if (!is_on)
			continue;
		atomic_fetch_or_explicit(&on_sources, 1U << source->source,
					 memory_order_relaxed);
		if (source->begin && source->begin(setup))
			sp_span_note_source(source->source);
	}
}

bool sp_spans_module_loaded(uint64_t start, const struct link_map *link_map)
{
	bool is_done = true;

	for (size_t i = 0; i < SOURCES; i++)
		if (sources[i]->module_loaded && sp_spans_is_on(sources[i]->source))
			is_done &= sources[i]->module_loaded(start, link_map);
	return is_done;
}

bool sp_spans_want_modules(void)
{
	bool wants = false;

	for (size_t i = 0; i < SOURCES; i++)
		if (sources[i]->wants_modules && sp_spans_is_on(sources[i]->source))
			wants |= sources[i]->wants_modules();
	return wants;
}

void sp_spans_modules_told(void)
{
	for (size_t i = 0; i < SOURCES; i++)
		if (sources[i]->modules_told && sp_spans_is_on(sources[i]->source))
			sources[i]->modules_told();
}

bool sp_spans_is_on(enum sp_span_source source)
{
	return atomic_load_explicit(&on_sources, memory_order_relaxed) & 1U << source;
}
