/*
 * Spans that a program's OpenTelemetry library publishes for each thread: the
 * thread-local otel_thread_ctx_v1 (OpenTelemetry enhancement proposal 4947). We define
 * the variable ourselves: where the program does too, our reference is bound to its
 * own, as the program comes first; libraries, also those loaded later, are bound to
 * ours. So the handler reads it without any look-up.
 *
 * Writers make a record valid last and promise no more than a signal handler on the
 * same thread needs. Its attributes are labels of the sample when the user asked for
 * them (record_labels); how far they reach is the writer's word only, so the kernel reads
 * them. Context: signal.
 */
#include "otel_key_names.h"
#include "span_sources.h"

#include "sp_capture.h"
#include "sp_compiler.h"
#include "sp_guarded.h"
#include "sp_sample_labels.h"
#include "sp_span_capture.h"

#include <string.h>

#define RECORD_IS_VALID 1
/* The proposal wants records of no more; what comes later in one is not read. */
#define RECORD_BYTES_MAX 640U
#define KEY_BYTES_MAX 64U
#define VALUE_BYTES_MAX 255U

/* As the proposal lays it out; packed, in the machine's byte order. */
struct record {
	uint8_t trace_id[16];
	uint8_t span_id[8];
	uint8_t valid;
	uint8_t trace_flags;
	uint16_t attributes_bytes;
	uint8_t attributes[]; /* of each: number of its key, bytes of its value, value */
} __attribute__((packed));

#define ATTRIBUTES_BYTES_MAX (RECORD_BYTES_MAX - sizeof(struct record))

extern SP_EXPORT SP_TLS void *otel_thread_ctx_v1;
SP_TLS void *otel_thread_ctx_v1;

SP_SAMPLING static bool read_context(struct sp_span_context *context)
{
	const struct record *record = otel_thread_ctx_v1;

	if (sp_likely(!record) || record->valid != RECORD_IS_VALID)
		return false;
	memcpy(context->trace_id, record->trace_id, sizeof(context->trace_id));
	memcpy(context->span_id, record->span_id, sizeof(context->span_id));
	sp_span_note_source(SP_SPAN_SOURCE_OTEL_THREAD);
	return true;
}

/* --- attributes --- */

SP_SAMPLING static bool has_attributes(void)
{
	const struct record *record = otel_thread_ctx_v1;

	return sp_unlikely(record != NULL) && record->valid == RECORD_IS_VALID &&
	       record->attributes_bytes > 0;
}

/* The last of each wanted key. */
struct attributes {
	uint32_t count;
	bool has_nameless;
	struct {
		struct sp_otel_key key;
		const uint8_t *value;
		uint8_t value_bytes;
	} found[SP_SPAN_LABELS_MAX];
};

static void note_attribute(struct attributes *attributes, const uint8_t *at)
{
	struct sp_otel_key key = sp_otel_key_name(at[0]);
	uint32_t i = 0;

	attributes->has_nameless |= key.is_nameless;
	if (!key.name || key.bytes > KEY_BYTES_MAX)
		return;
	while (i < attributes->count && attributes->found[i].key.name != key.name)
		i++;
	if (i == SP_SPAN_LABELS_MAX)
		return;
	attributes->count += i == attributes->count;
	attributes->found[i].key = key;
	attributes->found[i].value = at + 2;
	attributes->found[i].value_bytes = at[1];
}

static bool add_found(const struct attributes *attributes, struct sp_span_labels *labels)
{
	char key[KEY_BYTES_MAX + 1], value[VALUE_BYTES_MAX + 1];
	bool has_added = false;

	for (uint32_t i = 0; i < attributes->count; i++) {
		size_t key_bytes = attributes->found[i].key.bytes;
		size_t value_bytes = attributes->found[i].value_bytes;

		if (value_bytes == 0)
			continue;
		memcpy(key, attributes->found[i].key.name, key_bytes);
		key[key_bytes] = '\0';
		memcpy(value, attributes->found[i].value, value_bytes);
		value[value_bytes] = '\0';
		has_added |= sp_sample_label_add(labels, key, value);
	}
	return has_added;
}

static bool add_attributes(struct sp_span_labels *labels)
{
	struct record *record = otel_thread_ctx_v1;
	uint8_t bytes[ATTRIBUTES_BYTES_MAX];
	struct attributes attributes = {.count = 0};
	struct iovec piece;
	size_t at = 0;

	if (!record)
		return false;
	piece = (struct iovec){record->attributes, record->attributes_bytes};
	if (piece.iov_len > sizeof(bytes))
		piece.iov_len = sizeof(bytes);
	if (!sp_guarded_gather(&piece, 1, bytes)) {
		sp_recording_count(&sp_capture.recording, SP_LOSS_SPAN_LABELS, 1);
		return false;
	}
	while (at + 2 <= piece.iov_len && at + 2 + bytes[at + 1] <= piece.iov_len) {
		note_attribute(&attributes, bytes + at);
		at += 2 + bytes[at + 1];
	}
	if (sp_unlikely(attributes.has_nameless))
		sp_recording_count(&sp_capture.recording, SP_LOSS_SPAN_NAMELESS, 1);
	/* The rest does not fit, here or in what the record says that it has. */
	if (at < record->attributes_bytes)
		sp_recording_count(&sp_capture.recording, SP_LOSS_SPAN_LABELS, 1);
	return add_found(&attributes, labels);
}

static bool begin(const struct sp_spans_setup *setup)
{
	static const struct sp_span_site site = {
		.name = "otel span",
		.target = "otel_thread_ctx_v1",
		.source = SP_SPAN_SOURCE_OTEL_THREAD,
	};

	sp_span_set_outside(read_context, &site);
	if (setup->labels[0]) {
		sp_otel_key_names_begin(setup->labels);
		sp_sample_label_source(has_attributes, add_attributes);
	}
	return false; /* found when a thread has a record */
}

static bool look_for_names(void)
{
	sp_otel_key_names_look();
	return false; /* not in modules */
}

const struct sp_span_source_ops sp_span_otel_thread = {
	.source = SP_SPAN_SOURCE_OTEL_THREAD,
	.is_on_by_default = true,
	.begin = begin,
	.wants_modules = look_for_names,
};
