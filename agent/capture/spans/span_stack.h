/*
 * The spans that a thread has entered, innermost last, in private memory of its own.
 * What a handler of ours may meet in between is one word, the thread's label set.
 * Context: hook, on the thread itself.
 */
#ifndef SP_SPAN_STACK_H
#define SP_SPAN_STACK_H

#include "sp_compiler.h"
#include "sp_heap_capture.h"
#include "sp_pair.h"
#include "sp_span_capture.h"
#include "sp_span_change.h"

/*
 * One stay in a span. It is on the stack before anything is done for it, so that a
 * handler of the program that interrupts that, and perhaps jumps away, leaves nothing
 * that is not known here.
 */
struct sp_span_frame {
	uint64_t handle;
	/* That it has joined, or is in again; NULL: not yet, or not sampled. */
	struct sp_span *span;
	/* Also by others (span_others.c); 0: not yet. */
	_Atomic uint64_t enter_cpu_ns;
	uint64_t stack_pointer; /* 0: not scoped */
	uint32_t label_set;	/* of the thread, before this frame */
	bool is_begun;		/* counted in the span's time */
	bool is_again;		/* within another stay of this thread in that span */
};

/* Frames never move: a handler of the program's that needs more may have interrupted a
 * change of those that are there. Beyond the first they lie in parts. */
#define SP_SPAN_FRAMES_FIRST 64U
#define SP_SPAN_PART_FRAMES 1024U
#define SP_SPAN_PARTS 64U

#define SP_SPAN_PLACES 16U

/* One thread. */
struct sp_span_thread {
	uint32_t depth;
	/* The heap's counters when a span was last charged with what came since, both at
	 * once, also by others. */
	_Alignas(16) _Atomic uint64_t allocations;
	_Atomic uint64_t alloc_bytes;
	/* Where these are, in that life of theirs; NULL: not known yet. */
	_Atomic(const struct sp_heap_thread *) heap;
	uint32_t heap_life;
	struct sp_slot *slot;
	/* Of the coroutine that it runs, where that is known; 0: its own. */
	uint64_t stack_low, stack_high;
	_Atomic uint64_t places[SP_SPAN_PLACES]; /* span_life.c; 0: none */
	uint64_t random_state;	/* of ids, which are never the same twice */
	uint64_t sampler_state; /* of the head sampler */
	uint32_t tid;		/* as its slot says */
	struct sp_span_frame first[SP_SPAN_FRAMES_FIRST];
	_Atomic(struct sp_span_frame *) parts[SP_SPAN_PARTS]; /* NULL: not needed yet */
};

/* NULL: has none yet, or no more. */
extern SP_HIDDEN SP_TLS struct sp_span_thread *sp_span_self;
/* Read by heap hooks of this thread; the handler reads the slot's copy. */
extern SP_HIDDEN SP_TLS struct sp_span_mark sp_span_mark_self;

/* Makes it at a thread's first event; NULL without memory, or when the thread ends. */
struct sp_span_thread *sp_span_thread_of_caller(void);

/* The same, with room for one frame more; NULL is counted. */
struct sp_span_thread *sp_span_make_room(void);

/* Of those that there is room for. Also for others. */
struct sp_span_frame *sp_span_further_frame(struct sp_span_thread *self, uint32_t at);

static inline struct sp_span_frame *sp_span_frame_at(struct sp_span_thread *self,
						     uint32_t at)
{
	return sp_likely(at < SP_SPAN_FRAMES_FIRST) ? &self->first[at]
						    : sp_span_further_frame(self, at);
}

/* Nobody has a use for it any more. */
void sp_span_thread_unmap(struct sp_span_thread *self);

/* Those are its thread's counters from now on. */
static inline void sp_span_note_heap(struct sp_span_thread *self,
				     const struct sp_heap_thread *heap)
{
	self->heap_life = atomic_load_explicit(&heap->life, memory_order_relaxed);
	/* Release: whoever looks at it finds its life. */
	atomic_store_explicit(&self->heap, heap, memory_order_release);
}

/* The thread ends. */
void sp_span_leave_all(struct sp_span_thread *self);

/* A new entry, all filled but for its times, is a span from now on. */
void sp_span_open(struct sp_span *span, uint64_t handle);
/* The same, and the thread enters it in that moment. */
void sp_span_open_inside(struct sp_span *span, uint64_t handle, uint64_t stack_pointer);
/* Of a span that is left out. */
void sp_span_enter_unsampled(uint64_t stack_pointer);

/* One of the stacks that a thread is known to run on; empty: none. */
struct sp_span_stack {
	uint64_t low, high;
};

static inline bool sp_span_is_on_stack(const struct sp_span_stack *stack,
				       uint64_t address)
{
	return address >= stack->low && address < stack->high;
}

/* That which the address is on. */
struct sp_span_stack sp_span_stack_of(const struct sp_span_thread *self,
				      uint64_t address);

/* Ends the stay in that frame, and its span; nothing if self is no longer the thread's.
 */
void sp_span_end_scoped(struct sp_span_thread *self, uint32_t at);

/* The thread's stack is there for others to look at, and is no more. False: somebody
 * does. */
void sp_span_others_add(struct sp_span_thread *self);
bool sp_span_others_take_back(struct sp_span_thread *self);

/* After that the thread has no use for it. False: who looks at it unmaps it, perhaps at
 * once. */
bool sp_span_others_leave(struct sp_span_thread *self);

/* What all stays of other threads have come to so far; with_cpu: their CPU time, too,
 * which takes a call of the kernel each. */
void sp_span_others_settle(bool with_cpu);

/* What was allocated between two readings of a thread's counters was for that span. */
void sp_span_add_allocations(struct sp_span *span, struct sp_pair before,
			     struct sp_pair after);

/* Context: signal, in a fork child. */
void sp_span_others_forked(void);

/* Samples are the innermost span's, as it is labelled now. */
void sp_span_publish_top(struct sp_span_thread *self);

/* No more stays: state is SP_SPAN_CLOSED from here on. */
void sp_span_finish_close(struct sp_span *span, uint64_t now_ticks);

/* sp_span_close(), of a span of the table, where spans are on. */
void sp_span_close_at(uint64_t handle, uint64_t now_ticks);

/* Where CPU time is read from clocks, before a thread's first span: the first call of a
 * process finds out what a reading takes, in 10 us. */
void sp_span_measure_reading(void);

/* Context: signal, in a fork child. */
void sp_span_stack_forked(void);

#endif
