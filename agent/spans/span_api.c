/*
 * The C API (spanprof/span.h): programs that mark their spans themselves. Context:
 * hook.
 */
#include "span_sources.h"

#include "sp_capture.h"
#include "sp_compiler.h"
#include "sp_span_capture.h"
#include "sp_span_change.h"

#include <spanprof/span.h>

#include <errno.h>

/* A site remembers its callsite for one recording; a fork child has another. */
#define SITE_INDEX_BITS 20U
#define SITE_INDEX_MASK ((1U << SITE_INDEX_BITS) - 1)

static uint32_t callsite_of(struct spanprof_callsite *site)
{
	_Atomic uint32_t *id = (_Atomic uint32_t *)&site->id;
	/* Relaxed: the callsite itself was published by whoever stored this. */
	uint32_t known = atomic_load_explicit(id, memory_order_relaxed);
	uint32_t epoch = sp_span_epoch() << SITE_INDEX_BITS;
	struct sp_span_site text;
	uint32_t callsite;

	if (sp_likely((known & ~SITE_INDEX_MASK) == epoch && known))
		return (known & SITE_INDEX_MASK) - 1;
	text = (struct sp_span_site){
		.name = site->name,
		.target = site->target,
		.file = site->file,
		.line = site->line,
		.source = SP_SPAN_SOURCE_API,
		.is_met = true,
	};
	callsite = sp_span_callsite(&text);
	if (callsite < SITE_INDEX_MASK)
		atomic_store_explicit(id, epoch | (callsite + 1), memory_order_relaxed);
	return callsite;
}

SP_EXPORT spanprof_span spanprof_v1_create(struct spanprof_callsite *site,
					   spanprof_span parent)
{
	int saved_errno = errno;
	spanprof_span span = SP_SPAN_NONE;
	uint64_t before;

	if (site && sp_spans_is_on(SP_SPAN_SOURCE_API) &&
	    (sp_likely(sp_span_is_on()) || sp_span_begin_in_child())) {
		/* The callsite is that of the recording which the span is in. */
		before = sp_span_begin_change();
		span = sp_span_create_within(callsite_of(site), parent, NULL);
		sp_span_end_change(before);
	}
	errno = saved_errno;
	return span;
}

SP_EXPORT void spanprof_v1_enter(spanprof_span span)
{
	int saved_errno = errno;

	sp_span_enter(span, 0);
	errno = saved_errno;
}

SP_EXPORT void spanprof_v1_exit(spanprof_span span)
{
	int saved_errno = errno;

	sp_span_exit(span);
	errno = saved_errno;
}

SP_EXPORT void spanprof_v1_close(spanprof_span span)
{
	int saved_errno = errno;

	sp_span_close(span);
	errno = saved_errno;
}

SP_EXPORT void spanprof_v1_label(spanprof_span span, const char *key, const char *value)
{
	int saved_errno = errno;

	sp_span_label(span, key, value);
	errno = saved_errno;
}

SP_EXPORT void spanprof_v1_follows(spanprof_span span, spanprof_span cause)
{
	sp_span_follows(span, cause);
}

SP_EXPORT spanprof_span spanprof_v1_current(void)
{
	return sp_span_current();
}

const struct sp_span_source_ops sp_span_api = {
	.source = SP_SPAN_SOURCE_API,
	.is_on_by_default = true,
};
