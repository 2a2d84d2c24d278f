/*
 * Callsites, paths and label sets: what spans have in common, each kept once in the
 * recording. Context: hook; UINT32_MAX, or label set "other", where there is no room.
 */
#ifndef SP_SPAN_NAMES_H
#define SP_SPAN_NAMES_H

#include "sp_span_capture.h"

/* Offset of a copy of text, cut at 255 bytes. 0: "" or no room. */
uint32_t sp_span_text(const char *text);

/* parent: path + 1, 0 = outermost. */
uint32_t sp_span_path(uint32_t callsite, uint32_t parent);

/* What makes a label set; all of it zero is label set 0. */
struct sp_span_labels {
	uint32_t path; /* + 1 */
	uint8_t trace_id[16], span_id[8];
	uint32_t texts[2 * SP_SPAN_LABELS_MAX];
	uint32_t thread_name, process_title; /* texts */
};
uint32_t sp_span_label_set(const struct sp_span_labels *labels);

/* Context: signal, in a fork child. */
void sp_span_names_forked(void);

#endif
