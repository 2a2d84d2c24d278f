/*
 * Whether the span part of a recording that somebody else wrote can be relied on.
 * Context of everything here: collector.
 */
#ifndef SP_RECORDING_CHECK_SPAN_H
#define SP_RECORDING_CHECK_SPAN_H

#include "sp_recording.h"

/*
 * When it is opened, after its journal was replayed. Afterwards every text ends within
 * its section; what is filled refers to what is there or to nothing, paths to earlier
 * paths only; and every span that is open, closed or held has a path. What had not is
 * left out and counted as damaged. NULL, or one line that says why the recording is
 * refused.
 */
const char *sp_recording_check_spans(struct sp_recording *recording);

/* Also when its spans are absorbed: whether all sums can be true, and stay far from the
 * limits of 64 bits when they are added up. */
bool sp_recording_has_sane_span_sums(const struct sp_recording *recording);

#endif
