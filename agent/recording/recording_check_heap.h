/*
 * Whether the heap part of a recording that somebody else wrote can be relied on.
 * Context of everything here: collector.
 */
#ifndef SP_RECORDING_CHECK_HEAP_H
#define SP_RECORDING_CHECK_HEAP_H

#include "sp_recording.h"

/*
 * When it is opened, after its journal was replayed. Afterwards every filled cell has a
 * stack that can be read, and every live or freed block a filled cell: what has not
 * becomes heap cell 0's or its stack's, and is counted as damaged. NULL, or one line
 * that says why the recording is refused.
 */
const char *sp_recording_check_heap(struct sp_recording *recording);

/*
 * Also when its blocks are absorbed: whether all sums are numbers that can be true, and
 * stay far from the limits of 64 bits when they are added up (SP_HEAP_SUM_MAX for
 * objects and bytes, SP_HEAP_AGE_MAX for objects times cycles).
 */
bool sp_recording_has_sane_heap_sums(const struct sp_recording *recording);

#define SP_HEAP_SUM_MAX 0x1p62
#define SP_HEAP_AGE_MAX 0x1p118

#endif
