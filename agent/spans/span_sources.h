/*
 * One declaration for each source; sources.c lists them.
 */
#ifndef SP_SPAN_SOURCES_H
#define SP_SPAN_SOURCES_H

#include "sp_spans.h"

extern const struct sp_span_source_ops sp_span_api;
extern const struct sp_span_source_ops sp_span_environment;
extern const struct sp_span_source_ops sp_span_otel_thread;
extern const struct sp_span_source_ops sp_span_custom_labels;
extern const struct sp_span_source_ops sp_span_functions;
extern const struct sp_span_source_ops sp_span_thread_names;
extern const struct sp_span_source_ops sp_span_process_title;

#endif
