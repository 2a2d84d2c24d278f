/*
 * The span part of the recording. A callsite is a place in a program that makes spans;
 * a path is a callsite within the path of the span around it (a scope), and where the
 * sums of all its spans are kept; a span is one request, query or region; a label set
 * is what a sample carries.
 *
 * Callsites, paths and label sets are appended by whichever hook meets them first,
 * found by hash, and published by is_filled. A span's entry is claimed by the hook
 * that creates it and written by hooks with atomic sums; the consumer takes over what
 * was added since it last looked, and frees the entry when the span is closed and none
 * of its memory is left.
 */
#ifndef SP_RECORDING_SPAN_H
#define SP_RECORDING_SPAN_H

#include "sp_recording.h"

/* Texts of the span part: offsets into SP_SECTION_SPAN_TEXT, NUL-terminated; 0 = "". */

struct sp_callsite {
	_Atomic uint32_t is_filled;
	uint32_t line;
	uint32_t name, target, file; /* texts */
	uint32_t source;	     /* enum sp_span_source */
	uint64_t hash;
};
_Static_assert(sizeof(struct sp_callsite) == 32, "callsite size is part of the layout");

/* Where spans come from; one file of agent/spans each. */
enum sp_span_source {
	SP_SPAN_SOURCE_API,
	SP_SPAN_SOURCE_ENVIRONMENT,
	SP_SPAN_SOURCE_OTEL_THREAD,
	SP_SPAN_SOURCE_CUSTOM_LABELS,
	SP_SPAN_SOURCE_FUNCTIONS,
	SP_SPAN_SOURCE_THREAD_NAMES,
	SP_SPAN_SOURCE_PROCESS_TITLE,
	SP_SPAN_SOURCE_COUNT
};

/* What is not wanted to be known of spans. */
#define SP_UNTRACKED_CPU 1U
#define SP_UNTRACKED_WALL 2U
#define SP_UNTRACKED_ALLOCATIONS 4U
#define SP_UNTRACKED_HEAP 8U

/* Recorded labels of a span: texts, keys and values in turn. */
#define SP_SPAN_LABELS_MAX 8U

struct sp_span_path {
	_Atomic uint32_t is_filled;
	uint32_t parent;   /* path + 1; 0 = outermost */
	uint32_t callsite; /* index */
	uint32_t depth;	   /* 1 = outermost */
	uint64_t hash;
	/* Consumer, in journal changes: sums over the path's spans. Ticks are those of
	 * the header's span_ticks_per_second. */
	_Atomic uint64_t spans; /* closed */
	_Atomic uint64_t busy_ticks, idle_ticks;
	_Atomic uint64_t cpu_ns;
	_Atomic uint64_t allocations, alloc_bytes;
	_Atomic uint64_t entered; /* of these, and of the open ones: entered at all */
	uint64_t unused[6];
};
_Static_assert(sizeof(struct sp_span_path) == 128, "path size is part of the layout");

/* What a sample carries besides its stack. Label set 0 is empty. */
#define SP_LABEL_SET_NONE 0U
#define SP_LABEL_SET_OTHER 1U /* [other]: the table was full */
struct sp_label_set {
	_Atomic uint32_t is_filled;
	uint32_t path; /* path + 1; 0 = none */
	uint64_t hash;
	uint8_t trace_id[16], span_id[8];	 /* zero: not kept */
	uint32_t labels[2 * SP_SPAN_LABELS_MAX]; /* texts: key, value, …; 0 = end */
	uint32_t thread_name, process_title;	 /* texts */
};
_Static_assert(sizeof(struct sp_label_set) == 112,
	       "label set size is part of the layout");

enum sp_span_state {
	SP_SPAN_FREE = 0,
	SP_SPAN_CLAIMED, /* being written */
	SP_SPAN_OPEN,
	SP_SPAN_CLOSED, /* final, to be absorbed */
	SP_SPAN_HELD,	/* absorbed; memory of it is still in use */
};

/* A handle: generation << 32 | index + 1. */
struct sp_span {
	/* Fixed from creation on, but for its state and labels. */
	_Atomic uint32_t state;
	_Atomic uint32_t generation;
	uint32_t path;
	_Atomic uint32_t label_set;
	uint64_t parent;  /* handle; 0 = none */
	uint64_t follows; /* handle of the span it follows from; 0 = none */
	uint8_t trace_id[16];
	uint64_t span_id;
	uint64_t created_ticks;
	/* By hooks of any thread. */
	_Atomic uint64_t stay_ticks; /* span_stays.h */
	_Atomic uint64_t cpu_ns;
	_Atomic uint64_t allocations, alloc_bytes;
	_Atomic uint64_t entered; /* 1: some thread has entered it */
	_Atomic uint64_t closed_ticks;
	_Atomic int64_t live_bytes; /* estimate; of sampled blocks of it */
	_Atomic int32_t live_blocks;
	_Atomic uint32_t next_free; /* index + 1 */
	/* By the consumer: what it has taken over. */
	_Atomic uint64_t absorbed_busy_ticks, absorbed_idle_ticks;
	_Atomic uint64_t absorbed_cpu_ns;
	_Atomic uint64_t absorbed_allocations, absorbed_alloc_bytes;
	_Atomic uint64_t absorbed_entered;
	/* By hooks, both at once (span_use.h): generation << 32, and what follows. Who
	 * changes one word knows of all of it: nobody enters a span that is closing, or
	 * that is another by now. */
	_Alignas(16) _Atomic uint64_t use;
	_Atomic uint64_t idle_ticks;
};
/* Closed, or closed as soon as nobody is in it. */
#define SP_SPAN_USE_CLOSING UINT64_C(0x80000000)
/* Some thread has entered it. */
#define SP_SPAN_USE_ENTERED UINT64_C(0x40000000)
/* Since somebody entered it, others have entered it as well. */
#define SP_SPAN_USE_SHARED UINT64_C(0x20000000)
/* How often it is entered at this moment. */
#define SP_SPAN_USE_COUNT UINT64_C(0x1fffffff)

static inline uint32_t sp_span_entered_now(const struct sp_span *span)
{
	return (uint32_t)(atomic_load_explicit(&span->use, memory_order_relaxed) &
			  SP_SPAN_USE_COUNT);
}

/* Acquire: pairs with the release of who gives it other labels. */
static inline uint32_t sp_span_labels_now(const struct sp_span *span)
{
	return atomic_load_explicit(&span->label_set, memory_order_acquire);
}

_Static_assert(sizeof(struct sp_span) == 192, "span size is part of the layout");

#endif
