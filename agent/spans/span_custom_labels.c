/*
 * Labels that a program keeps for its profilers by the custom-labels ABI, version 1: the
 * thread-local custom_labels_current_set points to the thread's labels at this moment.
 * We define the variable ourselves, as that of span_otel_thread.c, so that the handler
 * reads it without any look-up.
 *
 * What it points to is the program's: writers promise what a handler on the same thread
 * needs, but nothing keeps one from leaving labels that it has freed. So everything
 * behind the pointer is read by the kernel, and only labels that the user asked
 * for (record_labels), of which the first of each key counts. Context: signal.
 */
#include "custom_label_memo.h"
#include "span_sources.h"

#include "sp_capture.h"
#include "sp_compiler.h"
#include "sp_guarded.h"
#include "sp_list.h"
#include "sp_module_symbol.h"
#include "sp_next.h"
#include "sp_sample_labels.h"
#include "sp_span_capture.h"

#include <string.h>

#define ABI_VERSION 1U
/* Labels of a thread that are looked at, some at a time. */
#define LABELS_MAX 64U
#define LABELS_AT_ONCE 4U
#define KEY_BYTES_MAX 64U
/* What is kept of a text, with a NUL. */
#define VALUE_BYTES_MAX 256U

struct string {
	uint64_t bytes;
	uint64_t address; /* of a key: 0 = a label that is being changed */
};

struct label {
	struct string key, value;
};

struct set {
	uint64_t labels; /* address */
	uint64_t count, capacity;
};

extern SP_EXPORT SP_TLS void *custom_labels_current_set;
SP_TLS void *custom_labels_current_set;

static const char *recorded_keys;
/* The program has labels of another layout. */
SP_SAMPLING_DATA static _Atomic bool is_other_version;
/*
 * Who says which version they are of may have been loaded late. Once labels were met, the
 * reporter looks at all modules that are there by then; before that they are not read:
 *
 *   UNKNOWN --labels met--> ASKED --scan begins--> LOOKING --scan ended--> KNOWN
 */
enum { VERSION_UNKNOWN, VERSION_ASKED, VERSION_LOOKING, VERSION_KNOWN };
static _Atomic uint32_t version_state;

/* Is there a recorded key of so many bytes (key NULL), or that very key? */
static bool is_recorded(const char *key, uint64_t key_bytes)
{
	const char *rest = recorded_keys;
	struct sp_list_item item;

	while (sp_list_next(&rest, &item))
		if (sp_list_item_is(&item, key ? key : item.at, key_bytes))
			return true;
	return false;
}

/* A look at labels. */
struct look {
	struct sp_span_labels *labels;
	bool has_added;
	struct sp_custom_memo *memo; /* to be told, or NULL */
};

static bool read_at(const struct look *look, uint64_t address, void *buffer,
		    size_t size_bytes)
{
	const struct iovec piece = {(void *)(uintptr_t)address, size_bytes};

	if (!sp_guarded_gather(&piece, 1, buffer))
		return false;
	sp_custom_memo_note_read(look->memo, address, buffer, size_bytes);
	return true;
}

/* False: it could not be read. */
static bool add_label(struct look *look, const struct label *label)
{
	struct sp_sample_label found;
	uint64_t value_bytes = label->value.bytes < VALUE_BYTES_MAX ? label->value.bytes
								    : VALUE_BYTES_MAX - 1;
	const struct iovec pieces[] = {
		{(void *)(uintptr_t)label->key.address, label->key.bytes},
		{(void *)(uintptr_t)label->value.address, value_bytes},
	};
	char text[KEY_BYTES_MAX + VALUE_BYTES_MAX], key[KEY_BYTES_MAX + 1];

	if (!label->key.address || !label->key.bytes || !value_bytes ||
	    label->key.bytes > KEY_BYTES_MAX || !is_recorded(NULL, label->key.bytes))
		return true;
	if (!sp_guarded_gather(pieces, SP_ARRAY_COUNT(pieces), text))
		return false;
	sp_custom_memo_note_read(look->memo, label->key.address, text, label->key.bytes);
	sp_custom_memo_note_read(look->memo, label->value.address,
				 text + label->key.bytes, value_bytes);
	if (!is_recorded(text, label->key.bytes))
		return true;
	memcpy(key, text, label->key.bytes);
	key[label->key.bytes] = '\0';
	text[label->key.bytes + value_bytes] = '\0';
	found = sp_sample_label_of(key, text + label->key.bytes);
	sp_custom_memo_note_label(look->memo, found);
	look->has_added |= sp_sample_label_put(look->labels, found);
	return true;
}

static bool read_set(struct look *look, uint64_t address)
{
	struct label some[LABELS_AT_ONCE];
	struct set set;

	if (!read_at(look, address, &set, sizeof(set)))
		return false;
	if (set.count > LABELS_MAX)
		set.count = LABELS_MAX;
	for (uint64_t done = 0; done < set.count; done += LABELS_AT_ONCE) {
		uint64_t count = set.count - done;

		if (count > LABELS_AT_ONCE)
			count = LABELS_AT_ONCE;
		if (!read_at(look, set.labels + done * sizeof(some[0]), some,
			     count * sizeof(some[0])))
			return false;
		for (uint64_t i = 0; i < count; i++)
			if (!add_label(look, &some[i]))
				return false;
	}
	return true;
}

/* Most labels are those of the last look. */
static bool add_set(uint64_t address, struct sp_span_labels *labels)
{
	struct look look = {.labels = labels, .memo = sp_custom_memo_take(address)};

	if (!sp_custom_memo_add(look.memo, address, labels, &look.has_added)) {
		sp_custom_memo_begin(look.memo, address);
		if (read_set(&look, address))
			sp_custom_memo_keep(look.memo);
		else
			sp_recording_count(&sp_capture.recording, SP_LOSS_SPAN_LABELS, 1);
	}
	sp_custom_memo_give(look.memo);
	return look.has_added;
}

SP_SAMPLING static bool has_any(void)
{
	return sp_unlikely(custom_labels_current_set != NULL) &&
	       !atomic_load_explicit(&is_other_version, memory_order_relaxed);
}

/* They are left out, and counted where somebody wants them. */
static SP_COLD void ask_for_version(void)
{
	uint32_t state = VERSION_UNKNOWN;

	if (atomic_compare_exchange_strong_explicit(&version_state, &state, VERSION_ASKED,
						    memory_order_relaxed,
						    memory_order_relaxed))
		sp_capture_wake_reporter();
	if (recorded_keys[0])
		sp_recording_count(&sp_capture.recording, SP_LOSS_SPAN_LABELS, 1);
}

static bool add_current(struct sp_span_labels *labels)
{
	uint64_t address = (uint64_t)(uintptr_t)custom_labels_current_set;

	sp_span_note_source(SP_SPAN_SOURCE_CUSTOM_LABELS);
	/* Acquire: pairs with the release that tells the end of the look. */
	if (sp_unlikely(atomic_load_explicit(&version_state, memory_order_acquire) !=
			VERSION_KNOWN)) {
		ask_for_version();
		return false;
	}
	/* The look may have ended just now. */
	return recorded_keys[0] && has_any() && add_set(address, labels);
}

/* --- the version --- */

static void check_version(uint64_t address)
{
	uint32_t version;

	if (sp_guarded_read(address, &version, sizeof(version)) && version != ABI_VERSION)
		atomic_store_explicit(&is_other_version, true, memory_order_relaxed);
}

static bool begin(const struct sp_spans_setup *setup)
{
	void *version;

	/* Fork children find everything as it is. */
	if (recorded_keys)
		return false;
	recorded_keys = setup->labels;
	version = sp_next_find_first("custom_labels_abi_version", NULL);
	if (version) {
		check_version((uint64_t)(uintptr_t)version);
		atomic_store_explicit(&version_state, VERSION_KNOWN,
				      memory_order_relaxed);
	}
	sp_sample_label_source(has_any, add_current);
	return false; /* found when a thread has labels */
}

static bool module_loaded(uint64_t start, const struct link_map *link_map)
{
	uint64_t version = sp_module_symbol(start, "custom_labels_abi_version");

	(void)link_map;
	if (version)
		check_version(version);
	return true;
}

/* Also in a fork child whose parent was just looking. */
static bool wants_modules(void)
{
	uint32_t state = VERSION_ASKED;

	return atomic_compare_exchange_strong_explicit(
		       &version_state, &state, VERSION_LOOKING, memory_order_relaxed,
		       memory_order_relaxed) ||
	       state == VERSION_LOOKING;
}

/* A scan that failed tells no more the next time. */
static void modules_told(void)
{
	uint32_t state = VERSION_LOOKING;

	/* Release: what was found of the version is seen first. */
	atomic_compare_exchange_strong_explicit(&version_state, &state, VERSION_KNOWN,
						memory_order_release,
						memory_order_relaxed);
}

const struct sp_span_source_ops sp_span_custom_labels = {
	.source = SP_SPAN_SOURCE_CUSTOM_LABELS,
	.is_on_by_default = true,
	.begin = begin,
	.module_loaded = module_loaded,
	.wants_modules = wants_modules,
	.modules_told = modules_told,
};
