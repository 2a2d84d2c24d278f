/*
 * Reading the span part of a recording, one's own or a file's: items by the numbers
 * that others refer to them by. What is out of range or not filled yet is NULL.
 * Context of everything here: signal.
 */
#ifndef SP_RECORDING_SPANS_H
#define SP_RECORDING_SPANS_H

#include "sp_recording_span.h"

/* As in SPANPROF_SOURCES. */
const char *sp_span_source_name(enum sp_span_source source);

/* "" if there is none. */
const char *sp_recording_span_text(const struct sp_recording *recording, uint32_t offset);

const struct sp_callsite *sp_recording_callsite(const struct sp_recording *recording,
						uint32_t index);
const struct sp_span_path *sp_recording_span_path(const struct sp_recording *recording,
						  uint32_t index);
const struct sp_label_set *sp_recording_label_set(const struct sp_recording *recording,
						  uint32_t index);

/* Name of a path's innermost callsite; NULL if there is none. number: path + 1. */
const char *sp_recording_span_name(const struct sp_recording *recording, uint32_t number);

#endif
