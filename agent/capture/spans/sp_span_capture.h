/*
 * Spans on the program's side: creating, entering, leaving and closing them, and which
 * one a thread works for at this moment. What happens between two of a thread's events
 * is charged to the span it had entered last. Sources of spans (agent/spans) call
 * these; the CPU timer's handler and the heap hooks read the thread's label set.
 *
 * Context: hook, unless said otherwise; no lock, no wait, no allocation from the
 * program's heap, errno kept. Wrong use is counted and healed.
 */
#ifndef SP_SPAN_CAPTURE_H
#define SP_SPAN_CAPTURE_H

#include "sp_capture.h"
#include "sp_compiler.h"
#include "sp_recording_span.h"

#include <stdbool.h>
#include <stdint.h>

/* Handles: generation << 32 | index + 1. */
#define SP_SPAN_NONE UINT64_C(0)
#define SP_SPAN_CURRENT UINT64_MAX
/* Left out by the head sampler, and so are its children. */
#define SP_SPAN_UNSAMPLED (UINT64_MAX - 1)

struct sp_span_settings {
	bool has_exact_cpu;		 /* read the thread's CPU clock at each event */
	bool has_ids;			 /* samples carry span and trace ids */
	bool has_allocations;		 /* somebody wants to know of them */
	uint32_t probability_millionths; /* of a root span to be followed */
	uint64_t seed;			 /* of that choice; 0: another one each time */
	const char *labels; /* recorded keys, separated by commas; "" = none */
};

/* Context: init. */
void sp_span_capture_init(const struct sp_span_settings *settings);

/*
 * Context: signal, before the recording's first use. Makes it one with spans, if
 * sp_span_capture_init() was called; but in a child that is cut off
 * (sp_capture_is_cut_off()), where sp_span_capture_begin_late() does it.
 */
void sp_span_capture_begin(struct sp_recording *recording);

extern SP_HIDDEN bool sp_span_is_initialised;
extern SP_HIDDEN _Atomic bool sp_span_is_followed;

/* Context: signal. Are spans followed in this process? */
static inline bool sp_span_is_on(void)
{
	/* Relaxed: who sees that it is running sees this. */
	return atomic_load_explicit(&sp_span_is_followed, memory_order_relaxed) &&
	       sp_capture_is_running();
}

/*
 * The same, where they are not: a fork child that has spans is worth a recording
 * of its own, from here on. Where it can have none yet, that is counted.
 */
bool sp_span_begin_in_child(void);

/* Context: hook. Another number in each recording of this program's life: callsites
 * are known in one recording only. 1 to 4095. */
uint32_t sp_span_epoch(void);

struct sp_span_site {
	const char *name, *target, *file; /* NULL = "" */
	uint32_t line;
	enum sp_span_source source;
	bool is_met; /* the program has such a span: sp_span_note_source() */
};

/* Context: signal, for samples and at the start. The recording says that such a source
 * was met. */
void sp_span_note_source(enum sp_span_source source);

/* The callsite's index, UINT32_MAX when there is no room (counted). */
uint32_t sp_span_callsite(const struct sp_span_site *site);

struct sp_slot;

/* What another process or thread said about the span around ours. */
struct sp_span_context {
	uint8_t trace_id[16];
	uint8_t span_id[8]; /* zero: none */
};

/*
 * A new span within parent (a handle, SP_SPAN_CURRENT, SP_SPAN_NONE). remote: what it
 * continues, or NULL. SP_SPAN_NONE when there is no room (counted).
 */
uint64_t sp_span_create(uint32_t callsite, uint64_t parent,
			const struct sp_span_context *remote);

/*
 * stack_pointer: of a frame of this thread; when that goes, however that happens, the
 * span ends (a scoped span). 0: it ends when it is closed.
 */
void sp_span_enter(uint64_t handle, uint64_t stack_pointer);

/* Within a change (sp_span_change.h), which began before the callsite was asked for. */
uint64_t sp_span_create_within(uint32_t callsite, uint64_t parent,
			       const struct sp_span_context *remote);

/* Within a change. sp_span_create() in the current one and sp_span_enter(), at one
 * reading of the clock. */
uint64_t sp_span_begin_within(uint32_t callsite, uint64_t stack_pointer);

/* Within a change. sp_span_exit() and sp_span_close(), at one reading of the clocks. */
void sp_span_end_within(uint64_t handle);

void sp_span_exit(uint64_t handle);
void sp_span_close(uint64_t handle);

/* What the calling thread's spans have come to so far, and those of others: the process
 * may end now. */
void sp_span_settle(void);

/*
 * Context: collector, consumer lock held, so that no entry of a span is another's
 * meanwhile. What the spans that threads are in have come to, in allocations and, with
 * with_cpu, CPU time, for which each thread's clock is read.
 */
void sp_span_settle_others(bool with_cpu);

/* handle SP_SPAN_NONE: the current one. */
void sp_span_label(uint64_t handle, const char *key, const char *value);
void sp_span_follows(uint64_t handle, uint64_t cause);
uint64_t sp_span_current(void);

/*
 * Within a change (sp_span_change.h). The thread goes on at stack_pointer, perhaps after
 * a jump past frames: of scoped spans on that stack those with frames below are no more.
 * Nothing is known, and nothing done, when it is neither the thread's own nor that of
 * sp_span_switch_stack().
 */
void sp_span_unwind_to(uint64_t stack_pointer);

/* The same before a jump, perhaps out of a handler of the program that had interrupted a
 * change of spans. */
void sp_span_before_jump(uint64_t stack_pointer);

/*
 * The thread is about to run at stack_pointer on a coroutine's stack, from low to high;
 * 0: on one that is not known, or its own. Frames that it has left there are no more.
 */
void sp_span_switch_stack(uint64_t stack_pointer, uint64_t low, uint64_t high);

/* Handlers of the thread's run at low to high from now on; 0, 0: on whatever it runs. */
void sp_span_set_signal_stack(uint64_t low, uint64_t high);

/* The frame of a scoped span, entered with this very stack_pointer, is going. */
void sp_span_end_frame(uint64_t stack_pointer);

/* Is a label of that key kept at all? */
bool sp_span_is_label_recorded(const char *key);

/*
 * Context: init. Samples of a thread for which read() says what span it is in, by
 * whatever means, count for a span of that callsite within the thread's own.
 * read() is called in the handler and in heap hooks, on the thread in question. site,
 * which has to stay, becomes a callsite when there is the first such sample.
 */
void sp_span_set_outside(bool (*read)(struct sp_span_context *context),
			 const struct sp_span_site *site);

/* --- life of threads and processes --- */

void sp_span_thread_begin(struct sp_slot *slot);
/* Leaves everything that the thread has entered. */
void sp_span_thread_end(void);
/* Context: signal, in a fork child, after the same of the heap. */
void sp_span_capture_forked(void);

/* --- a fork child that is cut off (sp_capture_is_cut_off()); context: signal --- */

/* Did its handler interrupt a change of spans? */
bool sp_span_capture_is_cut_off(void);
/* Now what was interrupted is over. Begins spans in the recording, if there is one by
 * now. */
void sp_span_capture_begin_late(void);

/* Context: signal. The process's own span: of threads that have entered none. */
void sp_span_set_root(uint64_t handle);

/* --- what samples read --- */

/* The calling thread's label set, and its span in the form that live blocks keep. */
struct sp_span_mark {
	uint32_t label_set;
	uint32_t span;
};
struct sp_span_mark sp_span_mark(void);

/* Context: signal. Label set of the thread that owns the slot. */
uint32_t sp_span_label_set_of(const struct sp_slot *slot);

/* Context: hook. Sampled blocks of a span (sp_span_mark.span) begin or end. */
void sp_span_add_live(uint32_t span, int64_t blocks, int64_t bytes);

/* Context: consumer. The entry may be used again. */
void sp_span_give_back(uint32_t index);
/* Context: consumer, after a pass over all spans: so many entries are in use. */
void sp_span_pass_ended(uint64_t spans_in_use);

#endif
