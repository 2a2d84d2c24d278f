/*
 * See sp_sample_labels.h. A thread's names are kept in its slot with the time when they
 * were read: to ask the kernel is the dearest part of a sample. A handler may
 * interrupt a hook of its thread here: each word of the slot is whole, and what was
 * found for one set of names is never taken for another.
 */
#include "sp_sample_labels.h"

#include "sp_capture.h"
#include "sp_compiler.h"
#include "sp_intern.h"
#include "sp_recording_spans.h"
#include "span_names.h"
#include "span_table.h"

#include <string.h>

/* A tenth of a millisecond or so: no name is read more often. */
#define NAMES_AGE_CYCLES_MIN (UINT64_C(1) << 18)
/* About a second: for the names of threads that changed without a word. */
#define THREAD_NAME_AGE_CYCLES_MAX (UINT64_C(1) << 31)
#define NEVER UINT64_MAX
/*
 * So many different names are told apart in one process: each multiplies the stacks.
 * Those that come later are one, and are counted.
 */
#define NAMES_MAX 256U
#define NAME_OTHER "[other]"

static struct {
	bool (*_Atomic read)(char text[SP_SAMPLE_NAME_BYTES]);
	_Atomic uint64_t met[NAMES_MAX]; /* hashes; 0: free */
} name_sources[SP_SAMPLE_NAMES];

/* All that is looked at for a sample whose names are known, on one line. */
SP_SAMPLING_DATA _Alignas(64) static struct {
	_Atomic bool has_any;
	_Atomic uint32_t name_changes; /* of threads, that we were told of */
	_Atomic uint64_t name_age_cycles_max[SP_SAMPLE_NAMES];
	struct {
		bool (*_Atomic has_any)(void);
		bool (*add)(struct sp_span_labels *labels);
	} labels[SP_SAMPLE_LABEL_SOURCES_MAX];
} sources = {.name_age_cycles_max = {NEVER, NEVER}};

_Static_assert(SP_SAMPLE_NAMES == SP_ARRAY_COUNT(((struct sp_slot *)0)->sample_names),
	       "a slot has room for all names");

void sp_sample_name_source(enum sp_sample_name which,
			   bool (*read)(char text[SP_SAMPLE_NAME_BYTES]))
{
	/* The parent's names are not the child's. */
	for (uint32_t i = 0; i < NAMES_MAX; i++)
		atomic_store_explicit(&name_sources[which].met[i], 0,
				      memory_order_relaxed);
	atomic_store_explicit(&name_sources[which].read, read, memory_order_relaxed);
	atomic_store_explicit(&sources.name_age_cycles_max[which],
			      which == SP_SAMPLE_THREAD_NAME ? THREAD_NAME_AGE_CYCLES_MAX
							     : NAMES_AGE_CYCLES_MIN,
			      memory_order_relaxed);
	atomic_store_explicit(&sources.has_any, true, memory_order_relaxed);
}

void sp_sample_thread_name_changed(void)
{
	/* Relaxed: the kernel, which has the name, orders who asks it. */
	atomic_fetch_add_explicit(&sources.name_changes, 1, memory_order_relaxed);
}

void sp_sample_label_source(bool (*has_any)(void),
			    bool (*add)(struct sp_span_labels *labels))
{
	for (unsigned int i = 0; i < SP_SAMPLE_LABEL_SOURCES_MAX; i++) {
		bool (*known)(void) = atomic_load_explicit(&sources.labels[i].has_any,
							   memory_order_relaxed);

		if (known && known != has_any)
			continue;
		sources.labels[i].add = add;
		/* Release: who sees that there is a source sees all of it. */
		atomic_store_explicit(&sources.labels[i].has_any, has_any,
				      memory_order_release);
		break;
	}
	atomic_store_explicit(&sources.has_any, true, memory_order_relaxed);
}

/* --- names --- */

static uint64_t hash_of_name(const char *text)
{
	uint64_t hash = 1;

	for (; *text; text++)
		hash = sp_intern_mix(hash, (unsigned char)*text);
	return hash ? hash : 1;
}

static bool is_among_first(enum sp_sample_name which, const char *text)
{
	uint64_t hash = hash_of_name(text);

	for (uint32_t i = 0; i < NAMES_MAX; i++) {
		_Atomic uint64_t *place =
			&name_sources[which].met[(hash + i) % NAMES_MAX];
		uint64_t met = atomic_load_explicit(place, memory_order_relaxed);

		/* Relaxed: the hash is all there is to see. */
		if (met == hash ||
		    (!met && (atomic_compare_exchange_strong_explicit(
				      place, &met, hash, memory_order_relaxed,
				      memory_order_relaxed) ||
			      met == hash)))
			return true;
	}
	return false;
}

static uint32_t read_name(enum sp_sample_name which)
{
	bool (*read)(char *) =
		atomic_load_explicit(&name_sources[which].read, memory_order_relaxed);
	char text[SP_SAMPLE_NAME_BYTES];

	if (!read || !read(text) || !text[0])
		return 0;
	if (is_among_first(which, text))
		return sp_span_text(text);
	sp_recording_count(&sp_span_recording, SP_LOSS_SPAN_LABELS, 1);
	return sp_span_text(NAME_OTHER);
}

/* changes: those before it is read. One that comes meanwhile makes it too old again. */
static SP_COLD void read_name_of(struct sp_slot *slot, enum sp_sample_name which,
				 uint32_t changes, uint64_t now_cycles)
{
	uint32_t name = read_name(which);

	if (name != atomic_exchange_explicit(&slot->sample_names[which], name,
					     memory_order_relaxed))
		/* What was found with another one. */
		atomic_store_explicit(&slot->sample_label_sets, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->sample_names_cycles[which], now_cycles,
			      memory_order_relaxed);
	if (which == SP_SAMPLE_THREAD_NAME)
		atomic_store_explicit(&slot->sample_names_changes, changes,
				      memory_order_relaxed);
}

static bool is_too_old(const struct sp_slot *slot, enum sp_sample_name which,
		       uint32_t changes, uint64_t now_cycles)
{
	/* Also where another core's clock is behind. */
	uint64_t age_cycles =
		now_cycles - atomic_load_explicit(&slot->sample_names_cycles[which],
						  memory_order_relaxed);

	if (age_cycles > atomic_load_explicit(&sources.name_age_cycles_max[which],
					      memory_order_relaxed))
		return true;
	return which == SP_SAMPLE_THREAD_NAME && age_cycles > NAMES_AGE_CYCLES_MIN &&
	       atomic_load_explicit(&slot->sample_names_changes, memory_order_relaxed) !=
		       changes;
}

struct names {
	uint32_t texts[SP_SAMPLE_NAMES]; /* of the recording; 0: none */
};

static struct names names_of(struct sp_slot *slot, uint64_t now_cycles)
{
	struct names names = {{0}};
	uint32_t changes;

	if (!slot)
		return names;
	changes = atomic_load_explicit(&sources.name_changes, memory_order_relaxed);
	for (enum sp_sample_name i = 0; i < SP_SAMPLE_NAMES; i++) {
		if (sp_unlikely(is_too_old(slot, i, changes, now_cycles)))
			read_name_of(slot, i, changes, now_cycles);
		names.texts[i] = atomic_load_explicit(&slot->sample_names[i],
						      memory_order_relaxed);
	}
	return names;
}

static bool has_names(struct names names)
{
	return names.texts[SP_SAMPLE_THREAD_NAME] || names.texts[SP_SAMPLE_PROCESS_TITLE];
}

/* --- label sets --- */

struct sp_sample_label sp_sample_label_of(const char *key, const char *value)
{
	return (struct sp_sample_label){sp_span_text(key), sp_span_text(value)};
}

bool sp_sample_label_put(struct sp_span_labels *labels, struct sp_sample_label label)
{
	for (unsigned int i = 0; i < 2 * SP_SPAN_LABELS_MAX && label.key && label.value;
	     i += 2) {
		if (labels->texts[i] == label.key)
			return false;
		if (labels->texts[i])
			continue;
		labels->texts[i] = label.key;
		labels->texts[i + 1] = label.value;
		return true;
	}
	return false;
}

bool sp_sample_label_add(struct sp_span_labels *labels, const char *key,
			 const char *value)
{
	return sp_sample_label_put(labels, sp_sample_label_of(key, value));
}

static const struct sp_label_set *set_at(uint32_t label_set)
{
	return sp_recording_item(&sp_span_recording, SP_SECTION_LABEL_SETS, label_set);
}

/* Sources that have any perhaps, a bit for each. As for spans: who has a thread pointer
 * of its own may have none of the variables that sources look at. */
static uint32_t sources_with_labels(const struct sp_slot *slot)
{
	uint32_t found = 0;

	if (slot && !atomic_load_explicit(&slot->stack_high, memory_order_relaxed))
		return 0;
	for (unsigned int i = 0; i < SP_SAMPLE_LABEL_SOURCES_MAX; i++) {
		bool (*has_any)(void) = atomic_load_explicit(&sources.labels[i].has_any,
							     memory_order_acquire);

		if (!has_any)
			break;
		found |= (uint32_t)has_any() << i;
	}
	return found;
}

/* What was found for this set and the slot's names the last time; 0: something else. */
static uint32_t known_set(const struct sp_slot *slot, uint32_t label_set)
{
	uint64_t known =
		atomic_load_explicit(&slot->sample_label_sets, memory_order_relaxed);

	return known >> 32 == label_set ? (uint32_t)known : 0;
}

static void keep_set(struct sp_slot *slot, uint32_t label_set, struct names names,
		     uint32_t found)
{
	atomic_store_explicit(&slot->sample_label_sets, (uint64_t)label_set << 32 | found,
			      memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	/* A handler has read others meanwhile, and has forgotten another set. */
	for (enum sp_sample_name i = 0; i < SP_SAMPLE_NAMES; i++)
		if (atomic_load_explicit(&slot->sample_names[i], memory_order_relaxed) !=
		    names.texts[i])
			atomic_store_explicit(&slot->sample_label_sets, 0,
					      memory_order_relaxed);
}

static bool add_labels(uint32_t sources_with, struct sp_span_labels *labels)
{
	bool has_added = false;

	for (unsigned int i = 0; i < SP_SAMPLE_LABEL_SOURCES_MAX; i++)
		if (sources_with & 1U << i)
			has_added |= sources.labels[i].add(labels);
	return has_added;
}

static SP_NOINLINE uint32_t find_set(uint32_t label_set, struct names names,
				     uint32_t sources_with)
{
	const struct sp_label_set *set = set_at(label_set);
	struct sp_span_labels labels = {
		.path = set->path,
		.thread_name = names.texts[SP_SAMPLE_THREAD_NAME],
		.process_title = names.texts[SP_SAMPLE_PROCESS_TITLE],
	};
	bool has_added;

	memcpy(labels.trace_id, set->trace_id, sizeof(labels.trace_id));
	memcpy(labels.span_id, set->span_id, sizeof(labels.span_id));
	memcpy(labels.texts, set->labels, sizeof(labels.texts));
	has_added = add_labels(sources_with, &labels);
	return has_added || has_names(names) ? sp_span_label_set(&labels) : label_set;
}

SP_SAMPLING uint32_t sp_sample_label_set(struct sp_slot *slot, uint32_t label_set,
					 uint64_t now_cycles)
{
	uint32_t sources_with, found;
	struct names names;

	if (!atomic_load_explicit(&sources.has_any, memory_order_relaxed) ||
	    !sp_span_is_on() || label_set == SP_LABEL_SET_OTHER)
		return label_set;
	names = names_of(slot, now_cycles);
	sources_with = sources_with_labels(slot);
	if (sp_unlikely(sources_with))
		return find_set(label_set, names, sources_with);
	if (!has_names(names))
		return label_set;
	found = known_set(slot, label_set);
	if (sp_likely(found))
		return found;
	found = find_set(label_set, names, 0);
	if (found != SP_LABEL_SET_OTHER)
		keep_set(slot, label_set, names, found);
	return found;
}
