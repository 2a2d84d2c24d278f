/*
 * Spans in one array, found by their ids; where they are and what they are labelled
 * with once each, found by their contents. Context: collector.
 */
#include "sp_span_ledger.h"

#include "sp_heap.h"

#include <errno.h>
#include <string.h>

#define CAPACITY_FIRST 64U

/* Room for one more; *items may move. */
static int make_room(void *items_pointer, uint32_t count, uint32_t *capacity,
		     size_t item_bytes)
{
	uint32_t wanted = *capacity ? *capacity * 2 : CAPACITY_FIRST;
	void *items, *grown;

	if (count < *capacity)
		return 0;
	memcpy(&items, items_pointer, sizeof(items));
	grown = sp_heap_realloc(items, wanted * item_bytes);
	if (!grown)
		return -ENOMEM;
	memcpy(items_pointer, &grown, sizeof(grown));
	*capacity = wanted;
	return 0;
}

/* Copies a text to *at and goes on behind it. */
static const char *copy_text(char **at, const char *text)
{
	size_t bytes = strlen(text) + 1;
	char *copy = *at;

	memcpy(copy, text, bytes);
	*at += bytes;
	return copy;
}

/* --- what spans have in common --- */

static int find_callsite(struct sp_span_ledger *ledger, const struct sp_span_info *info,
			 uint32_t *found)
{
	uint64_t key = sp_key_mix_text(SP_KEY_START, info->name);
	struct sp_view_named_frame *callsite;
	char *texts;
	int err;

	key = sp_key_mix_text(key, info->target);
	key = sp_key_mix_text(key, info->file);
	key = sp_key_mix(key, info->line);
	*found = sp_key_index_find(&ledger->by_callsite, key);
	if (*found != SP_KEY_NONE)
		return 0;
	err = make_room(&ledger->callsites, ledger->callsite_count,
			&ledger->callsite_capacity, sizeof(*callsite));
	texts = err ? NULL
		    : sp_heap_alloc(strlen(info->name) + strlen(info->target) +
				    strlen(info->file) + 3);
	if (!texts)
		return -ENOMEM;
	callsite = &ledger->callsites[ledger->callsite_count];
	callsite->name = copy_text(&texts, info->name);
	callsite->target = copy_text(&texts, info->target);
	callsite->file = copy_text(&texts, info->file);
	callsite->line = info->line;
	*found = ledger->callsite_count++;
	return sp_key_index_add(&ledger->by_callsite, key, *found);
}

static int find_place(struct sp_span_ledger *ledger, struct sp_ledger_place place,
		      uint32_t *found)
{
	uint64_t key = sp_key_mix(
		sp_key_mix(sp_key_mix(SP_KEY_START, place.parent), place.callsite),
		place.is_process);
	int err;

	*found = sp_key_index_find(&ledger->by_place, key);
	if (*found != SP_KEY_NONE)
		return 0;
	err = make_room(&ledger->places, ledger->place_count, &ledger->place_capacity,
			sizeof(*ledger->places));
	if (err)
		return err;
	ledger->places[ledger->place_count] = place;
	*found = ledger->place_count++;
	return sp_key_index_add(&ledger->by_place, key, *found);
}

static struct sp_ledger_labels *copy_labels(const struct sp_view_label *labels,
					    uint32_t count)
{
	struct sp_ledger_labels *list;
	size_t bytes = sizeof(*list);
	char *texts;

	for (uint32_t i = 0; i < count; i++)
		bytes += strlen(labels[i].key) + strlen(labels[i].str) + 2;
	list = sp_heap_alloc(bytes);
	if (!list)
		return NULL;
	texts = (char *)(list + 1);
	memset(list, 0, sizeof(*list));
	list->count = count;
	for (uint32_t i = 0; i < count; i++) {
		list->labels[i].key = copy_text(&texts, labels[i].key);
		list->labels[i].str = copy_text(&texts, labels[i].str);
	}
	return list;
}

static int find_labels(struct sp_span_ledger *ledger, const struct sp_span_info *info,
		       uint32_t *found)
{
	uint32_t count = info->label_count < SP_VIEW_LABELS_MAX ? info->label_count
								: SP_VIEW_LABELS_MAX;
	uint64_t key = sp_key_mix(SP_KEY_START, count);
	struct sp_ledger_labels *list;
	int err;

	for (uint32_t i = 0; i < count; i++) {
		key = sp_key_mix_text(key, info->labels[i].key);
		key = sp_key_mix_text(key, info->labels[i].str);
	}
	*found = sp_key_index_find(&ledger->by_labels, key);
	if (*found != SP_KEY_NONE)
		return 0;
	err = make_room(&ledger->label_lists, ledger->label_list_count,
			&ledger->label_list_capacity, sizeof(*ledger->label_lists));
	list = err ? NULL : copy_labels(info->labels, count);
	if (!list)
		return -ENOMEM;
	ledger->label_lists[ledger->label_list_count] = list;
	*found = ledger->label_list_count++;
	return sp_key_index_add(&ledger->by_labels, key, *found);
}

/* --- spans --- */

static struct sp_ledger_span *find_span(const struct sp_span_ledger *ledger, uint64_t id)
{
	uint32_t item = id ? sp_key_index_find(&ledger->by_id, id) : SP_KEY_NONE;

	return item == SP_KEY_NONE ? NULL : &ledger->spans[item];
}

int sp_span_ledger_add(struct sp_span_ledger *ledger, const struct sp_span_info *info)
{
	uint64_t parent_id = info->scope_count ? info->scope[0] : 0;
	const struct sp_ledger_span *parent = find_span(ledger, parent_id);
	struct sp_ledger_span span = {.id = info->id, .parent = parent ? parent_id : 0};
	uint32_t callsite;
	int err = find_callsite(ledger, info, &callsite);

	if (!err)
		err = find_place(
			ledger,
			(struct sp_ledger_place){.parent = parent ? parent->place + 1 : 0,
						 .callsite = callsite,
						 .is_process = info->is_process},
			&span.place);
	if (!err)
		err = find_labels(ledger, info, &span.labels);
	if (!err)
		err = make_room(&ledger->spans, ledger->span_count,
				&ledger->span_capacity, sizeof(span));
	if (!err)
		err = sp_key_index_add(&ledger->by_id, info->id, ledger->span_count);
	if (!err)
		ledger->spans[ledger->span_count++] = span;
	return err;
}

int sp_span_ledger_label(struct sp_span_ledger *ledger, const struct sp_span_info *info)
{
	struct sp_ledger_span *span = find_span(ledger, info->id);

	return span ? find_labels(ledger, info, &span->labels) : 0;
}

void sp_span_ledger_end(struct sp_span_ledger *ledger, uint64_t id)
{
	struct sp_ledger_span *span = find_span(ledger, id);

	if (!span)
		return;
	span->is_destroyed = true;
	span->sums[SP_LEDGER_INUSE_OBJECTS] = span->sums[SP_LEDGER_INUSE_BYTES] = 0;
}

void sp_span_ledger_count(struct sp_span_ledger *ledger, uint64_t id,
			  enum sp_ledger_value which, uint64_t value)
{
	struct sp_ledger_span *span = find_span(ledger, id), *parent;

	if (!span)
		return;
	if (which >= SP_LEDGER_INUSE_OBJECTS) {
		span->sums[which] = value;
		return;
	}
	span->sums[which] += value;
	parent = find_span(ledger, span->parent);
	if (parent)
		parent->inside[which] += value;
}

static bool contains_inner(enum sp_ledger_value which)
{
	return which == SP_LEDGER_WALL_BUSY || which == SP_LEDGER_CPU;
}

/* Of a span's own CPU time the part that it has of all. */
static uint64_t system_part(const struct sp_ledger_span *span, uint64_t cpu_ns)
{
	double cpu = (double)span->sums[SP_LEDGER_CPU];

	return cpu > 0 ? (uint64_t)((double)cpu_ns *
				    ((double)span->sums[SP_LEDGER_CPU_SYSTEM] / cpu))
		       : 0;
}

void sp_span_ledger_settle(struct sp_span_ledger *ledger)
{
	for (uint32_t i = 0; i < ledger->span_count; i++) {
		const struct sp_ledger_span *span = &ledger->spans[i];
		uint64_t *owed = ledger->places[span->place].owed;

		for (unsigned int v = 0; v < SP_LEDGER_INUSE_OBJECTS; v++) {
			uint64_t gone = span->out[v] + span->inside[v];

			if (span->is_destroyed && contains_inner(v) &&
			    gone > span->sums[v])
				owed[v] += gone - span->sums[v];
		}
	}
}

/* Returns what is left. */
static uint64_t pay(uint64_t *owed, uint64_t value)
{
	uint64_t paid = value < *owed ? value : *owed;

	*owed -= paid;
	return value - paid;
}

void sp_span_ledger_take(struct sp_span_ledger *ledger, struct sp_ledger_span *span,
			 uint64_t values[SP_LEDGER_VALUES])
{
	uint64_t *owed = ledger->places[span->place].owed;

	for (unsigned int i = 0; i < SP_LEDGER_INUSE_OBJECTS; i++) {
		uint64_t own = span->sums[i];

		if (contains_inner(i))
			own = own > span->inside[i] ? own - span->inside[i] : 0;
		/* Inner spans may be told of before the stay around them has ended:
		 * what is missing for the moment comes with that. */
		values[i] = own > span->out[i] ? own - span->out[i] : 0;
		span->out[i] += values[i];
		values[i] = pay(&owed[i], values[i]);
	}
	values[SP_LEDGER_CPU_SYSTEM] = system_part(span, values[SP_LEDGER_CPU]);
	values[SP_LEDGER_INUSE_OBJECTS] = span->sums[SP_LEDGER_INUSE_OBJECTS];
	values[SP_LEDGER_INUSE_BYTES] = span->sums[SP_LEDGER_INUSE_BYTES];
}

int sp_span_ledger_tidy(struct sp_span_ledger *ledger)
{
	uint32_t kept = 0;
	int err = 0;

	sp_key_index_empty(&ledger->by_id);
	for (uint32_t i = 0; i < ledger->span_count; i++) {
		int add_err;

		if (ledger->spans[i].is_destroyed)
			continue;
		ledger->spans[kept] = ledger->spans[i];
		add_err = sp_key_index_add(&ledger->by_id, ledger->spans[kept].id, kept);
		err = err ? err : add_err;
		kept++;
	}
	ledger->span_count = kept;
	return err;
}

void sp_span_ledger_fini(struct sp_span_ledger *ledger)
{
	for (uint32_t i = 0; i < ledger->callsite_count; i++)
		sp_heap_free((void *)(uintptr_t)ledger->callsites[i].name);
	for (uint32_t i = 0; i < ledger->label_list_count; i++)
		sp_heap_free(ledger->label_lists[i]);
	sp_heap_free(ledger->spans);
	sp_heap_free(ledger->callsites);
	sp_heap_free(ledger->places);
	sp_heap_free(ledger->label_lists);
	sp_key_index_fini(&ledger->by_id);
	sp_key_index_fini(&ledger->by_callsite);
	sp_key_index_fini(&ledger->by_place);
	sp_key_index_fini(&ledger->by_labels);
	memset(ledger, 0, sizeof(*ledger));
}
