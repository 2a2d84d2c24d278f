/*
 * What samples carry: the labels of the span that their thread works for, else of the
 * process's own, and within it what another library says. Context: hook.
 */
#ifndef SP_SPAN_LABELS_H
#define SP_SPAN_LABELS_H

#include "sp_span_capture.h"

/* The label set of a span with those texts (key, value, ...; NULL: none). */
uint32_t sp_span_label_set_with(const struct sp_span *span, const uint32_t *texts);

/* Context: signal, in a fork child. */
void sp_span_labels_forked(void);

#endif
