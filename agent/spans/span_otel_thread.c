/*
 * Spans that a program's OpenTelemetry library publishes for each thread: the
 * thread-local otel_thread_ctx_v1 (OpenTelemetry enhancement proposal 4947). We define
 * the variable ourselves: where the program does too, our reference is bound to its
 * own, as the program comes first; libraries, also those loaded later, are bound to
 * ours. So the handler reads it without any look-up.
 *
 * Writers make a record valid last and promise no more than a signal handler on the
 * same thread needs. Context: signal.
 */
#include "sp_compiler.h"
#include "sp_span_capture.h"
#include "span_sources.h"

#include <string.h>

#define RECORD_IS_VALID 1

/* As the proposal lays it out; packed, in the machine's byte order. */
struct record {
	uint8_t trace_id[16];
	uint8_t span_id[8];
	uint8_t valid;
	uint8_t trace_flags;
	uint16_t attributes_bytes;
} __attribute__((packed));

extern SP_EXPORT SP_TLS void *otel_thread_ctx_v1;
SP_TLS void *otel_thread_ctx_v1;

static uint32_t callsite;

static bool read_context(struct sp_span_context *context)
{
	const struct record *record = otel_thread_ctx_v1;

	if (sp_likely(!record) || record->valid != RECORD_IS_VALID)
		return false;
	memcpy(context->trace_id, record->trace_id, sizeof(context->trace_id));
	memcpy(context->span_id, record->span_id, sizeof(context->span_id));
	sp_span_note_source(SP_SPAN_SOURCE_OTEL_THREAD);
	return true;
}

static bool begin(const struct sp_spans_setup *setup)
{
	const struct sp_span_site site = {
		.name = "otel span",
		.target = "otel_thread_ctx_v1",
		.source = SP_SPAN_SOURCE_OTEL_THREAD,
	};

	(void)setup;
	callsite = sp_span_callsite(&site);
	sp_span_set_outside(read_context, callsite);
	return false; /* found when a thread has a record */
}

const struct sp_span_source_ops sp_span_otel_thread = {
	.source = SP_SPAN_SOURCE_OTEL_THREAD,
	.is_on_by_default = true,
	.begin = begin,
};
