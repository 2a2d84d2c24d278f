/*
 * From rings to aggregates: takes records out of the rings, finds or adds their
 * stacks in the call tree and adds their weights to cells; and freed blocks out of the
 * live table into their heap cells. Allocates from no heap
 * and waits for nobody, so that the handler can do it in a process that has no
 * reporter thread (yet); the same code finishes the recording of a killed process
 * in the command.
 *
 * One consumer at a time: sp_absorber_try_lock() first.
 */
#ifndef SP_ABSORB_H
#define SP_ABSORB_H

#include "sp_compiler.h"
#include "sp_recording.h"

#define SP_STACK_FRAMES_MAX 1024U

/* Derived from nodes and cells, private, rebuilt by whoever opens a recording. */
struct sp_index {
	uint32_t *entries; /* item index, 0 = free */
	uint64_t capacity_entries;
	uint64_t used_entries;
};

struct sp_span;
struct sp_span_delta;

struct sp_absorber {
	struct sp_recording *recording;
	struct sp_index nodes, cells;
	/*
	 * Finishes a stack whose walk was put off: writes at most max_frames
	 * frames and the end reached, returns how many. NULL: the frames that the
	 * handler found stay all there is.
	 */
	uint32_t (*finish_stack)(void *context, const struct sp_deferred_stack *stack,
				 uint64_t *frames, uint32_t max_frames, uint8_t *end);
	/*
	 * Whether the table of live blocks is worth a pass now, which takes time in
	 * proportion to its size. NULL: at every drain.
	 */
	bool (*wants_heap)(void *context);
	/*
	 * Somebody wants to know of all spans and samples: this thread alone absorbs
	 * spans and calls the functions below, others leave spans where they are. 0: any
	 * thread absorbs them, and samples are not told of.
	 */
	uint32_t telling_tid;
	/* Told of a sample that has become part of the sums; frames leaf first. */
	void (*sample_taken)(void *context, const struct sp_cpu_record *record,
			     const uint64_t *frames, uint32_t frame_count);
	_Atomic uint64_t untold_samples; /* that another thread took */
	/* Told of spans: what is new of one, and that nothing more will come. NULL:
	 * nobody wants to know. */
	void (*span_changed)(void *context, const struct sp_span *span,
			     const struct sp_span_delta *delta);
	void (*span_ended)(void *context, const struct sp_span *span);
	/* Told of an entry of the live table that is free again; NULL in a recovery. */
	void (*give_block_back)(uint64_t entry);
	/* To the hooks' free list, and what is in use after a pass; NULL in a recovery.
	 */
	void (*give_span_back)(uint32_t index);
	void (*span_pass_ended)(uint64_t spans_in_use);
	/* The clock of spans; NULL in a recovery, which goes by signs of life. */
	uint64_t (*now_ticks)(void);
	uint64_t held_spans_max; /* closed spans kept for their memory */
	uint64_t spans_in_use;	 /* after the last pass */
	void *context;
	uint64_t heap_entries_in_use;	      /* of that table, after the last pass */
	uint64_t frames[SP_STACK_FRAMES_MAX]; /* scratch */
};

/* Context: signal. Only one thread of one process may hold it; never waits. */
bool sp_absorber_try_lock(struct sp_absorber *absorber, uint32_t tid);
/* Context: collector. Tries for so long: a handler that drains is done in microseconds,
 * unless its thread is not run. */
bool sp_absorber_lock_within(struct sp_absorber *absorber, uint32_t tid,
			     uint64_t timeout_ns);
void sp_absorber_unlock(struct sp_absorber *absorber);

/*
 * Context: signal, lock held. Carries out an unfinished journal, builds the
 * indexes from what the recording holds, makes the cells that must never be
 * missing. 0, -ENOMEM, -ENOSPC, or -EINVAL if the tables are damaged.
 */
int sp_absorber_init(struct sp_absorber *absorber, struct sp_recording *recording);

/* Context: signal, lock held. Releases the indexes; the recording stays. */
void sp_absorber_fini(struct sp_absorber *absorber);

/*
 * Context: signal, lock held. Drains every ring, absorbs losses, takes over the
 * exact CPU time and heap counters of ended threads and frees their slots and rings;
 * absorbs freed blocks, if wants_heap() says so. Returns how many records and blocks
 * it took.
 */
uint64_t sp_absorber_drain(struct sp_absorber *absorber);

/* For tests: called at each step that a kill may follow. NULL: nobody looks. */
extern void (*sp_absorber_testpoint)(const char *step);

/* Context: signal. */
static inline void sp_absorber_step(const char *step)
{
	if (sp_unlikely(sp_absorber_testpoint != NULL))
		sp_absorber_testpoint(step);
}

#endif
