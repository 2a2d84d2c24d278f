/*
 * What the files of the heap capture share with each other.
 */
#ifndef SP_HEAP_THREADS_H
#define SP_HEAP_THREADS_H

#include "sp_heap_capture.h"
#include "sp_unwind_memo.h"

struct sp_heap_global {
	_Atomic bool is_ready;
	uint64_t rate_bytes;
	uint64_t seed;
	/* All blocks are sampled: the filter would always say yes. */
	bool is_exact;
	/* Younger than this at its end, a block was short-lived; in births. */
	uint64_t short_births;
	/* A bucket of the live table was full. */
	_Atomic bool wants_room;
	/* Blocks were freed since the consumer last looked. */
	_Atomic bool has_freed;
	/* NULL, or of whoever wants to know; see sp_heap_tell_sampled(). */
	bool (*note)(const void *ptr, bool is_sampled);
	bool (*is_noted)(const void *ptr);
	/* How many forks lie between this process and the first. */
	uint32_t forks;
};

extern SP_HIDDEN struct sp_heap_global sp_heap_global;

/* Context: signal. All states that there are, in use or not, and how many. */
struct sp_heap_thread *sp_heap_threads(uint32_t *count);

/* Context: hook, collector. Its thread is at its end, or gone. */
void sp_heap_thread_end_life(struct sp_heap_thread *thread);

/* Context: hook. The counters of the calling thread, if it has a slot. */
void sp_heap_thread_publish(const struct sp_heap_thread *thread);

/* --- heap_interrupted.c; context: hook, unless said otherwise --- */

/* The work that is under way (sp_heap_work_at) was begun in another process, our parent.
 */
extern SP_HIDDEN SP_TLS bool sp_heap_is_cut_off;

void sp_heap_work_ended(void);

/*
 * Whoever marked its work with its stack pointer: is it no caller of a
 * function that has this stack pointer, as a handler of the program's jumped out of it?
 */
bool sp_heap_was_left(const struct sp_heap_thread *self, uint64_t mark,
		      uint64_t stack_pointer);

/* Around all that touches the recording. Returns what the end is to be given. */
static inline uint64_t sp_heap_work_begin(void)
{
	uint64_t before = sp_heap_work_at;

	if (sp_likely(!before))
		sp_heap_work_at = (uint64_t)(uintptr_t)__builtin_frame_address(0);
	/* Only a handler on this thread looks. */
	atomic_signal_fence(memory_order_seq_cst);
	return before;
}

static inline void sp_heap_work_end(uint64_t before)
{
	atomic_signal_fence(memory_order_seq_cst);
	sp_heap_work_at = before;
	if (sp_unlikely(sp_heap_is_cut_off) && !before)
		sp_heap_work_ended();
}

/* Context: signal, in a fork child, before anything else of the heap's. */
void sp_heap_work_forked(void);
/* An allocation that is only counted, as the child has no recording yet. */
void sp_heap_count_missed(void);
/* Context: signal. They are among the losses of the child's recording. */
void sp_heap_tell_missed(const struct sp_recording *recording);

/* --- heap_counting.c; context: signal --- */

/* All else is there: threads may get their state. */
void sp_heap_counting_begin(void);

/* --- heap_filter.c; context: signal --- */

/* The process's filter: an empty one, or one that always says yes. */
void sp_heap_filter_begin(bool is_exact);
/* From here on the hooks may count without asking for more than the line. */
void sp_heap_filter_open_quick_way(void);
/* None of the blocks it knew is this process's. */
void sp_heap_filter_forget(void);
/* Around the store that publishes a live block: before it, and after it and a full
 * barrier: either whoever makes a filter sees the block in the table, or the filter is
 * seen here. */
uintptr_t sp_heap_filter_count_in(const void *ptr, uintptr_t *in_the_making);
void sp_heap_filter_recheck(const void *ptr, uintptr_t added,
			    uintptr_t added_in_the_making);
/* Of a filter with counters. */
bool sp_heap_filter_has(uintptr_t filter, const void *ptr);
void sp_heap_filter_count_out(uintptr_t filter, const void *ptr);

static inline bool sp_heap_filter_is_constant(uintptr_t filter)
{
	return filter <= SP_HEAP_FILTER_ALL;
}

/* The filter in force, asked before the block leaves the table; then that one. */
static inline uintptr_t sp_heap_filter_now(void)
{
	return atomic_load_explicit(&sp_alloc_line.filter, memory_order_acquire);
}

/* Of a block that is the calling thread's: sampled from here on, or not any more. True:
 * no filter need know it. */
static inline bool sp_heap_note(const void *ptr, bool is_sampled)
{
	return sp_unlikely(sp_heap_global.note != NULL) &&
	       sp_heap_global.note(ptr, is_sampled);
}

static inline uintptr_t sp_heap_filter_add(const void *ptr, uintptr_t *in_the_making)
{
	uintptr_t filter = sp_heap_filter_now();

	*in_the_making = SP_HEAP_FILTER_NONE;
	if (sp_heap_note(ptr, true))
		return SP_HEAP_FILTER_ALL;
	return sp_heap_filter_is_constant(filter)
		       ? filter
		       : sp_heap_filter_count_in(ptr, in_the_making);
}

static inline void sp_heap_filter_check_added(const void *ptr, uintptr_t added,
					      uintptr_t added_in_the_making)
{
	if (!sp_heap_filter_is_constant(added))
		sp_heap_filter_recheck(ptr, added, added_in_the_making);
}

/* sp_heap_may_be_sampled() said yes; a closer look. Relaxed as there. */
static inline bool sp_heap_filter_may_be(uintptr_t filter, const void *ptr)
{
	if (sp_unlikely(sp_heap_global.is_noted != NULL) && sp_heap_global.is_noted(ptr))
		return true;
	return sp_heap_filter_is_constant(filter) ? filter == SP_HEAP_FILTER_ALL
						  : sp_heap_filter_has(filter, ptr);
}

static inline void sp_heap_filter_remove(uintptr_t filter, const void *ptr)
{
	if (!sp_heap_note(ptr, false) && !sp_heap_filter_is_constant(filter))
		sp_heap_filter_count_out(filter, ptr);
}

/* --- heap_points.c; context: hook --- */

/* From where the thread is to its next point, in bytes. */
uint64_t sp_heap_next_distance(struct sp_heap_thread *self);
/* Of the thread's own sampling only: no handler is at that meanwhile. */
struct sp_poisson_estimate sp_heap_weigh(struct sp_heap_thread *self,
					 uint64_t size_bytes);
/* The same at any time: handlers may sample blocks of other sizes meanwhile. self: NULL
 * on a thread without state. */
struct sp_poisson_estimate sp_heap_weigh_freed(const struct sp_heap_thread *self,
					       uint64_t size_bytes);

/* --- heap_stacks.c; context: hook --- */

/* The class that blocks of this size are counted in: its largest size. */
uint64_t sp_heap_size_class(uint64_t size_bytes);
/* The cell of the stack in the memo, which has that hash, of size class and label set;
 * SP_HEAP_CELL_DROPPED when the tables are full. */
uint32_t sp_heap_cell_of(struct sp_heap_thread *self, const struct sp_unwind_memo *memo,
			 uint64_t stack_hash, uint64_t size_class_bytes,
			 uint32_t label_set);
/* The same of a stack that is known only by its hash; SP_HEAP_CELL_DROPPED: there is
 * none yet. */
uint32_t sp_heap_cell_find(uint64_t stack_hash, uint64_t size_class_bytes,
			   uint32_t label_set);
/* Context: signal, in a fork child. */
void sp_heap_stacks_forked(void);

/* --- heap_shortcuts.c; context: hook --- */

/* Where a block is allocated: all that a walk begins with. */
struct sp_heap_place {
	const struct sp_unwind_snapshot *snapshot;
	struct sp_unwind_regs regs;
	struct sp_unwind_stack stack;
};

/* The cell of a block that is allocated there; SP_HEAP_CELL_DROPPED: a walk must tell. */
uint32_t sp_heap_shortcut_find(struct sp_heap_thread *self,
			       const struct sp_heap_place *place,
			       uint64_t size_class_bytes, uint32_t label_set);
/* What the walk from there, in the thread's memo, has come to. */
void sp_heap_shortcut_keep(struct sp_heap_thread *self, const struct sp_heap_place *place,
			   uint64_t stack_hash, uint64_t size_class_bytes,
			   uint32_t label_set, uint32_t cell);

/* --- heap_batch.c; context: hook --- */

/* What the end of a block comes to. */
struct sp_heap_freed {
	double objects, bytes; /* that it stands for */
	uint64_t age_births;
	uint64_t epoch;	 /* of peaks, now */
	bool is_cross;	 /* another thread allocated it */
	bool is_at_peak; /* it was in use at the last peak */
};

/*
 * Adds a block that this thread frees to the thread's sums, and frees its entry, which
 * has that word. False when the thread's lines are all taken: the entry must wait for
 * the consumer.
 */
bool sp_heap_batch_free(struct sp_heap_thread *self, struct sp_live_block *block,
			uint64_t word, const struct sp_heap_freed *freed);

/* The thread's work on its batch was left in the middle, or would be. */
void sp_heap_batch_finish(struct sp_heap_thread *self);

/* --- heap_entries.c; context: hook, and every block is sampled --- */

/* Context: signal, before the recording's first use. */
void sp_heap_entries_begin(const struct sp_recording *recording);
/* One that was free; NULL: no storage. has_grown: none was free in the table as it was.
 * System calls at times. */
struct sp_live_block *sp_heap_entry_claim(struct sp_heap_thread *self,
					  struct sp_recording *recording,
					  bool *has_grown);
/* By this thread. */
void sp_heap_entry_freed(struct sp_heap_thread *self, uint64_t entry);
/* Context: signal. By whomever. */
void sp_heap_entry_give_back(uint64_t entry);

#endif
