/*
 * See span_names.h. Texts are found again by their hash like everything else, so that
 * the same name costs its bytes once. Context: hook.
 */
#include "span_names.h"

#include "sp_capture.h"
#include "sp_intern.h"
#include "sp_span_change.h"
#include "sp_text.h"
#include "span_table.h"

#include <string.h>

#define TEXT_BYTES_MAX 256U
/* Of texts, callsites and paths this part is kept for what stands for the rest; of label
 * sets half of them, so that there is one for each path. */
#define PART_FOR_REST 8U
#define PART_FOR_NAMES 2U
static const char other_name[] = "[other]";

static void *item_of(enum sp_section_kind kind, uint32_t item)
{
	return sp_recording_item(&sp_span_recording, kind, item);
}

static uint64_t hash_of_text_at(uint32_t offset);
static uint64_t hash_of_callsite(uint32_t item)
{
	return ((struct sp_callsite *)item_of(SP_SECTION_CALLSITES, item))->hash;
}

static uint64_t hash_of_path(uint32_t item)
{
	return ((struct sp_span_path *)item_of(SP_SECTION_SPAN_PATHS, item))->hash;
}

static uint64_t hash_of_label_set(uint32_t item)
{
	return ((struct sp_label_set *)item_of(SP_SECTION_LABEL_SETS, item))->hash;
}

static struct sp_intern texts = {.hash_of = hash_of_text_at};
static struct sp_intern callsites = {.hash_of = hash_of_callsite};
static struct sp_intern paths = {.hash_of = hash_of_path};
static struct sp_intern label_sets = {.hash_of = hash_of_label_set};

static uint64_t hash_of_bytes(const char *bytes, size_t count)
{
	uint64_t hash = count + 1;

	for (size_t i = 0; i < count; i++)
		hash = sp_intern_mix(hash, (unsigned char)bytes[i]);
	return hash;
}

static uint64_t hash_of_text_at(uint32_t offset)
{
	const char *text = item_of(SP_SECTION_SPAN_TEXT, offset);

	return hash_of_bytes(text, strlen(text));
}

static uint32_t count_no_room(enum sp_loss loss)
{
	sp_recording_count(&sp_span_recording, loss, 1);
	return UINT32_MAX;
}

/* All but the last part of so many is in use. */
static bool is_nearly_full(enum sp_section_kind kind, uint64_t parts)
{
	const struct sp_recording *recording = &sp_span_recording;
	uint64_t capacity = recording->header->sections[kind].capacity_items;

	return sp_recording_used(recording, kind) >= capacity - capacity / parts;
}

uint32_t sp_span_text(const char *text)
{
	size_t count = 0;
	uint64_t hash;
	uint32_t offset;
	char *copy;

	if (!text || !*text)
		return 0;
	while (count < TEXT_BYTES_MAX - 1 && text[count])
		count++;
	if (sp_unlikely(text[count]))
		count = sp_text_whole_bytes(text, count);
	hash = hash_of_bytes(text, count);
	offset = sp_intern_find(&texts, hash);
	if (offset != SP_INTERN_NONE)
		return offset;
	if ((is_nearly_full(SP_SECTION_SPAN_TEXT, PART_FOR_REST) &&
	     strcmp(text, other_name) != 0) ||
	    !sp_intern_append(&sp_span_recording, SP_SECTION_SPAN_TEXT, count + 1,
			      &offset)) {
		count_no_room(SP_LOSS_SPAN_LABELS);
		return 0;
	}
	copy = item_of(SP_SECTION_SPAN_TEXT, offset);
	memcpy(copy, text, count);
	copy[count] = '\0';
	return sp_intern_add(&texts, hash, offset);
}

/* UINT32_MAX when there is no room, or none for its name. */
static uint32_t add_callsite(const struct sp_span_site *site, bool is_for_rest)
{
	uint32_t name, target, file, item;
	struct sp_callsite *callsite;
	uint64_t hash;

	name = sp_span_text(site->name);
	if (!name && site->name && *site->name)
		return UINT32_MAX;
	target = sp_span_text(site->target);
	file = sp_span_text(site->file);
	hash = sp_intern_mix(1, (uint64_t)name << 32 | target);
	hash = sp_intern_mix(hash, (uint64_t)file << 32 | site->line);
	hash = sp_intern_mix(hash, site->source);
	item = sp_intern_find(&callsites, hash);
	if (item != SP_INTERN_NONE)
		return item;
	if ((!is_for_rest && is_nearly_full(SP_SECTION_CALLSITES, PART_FOR_REST)) ||
	    !sp_intern_append(&sp_span_recording, SP_SECTION_CALLSITES, 1, &item))
		return UINT32_MAX;
	callsite = item_of(SP_SECTION_CALLSITES, item);
	callsite->name = name;
	callsite->target = target;
	callsite->file = file;
	callsite->line = site->line;
	callsite->source = site->source;
	callsite->hash = hash;
	/* Release, here and below: pairs with readers of the recording. */
	atomic_store_explicit(&callsite->is_filled, 1, memory_order_release);
	return sp_intern_add(&callsites, hash, item);
}

/* Of all spans whose own one had no room. */
static uint32_t other_callsite(void)
{
	static const struct sp_span_site site = {.name = other_name};

	return add_callsite(&site, true);
}

static uint32_t find_callsite(const struct sp_span_site *site)
{
	uint32_t callsite = add_callsite(site, false);

	if (sp_likely(callsite != UINT32_MAX))
		return callsite;
	count_no_room(SP_LOSS_SPAN_LABELS);
	callsite = other_callsite();
	return callsite != UINT32_MAX ? callsite : count_no_room(SP_LOSS_SPAN_NO_ROOM);
}

void sp_span_note_source(enum sp_span_source source)
{
	struct sp_recording_header *header = sp_span_recording.header;

	/* Most have been noted before. */
	if (header &&
	    !(atomic_load_explicit(&header->found_sources, memory_order_relaxed) &
	      1U << source))
		atomic_fetch_or_explicit(&header->found_sources, 1U << source,
					 memory_order_relaxed);
}

uint32_t sp_span_callsite(const struct sp_span_site *site)
{
	uint64_t before = sp_span_begin_change();
	uint32_t callsite = UINT32_MAX;

	if (sp_span_is_on()) {
		callsite = find_callsite(site);
		if (site->is_met)
			sp_span_note_source(site->source);
	}
	sp_span_end_change(before);
	return callsite;
}

static uint32_t add_path(uint32_t callsite, uint32_t parent, bool is_for_rest)
{
	uint64_t hash = sp_intern_mix(sp_intern_mix(1, parent), callsite);
	uint32_t item = sp_intern_find(&paths, hash);
	struct sp_span_path *path;

	if (sp_likely(item != SP_INTERN_NONE))
		return item;
	if ((!is_for_rest && is_nearly_full(SP_SECTION_SPAN_PATHS, PART_FOR_REST)) ||
	    !sp_intern_append(&sp_span_recording, SP_SECTION_SPAN_PATHS, 1, &item))
		return UINT32_MAX;
	path = item_of(SP_SECTION_SPAN_PATHS, item);
	path->parent = parent;
	path->callsite = callsite;
	path->depth = 1;
	if (parent)
		path->depth += ((struct sp_span_path *)item_of(SP_SECTION_SPAN_PATHS,
							       parent - 1))
				       ->depth;
	path->hash = hash;
	atomic_store_explicit(&path->is_filled, 1, memory_order_release);
	return sp_intern_add(&paths, hash, item);
}

/* The rest of what is within a path, or, where there is no room for that, of all. */
static uint32_t other_path(uint32_t parent)
{
	uint32_t callsite = other_callsite(), outermost, path;

	count_no_room(SP_LOSS_SPAN_LABELS);
	outermost = callsite != UINT32_MAX ? add_path(callsite, 0, true) : UINT32_MAX;
	if (outermost == UINT32_MAX)
		return count_no_room(SP_LOSS_SPAN_NO_ROOM);
	path = parent ? add_path(callsite, parent, true) : outermost;
	return path != UINT32_MAX ? path : outermost;
}

uint32_t sp_span_path(uint32_t callsite, uint32_t parent)
{
	uint32_t path = add_path(callsite, parent, false);

	return sp_likely(path != UINT32_MAX) ? path : other_path(parent);
}

static uint64_t word_at(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return word;
}

static bool has_more_than_name(const struct sp_span_labels *labels)
{
	const struct sp_span_labels plain = {.path = labels->path};

	return memcmp(labels, &plain, sizeof(plain)) != 0;
}

/* Of so many different ones the name stays, and the rest goes. */
static uint32_t label_set_without_room(const struct sp_span_labels *labels)
{
	const struct sp_span_labels plain = {.path = labels->path};

	count_no_room(SP_LOSS_SPAN_LABELS);
	return has_more_than_name(labels) ? sp_span_label_set(&plain)
					  : SP_LABEL_SET_OTHER;
}

uint32_t sp_span_label_set(const struct sp_span_labels *labels)
{
	uint64_t hash = sp_intern_mix(1, labels->path);
	struct sp_label_set *set;
	uint32_t item;

	hash = sp_intern_mix(hash, word_at(labels->trace_id));
	hash = sp_intern_mix(hash, word_at(labels->trace_id + 8));
	hash = sp_intern_mix(hash, word_at(labels->span_id));
	for (unsigned int i = 0; i < 2 * SP_SPAN_LABELS_MAX && labels->texts[i]; i += 2)
		hash = sp_intern_mix(hash, (uint64_t)labels->texts[i] << 32 |
						   labels->texts[i + 1]);
	hash = sp_intern_mix(hash,
			     (uint64_t)labels->process_title << 32 | labels->thread_name);
	item = sp_intern_find(&label_sets, hash);
	if (sp_likely(item != SP_INTERN_NONE))
		return item;
	if ((has_more_than_name(labels) &&
	     is_nearly_full(SP_SECTION_LABEL_SETS, PART_FOR_NAMES)) ||
	    !sp_intern_append(&sp_span_recording, SP_SECTION_LABEL_SETS, 1, &item))
		return label_set_without_room(labels);
	set = item_of(SP_SECTION_LABEL_SETS, item);
	set->path = labels->path;
	memcpy(set->trace_id, labels->trace_id, sizeof(set->trace_id));
	memcpy(set->span_id, labels->span_id, sizeof(set->span_id));
	memcpy(set->labels, labels->texts, sizeof(set->labels));
	set->thread_name = labels->thread_name;
	set->process_title = labels->process_title;
	set->hash = hash;
	atomic_store_explicit(&set->is_filled, 1, memory_order_release);
	return sp_intern_add(&label_sets, hash, item);
}

void sp_span_names_forked(void)
{
	sp_intern_forget(&texts);
	sp_intern_forget(&callsites);
	sp_intern_forget(&paths);
	sp_intern_forget(&label_sets);
}
