/*
 * See sp_recording_spans.h. Items are published in the order in which they refer to
 * each other, so that what is found filled refers to nothing that is not there; of a
 * file that was checked when it was opened (recording_check_span.h). Context: signal.
 */
#include "sp_recording_spans.h"

/* Acquire, here and below: pairs with the hook that filled the item. */
static bool is_filled(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire) != 0;
}

static const void *item_at(const struct sp_recording *recording,
			   enum sp_section_kind kind, uint32_t index)
{
	return index < sp_recording_used(recording, kind)
		       ? sp_recording_item(recording, kind, index)
		       : NULL;
}

const char *sp_span_source_name(enum sp_span_source source)
{
	static const char *const names[SP_SPAN_SOURCE_COUNT] = {
		[SP_SPAN_SOURCE_API] = "api",
		[SP_SPAN_SOURCE_ENVIRONMENT] = "environment",
		[SP_SPAN_SOURCE_OTEL_THREAD] = "otel",
		[SP_SPAN_SOURCE_CUSTOM_LABELS] = "custom-labels",
		[SP_SPAN_SOURCE_FUNCTIONS] = "functions",
		[SP_SPAN_SOURCE_THREAD_NAMES] = "thread-names",
		[SP_SPAN_SOURCE_PROCESS_TITLE] = "process-title",
	};

	return names[source];
}

const char *sp_recording_span_text(const struct sp_recording *recording, uint32_t offset)
{
	const char *text = item_at(recording, SP_SECTION_SPAN_TEXT, offset);

	return text ? text : "";
}

const struct sp_callsite *sp_recording_callsite(const struct sp_recording *recording,
						uint32_t index)
{
	const struct sp_callsite *callsite =
		item_at(recording, SP_SECTION_CALLSITES, index);

	return callsite && is_filled(&callsite->is_filled) ? callsite : NULL;
}

const struct sp_span_path *sp_recording_span_path(const struct sp_recording *recording,
						  uint32_t index)
{
	const struct sp_span_path *path =
		item_at(recording, SP_SECTION_SPAN_PATHS, index);

	return path && is_filled(&path->is_filled) ? path : NULL;
}

const struct sp_label_set *sp_recording_label_set(const struct sp_recording *recording,
						  uint32_t index)
{
	const struct sp_label_set *set = item_at(recording, SP_SECTION_LABEL_SETS, index);

	return set && is_filled(&set->is_filled) ? set : NULL;
}

const char *sp_recording_span_name(const struct sp_recording *recording, uint32_t number)
{
	const struct sp_span_path *path =
		number ? sp_recording_span_path(recording, number - 1) : NULL;
	const struct sp_callsite *callsite =
		path ? sp_recording_callsite(recording, path->callsite) : NULL;

	return callsite ? sp_recording_span_text(recording, callsite->name) : NULL;
}
