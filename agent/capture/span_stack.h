/*
 * The spans that a thread has entered, innermost last, in private memory of its own.
 * What a handler of ours may meet in between is one word, the thread's label set.
 * Context: hook, on the thread itself.
 */
#ifndef SP_SPAN_STACK_H
#define SP_SPAN_STACK_H

#include "sp_compiler.h"
#include "sp_span_capture.h"

/* One stay in a span. */
struct sp_span_frame {
	uint64_t handle;
	uint64_t enter_ticks;
	uint64_t enter_cpu_ns;
	uint64_t stack_pointer; /* 0: not scoped */
	uint32_t label_set;	/* of the thread, before this frame */
};

/* One thread. */
struct sp_span_thread {
	struct sp_span_frame *frames;
	uint32_t depth, capacity;
	/* The heap's counters when the thread was last charged. */
	uint64_t allocations, alloc_bytes;
	struct sp_slot *slot;
	uint64_t random_state;
	uint64_t mapped_bytes;
};

/* NULL: has none yet, or no more. */
extern SP_TLS struct sp_span_thread *sp_span_self;
/* Read by heap hooks of this thread; the handler reads the slot's copy. */
extern SP_TLS struct sp_span_mark sp_span_mark_self;

/* Makes it at a thread's first event; NULL without memory, or when the thread ends. */
struct sp_span_thread *sp_span_thread_of_caller(void);

/* The thread's own CPU clock; 0 where that is not wanted. */
uint64_t sp_span_thread_cpu_ns(void);

/* What was allocated since the last event is the innermost span's. */
void sp_span_charge(struct sp_span_thread *self);

/* Ends that stay. */
void sp_span_remove_frame(struct sp_span_thread *self, uint32_t at, uint64_t now_ticks,
			  uint64_t now_cpu_ns);

/* From here on samples are the innermost span's. */
void sp_span_publish_top(struct sp_span_thread *self);

/* No more stays: state is SP_SPAN_CLOSED from here on. */
void sp_span_finish_close(struct sp_span *span);

/* Context: signal, in a fork child. */
void sp_span_stack_forked(void);

#endif
