/*
 * What the allocation hooks do besides calling through: count exactly, decide by one
 * comparison whether a block is sampled, and ask a small filter whether a block that
 * is given back was. Everything else is cold.
 *
 * Context: hook, unless said otherwise; no lock, no wait, no allocation, errno kept.
 * The hot functions also run before our constructor and in any fork child.
 */
#ifndef SP_HEAP_CAPTURE_H
#define SP_HEAP_CAPTURE_H

#include "sp_alloc_line.h"
#include "sp_compiler.h"
#include "sp_heap_filter.h"
#include "sp_poisson.h"
#include "sp_recording.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* That are drawn at a time. */
#define SP_HEAP_DISTANCES 4U

/*
 * One thread's side of the heap profile: private memory, which a fork child gets
 * zeroed (MADV_WIPEONFORK), so that a child never counts for its parent. Written by
 * its thread alone; the reporter thread reads the counters.
 */
struct sp_heap_thread {
	/* What every call touches. */
	_Alignas(64) uint64_t bytes; /* allocated so far */
	uint64_t sample_at; /* a block that gets bytes there goes the slow way, mostly as
			     * the next point lies there; 0: all do */
	uint64_t allocations; /* realloc counts as one, and as one free */
	uint64_t frees;
	/* What samples touch. */
	uint64_t random_state;
	double variance;	     /* of the estimate of bytes */
	struct sp_slot *slot;	     /* NULL: nobody told us of this thread */
	struct sp_unwind_memo *memo; /* of its last stack */
	int64_t pending_live_bytes, live_step_bytes;
	uint32_t number; /* in the pool, 1 and up; 0: wiped by a fork */
	uint32_t birth;	 /* how many threads had a state before, and this one */
	/* Stack pointers of whoever is at the memo, and at the batch; 0: nobody. */
	uint64_t sampling_at, freeing_at;
	_Atomic uint32_t life; /* odd while it is a thread's */
	_Atomic uint32_t next_free;
	uint32_t batch;			     /* index + 1 of the first; 0: none yet */
	uint16_t batch_count;		     /* in a row */
	uint16_t batch_misses;		     /* blocks that found no line in them */
	struct sp_heap_shortcuts *shortcuts; /* to its usual stacks; NULL: none yet */
	/* What the last block that was sampled stands for, as all of its size do; 0
	 * bytes: there was none. */
	uint64_t weighed_bytes;
	uint32_t weighings;  /* how often it changed */
	uint32_t cost_turns; /* samples and ends, for which of them is measured */
	struct sp_poisson_estimate weighed;
	uint32_t tid;		 /* of a thread that came without a slot; 0: of another */
	uint32_t distances_left; /* of the next points, from the end */
	uint64_t last_cell_hash; /* of the cell of the last sample; 0: none yet */
	uint32_t last_cell;
	uint32_t idle_watch; /* by the collector: when it was last seen in no sample */
	int64_t live_blocks; /* added to the filter less those removed: also by those
			      * that had the state before */
	/* The entry of the last block that it sampled, and the address of that: another
	 * block there has room in the same entry. 0: not known, as always where every
	 * block is sampled. */
	struct sp_live_block *last_block;
	uint64_t last_address;
	union {
		uint64_t distances[SP_HEAP_DISTANCES];
		/* Where every block is sampled: free ones to try first; NULL: none yet.
		 */
		struct sp_heap_entries *entries;
	};
	uint64_t cost_cycles; /* that samples and their ends took: an estimate */
};
_Static_assert(sizeof(struct sp_heap_thread) == 256, "four cache lines a thread");

/* NULL until the thread's first call, and after its end. */
extern SP_HIDDEN SP_TLS struct sp_heap_thread *sp_heap_self;

static inline bool sp_heap_passes_through(void)
{
	return atomic_load_explicit(&sp_alloc_line.is_off, memory_order_relaxed);
}

/* sp_heap_self, found by the line alone; NULL also where that does not say how. */
static inline struct sp_heap_thread *sp_heap_self_quick(void)
{
	/* Acquire: the rest of the line is there. */
	ptrdiff_t offset =
		atomic_load_explicit(&sp_alloc_line.self_offset, memory_order_acquire);
	struct sp_heap_thread *self;

	if (sp_unlikely(!offset))
		return NULL;
	__asm__ volatile("mov %%fs:(%1), %0" : "=r"(self) : "r"(offset));
	return self;
}

/* Multiples of this share NULL's counter, however large the filter is, and also where it
 * has none: free() and realloc() go the slow way for them, too. */
#define SP_HEAP_NULL_STEP (UINT64_C(1) << 38)

/* Allocators place blocks at regular distances, which one multiplication would send
 * to the same few places. */
static inline uint64_t sp_heap_hash(const void *ptr)
{
	uint64_t hash = (uint64_t)(uintptr_t)ptr * UINT64_C(0x9e3779b97f4a7c15);

	return __builtin_bswap64(hash) * UINT64_C(0xd6e8feb86659fd93);
}

/* --- cold --- */

/* On a thread without state: counts, and makes it where it can. */
void sp_heap_first_alloc(void *ptr, size_t size_bytes);
void sp_heap_first_free(void);
/* A block that gets bytes to sample_at: counts it, and a point may fall into it. */
void sp_heap_sample(struct sp_heap_thread *self, void *ptr, size_t size_bytes);
/* A call has failed: until one succeeds, none is counted before it is made. */
void sp_heap_note_failure(void);
/* The filter knows this address: was it a sampled block? It ends here. */
void sp_heap_free_sampled(void *ptr);
/* Is it known to be a sampled one without a filter? */
bool sp_heap_is_noted(const void *ptr);

/* --- hot --- */

/*
 * Before a call: counts it as one that will succeed, which all but a few do. False, and
 * nothing is counted: sp_heap_note_alloc() is to be told of its result, as a point may
 * fall into it, or the call before failed. So of the calls that fail for want of memory
 * some may be counted, of less than a point's distance in a row.
 */
static inline bool sp_heap_count_unsampled_in(struct sp_heap_thread *self,
					      size_t size_bytes)
{
	uint64_t bytes;

	if (sp_unlikely(!self) ||
	    sp_unlikely(__builtin_add_overflow(self->bytes, size_bytes, &bytes)) ||
	    sp_unlikely(bytes >= self->sample_at))
		return false;
	self->bytes = bytes;
	self->allocations++;
	return true;
}

static inline bool sp_heap_count_unsampled(size_t size_bytes)
{
	return sp_heap_count_unsampled_in(sp_heap_self, size_bytes);
}

static inline bool sp_heap_count_unsampled_quick(size_t size_bytes)
{
	return sp_heap_count_unsampled_in(sp_heap_self_quick(), size_bytes);
}

/* After a call that was not counted before; NULL: it failed. */
static inline void sp_heap_note_alloc(void *ptr, size_t size_bytes)
{
	struct sp_heap_thread *self = sp_heap_self;

	if (sp_unlikely(!ptr)) {
		sp_heap_note_failure();
		return;
	}
	if (sp_unlikely(!self)) {
		sp_heap_first_alloc(ptr, size_bytes);
		return;
	}
	if (sp_unlikely(self->bytes + size_bytes >= self->sample_at)) {
		sp_heap_sample(self, ptr, size_bytes);
		return;
	}
	self->allocations++;
	self->bytes += size_bytes;
}

static inline bool sp_heap_may_be_sampled(const void *ptr)
{
	uintptr_t filter =
		atomic_load_explicit(&sp_alloc_line.filter, memory_order_relaxed);

	if (sp_unlikely(filter <= SP_HEAP_FILTER_ALL))
		return filter == SP_HEAP_FILTER_ALL ||
		       (uintptr_t)ptr % SP_HEAP_NULL_STEP == 0;
	return sp_heap_filter_asks(ptr) ||
	       (sp_alloc_line.has_block_caches && sp_heap_is_noted(ptr));
}

/* Before the block is given back: afterwards its address may be another thread's. */
static inline void sp_heap_note_free(void *ptr)
{
	struct sp_heap_thread *self = sp_heap_self;

	if (sp_unlikely(!ptr))
		return;
	if (sp_likely(self != NULL))
		self->frees++;
	else
		sp_heap_first_free();
	if (sp_unlikely(sp_heap_may_be_sampled(ptr)))
		sp_heap_free_sampled(ptr);
}

/* The same before a free. False, as always for NULL: sp_heap_note_free() has to do it. */
static inline bool sp_heap_count_unsampled_free(void *ptr)
{
	struct sp_heap_thread *self = sp_heap_self;

	if (sp_unlikely(!self) || sp_unlikely(sp_heap_may_be_sampled(ptr)))
		return false;
	self->frees++;
	return true;
}

static inline bool sp_heap_count_unsampled_free_quick(void *ptr)
{
	struct sp_heap_thread *self = sp_heap_self_quick();

	if (sp_unlikely(!self) || sp_unlikely(sp_heap_filter_asks(ptr)))
		return false;
	self->frees++;
	return true;
}

/*
 * A block that is about to be resized may come back elsewhere, or not at all if that
 * fails. Held, it is found under no address, but still counts as in use.
 */
struct sp_heap_hold {
	struct sp_live_block *block; /* NULL: it is not a sampled one */
	uint64_t word;
	uintptr_t filter; /* that it is counted in; a constant one: in none */
	uint32_t forks;	  /* of the process that holds it */
};

struct sp_heap_hold sp_heap_hold_sampled(void *ptr);
void sp_heap_release_sampled(struct sp_heap_hold hold, bool is_gone);

static inline struct sp_heap_hold sp_heap_hold(void *ptr)
{
	struct sp_heap_hold none = {NULL, 0, SP_HEAP_FILTER_NONE, 0};

	return sp_unlikely(ptr && sp_heap_may_be_sampled(ptr)) ? sp_heap_hold_sampled(ptr)
							       : none;
}

/* is_gone: the old block was given back (also by a resize in place), which counts as
 * a free; else it lives on where it was. */
static inline void sp_heap_release(struct sp_heap_hold hold, bool is_gone)
{
	struct sp_heap_thread *self = sp_heap_self;

	if (is_gone) {
		if (sp_likely(self != NULL))
			self->frees++;
		else
			sp_heap_first_free();
	}
	if (sp_unlikely(hold.block != NULL))
		sp_heap_release_sampled(hold, is_gone);
}

/* Stack pointer of the outermost work on the recording that is under way; 0: none. */
extern SP_HIDDEN SP_TLS uint64_t sp_heap_work_at;

/* The thread is in the middle of something, which a jump may leave for ever. */
void sp_heap_leave(struct sp_heap_thread *self, uint64_t stack_pointer);

/* Before a jump to stack_pointer, perhaps out of a handler that had interrupted us. */
static inline void sp_heap_before_jump(uint64_t stack_pointer)
{
	struct sp_heap_thread *self = sp_heap_self;

	if (sp_unlikely(self && (self->sampling_at | self->freeing_at | sp_heap_work_at)))
		sp_heap_leave(self, stack_pointer);
}

/* The calling thread's counters; 0 for a thread without state. */
static inline uint64_t sp_heap_thread_allocations(void)
{
	return sp_likely(sp_heap_self != NULL) ? sp_heap_self->allocations : 0;
}

static inline uint64_t sp_heap_thread_frees(void)
{
	return sp_likely(sp_heap_self != NULL) ? sp_heap_self->frees : 0;
}

/* --- life --- */

struct sp_heap_settings {
	uint64_t rate_bytes; /* mean distance of points; 1: every block, 0: none */
	uint64_t seed;	     /* 0: another one each time */
};

/* Context: init. 0, or -ENOMEM: nothing is counted then. */
int sp_heap_capture_init(const struct sp_heap_settings *settings);

/*
 * Context: hook, at the process's first allocation. note() is called on the calling
 * thread in a hook: when a block is sampled, before the program has it, and when it is
 * none of the sampled any more, while it is still the thread's. Where it returns true
 * is_noted() knows the block, and the filter need not.
 */
void sp_heap_tell_sampled(bool (*note)(const void *ptr, bool is_sampled),
			  bool (*is_noted)(const void *ptr));

/* Context: signal, before the recording's first use. Makes it one with a heap, if there
 * are points. */
void sp_heap_capture_begin(struct sp_recording *recording);

/* Context: hook, before the first span of a thread begins: from here on allocations are
 * counted, also without a heap profile. */
void sp_heap_count_for_spans(void);

/* Context: init, when all is decided: what there is no recording for by now is not
 * counted. Before, allocations are. */
void sp_heap_capture_end_early(void);

/* Context: hook, on a thread whose slot is known; it gets its state at once. */
void sp_heap_thread_begin(struct sp_slot *slot);

/* Context: hook, on the ending thread: its counters are final now. */
void sp_heap_thread_end(void);

/* Context: collector. The slot's thread is gone without a word. */
void sp_heap_thread_vanished(const struct sp_slot *slot);

/* Context: collector. Of threads that came without a slot nobody tells the end: those
 * that are gone give their state back. */
void sp_heap_strays_end_vanished(void);

/* Context: init, collector. From here on, and until it is said to be over, what the
 * calling thread may allocate is the agent's, not the program's. */
void sp_heap_thread_set_own(bool is_own);

/* Context: signal, in a fork child: nothing of the parent's is known here. */
void sp_heap_capture_forked(void);

/* Context: signal. Was this child forked in a handler that interrupted our work on a
 * block, and has not returned to it? Until then the parent's recording, which is a
 * copy here, stays mapped, and there is none of the child's own unless in need. */
bool sp_heap_capture_is_cut_off(void);

/* Context: collector. From here on it watches for each thread to be in no sample. */
void sp_heap_capture_watch_begin(void);

/* Context: collector, behind a barrier in all threads. Was each in none at some look
 * since the watch began? A thread that is in one now may have begun it since. */
bool sp_heap_capture_was_idle(void);

/* Context: signal, consumer lock held. Copies the threads' counters to the recording. */
void sp_heap_capture_publish(struct sp_recording *recording);

/*
 * Context: signal, consumer lock held; for struct sp_absorber. Is the live table to be
 * gone over? Where it is large, only when it is short of room or somebody asked.
 */
bool sp_heap_capture_wants_absorb(void *context);

/* Context: collector. Before values are read that must be complete. */
void sp_heap_capture_ask_absorb(void);

/* Context: signal, consumer lock held; for struct sp_absorber. That entry of the live
 * table is free again. */
void sp_heap_capture_give_block_back(uint64_t entry);

/* Context: signal. Is the recording's live table to be put together as below? */
bool sp_heap_capture_wants_large_pages(void);

/* Context: collector. What of the live table has paid for it becomes large pages. */
void sp_heap_capture_make_large_pages(const struct sp_recording *recording);

/* Context: signal, consumer lock held. Larger, when many sampled blocks live. */
void sp_heap_filter_keep_ahead(const struct sp_recording *recording);

#endif
