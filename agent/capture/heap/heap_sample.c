/*
 * What happens to a block that is sampled: its stack, its cell, its entry in the live
 * table; and at its end. Context: hook. A signal handler of the program that allocates
 * while its thread is in here finds the thread busy; its block is counted, not
 * followed.
 */
#include "heap_cost.h"
#include "heap_live.h"

#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_poisson.h"
#include "sp_sample_labels.h"
#include "sp_span_capture.h"
#include "sp_unwind_memo.h"

#include <errno.h>

#define TAKE_AGAIN_NS UINT64_C(1000000)
/* The counters of a thread are told each time, or each so many blocks. */
#define PUBLISH_EVERY 64U
#define BIRTH_MASK (UINT64_MAX >> SP_HEAP_EPOCH_BITS)
/* More than any memory, but not than what programs may ask for: there the peak stays. */
#define MARK_BYTES_MAX (INT64_MAX >> (SP_HEAP_EPOCH_BITS - 1))
/* Clocks of two cores may differ by less than this; in births. */
#define SKEW_BIRTHS (UINT64_C(1) << 20)
/* A new high-water mark is at least this part above the last. */
#define PEAK_STEP_SHIFT 10
/* Where every block is sampled, threads tell the sum of live bytes in steps: of this part
 * of the mark, and of that part divided by their number, where they are many. */
#define LIVE_STEP_SHIFT 13
#define LIVE_STEPS_SHIFT 9

static struct sp_recording_header *header(void)
{
	return sp_capture.recording.header;
}

/* --- the estimate of live bytes and its high-water mark --- */

static uint64_t mark_now(void)
{
	return atomic_load_explicit(&header()->heap_mark, memory_order_relaxed);
}

static int64_t live_step_bytes(void)
{
	uint64_t peak_bytes = sp_heap_mark_bytes(mark_now());
	uint64_t threads = sp_atomic_value(&header()->live_slots) + 1;

	/* Few share what each may have, and are spared the division. */
	if (sp_likely(threads <= UINT64_C(1) << (LIVE_STEP_SHIFT - LIVE_STEPS_SHIFT)))
		return (int64_t)(peak_bytes >> LIVE_STEP_SHIFT);
	return (int64_t)((peak_bytes >> LIVE_STEPS_SHIFT) / threads);
}

static void add_live(struct sp_heap_thread *self, int64_t bytes)
{
	if (sp_heap_global.is_exact && self) {
		self->pending_live_bytes += bytes;
		if (self->pending_live_bytes <= self->live_step_bytes &&
		    self->pending_live_bytes >= -self->live_step_bytes)
			return;
		bytes = self->pending_live_bytes;
		self->pending_live_bytes = 0;
		self->live_step_bytes = live_step_bytes();
	}
	atomic_fetch_add_explicit(&header()->heap_live_bytes, bytes,
				  memory_order_seq_cst);
}

/* Before a block goes: if the sum was never higher, this moment is the peak. Blocks
 * born from now on belong to the next epoch. */
static void note_peak(const struct sp_heap_thread *self)
{
	int64_t live =
		atomic_load_explicit(&header()->heap_live_bytes, memory_order_relaxed) +
		(self ? self->pending_live_bytes : 0);
	uint64_t mark = mark_now();
	int64_t peak = (int64_t)sp_heap_mark_bytes(mark);
	uint64_t next;

	if (sp_unlikely(live > MARK_BYTES_MAX))
		live = MARK_BYTES_MAX;
	if (sp_likely(live <= peak + (peak >> PEAK_STEP_SHIFT)))
		return;
	next = (uint64_t)live << SP_HEAP_EPOCH_BITS | sp_heap_mark_epoch(mark + 1);
	/* Whoever loses ends its block in the epoch that another has just begun. */
	atomic_compare_exchange_strong_explicit(&header()->heap_mark, &mark, next,
						memory_order_relaxed,
						memory_order_relaxed);
}

/* --- the end of a sampled block --- */

static uint64_t births_at(uint64_t cycles)
{
	return sp_heap_births_at(header(), cycles);
}

/* The count of births starts anew when its bits are used up. */
static uint64_t age_of(uint64_t birth)
{
	uint64_t age = (births_at(sp_clock_cycles()) - birth) & BIRTH_MASK;

	return age < BIRTH_MASK - SKEW_BIRTHS ? age : 0;
}

static void read_freed(const struct sp_live_block *block,
		       const struct sp_heap_thread *self, struct sp_heap_freed *freed)
{
	uint64_t size_bytes = block->size_and_thread & SP_HEAP_SIZE_MASK;

	struct sp_poisson_estimate weighed = sp_heap_weigh_freed(self, size_bytes);

	freed->objects = weighed.objects;
	freed->bytes = weighed.bytes;
	freed->age_births = age_of(block->birth_and_epoch >> SP_HEAP_EPOCH_BITS);
	freed->epoch = sp_heap_mark_epoch(mark_now());
	freed->is_cross = !self || block->size_and_thread >> 48 != (uint16_t)self->birth;
	freed->is_at_peak = (block->birth_and_epoch ^ freed->epoch) & SP_HEAP_EPOCH_MASK;
}

static uint64_t freed_word(const struct sp_heap_freed *freed)
{
	return (freed->epoch & SP_HEAP_EPOCH_MASK) << SP_LIVE_EPOCH_SHIFT |
	       sp_heap_age_pack(freed->age_births) << SP_LIVE_AGE_SHIFT |
	       (freed->is_cross ? SP_LIVE_CROSS : 0) | SP_LIVE_FREED;
}

/* Is somebody about to meet it in the table? */
static bool is_held(const struct sp_live_block *block)
{
	uint64_t held_at = sp_atomic_value(&header()->heap_held_at);

	return sp_unlikely(held_at != 0) && sp_heap_is_held(held_at, sp_clock_cycles()) &&
	       block->birth_and_epoch >> SP_HEAP_EPOCH_BITS <= births_at(held_at);
}

/* From the word it has now to freed; false: another thread was first. */
static bool end_block(struct sp_live_block *block, uint64_t word)
{
	/* Work that was begun in the parent is none of the child's state's. */
	struct sp_heap_thread *self = sp_heap_is_cut_off ? NULL : sp_heap_self;
	uint32_t span = block->span;
	struct sp_heap_freed freed;
	int64_t bytes;

	note_peak(self);
	read_freed(block, self, &freed);
	bytes = (int64_t)freed.bytes;
	if (!self || is_held(block) || !sp_heap_batch_free(self, block, word, &freed)) {
		/* Release: the consumer reads the rest of the entry after it. */
		if (!atomic_compare_exchange_strong_explicit(
			    &block->word, &word, freed_word(&freed), memory_order_release,
			    memory_order_relaxed))
			return false;
		if (!atomic_load_explicit(&sp_heap_global.has_freed,
					  memory_order_relaxed))
			atomic_store_explicit(&sp_heap_global.has_freed, true,
					      memory_order_relaxed);
	}
	add_live(self, -bytes);
	if (span)
		sp_span_add_live(span, -1, -bytes);
	return true;
}

/* In a copy of the process that nobody told us of the filter is the parent's. */
static bool is_filter_ours(void)
{
	if (sp_likely(sp_capture_is_running()))
		return true;
	/* Or a moment before the first sample, when the filter is made. */
	if (!sp_capture_is_own_process())
		sp_heap_filter_forget();
	return false;
}

/* spot: filled for where every block is sampled. */
static struct sp_live_block *find(const void *ptr, struct sp_heap_spot *spot,
				  uint64_t *word)
{
	struct sp_heap_thread *self = sp_heap_self;
	struct sp_live_block *last = self ? sp_heap_live_last(self, ptr) : NULL;

	*word = (uint64_t)(uintptr_t)ptr << 2 | SP_LIVE_LIVE;
	/* Acquire: as for any that is found. */
	if (last && atomic_load_explicit(&last->word, memory_order_acquire) == *word)
		return last;
	sp_heap_live_spot(&sp_capture.recording, ptr, spot);
	return sp_heap_live_find(&sp_capture.recording, spot, word);
}

/* The note was of a block that was at this address before, or of the parent's. */
static void forget_note(const void *ptr)
{
	if (sp_heap_is_noted(ptr))
		sp_heap_note(ptr, false);
}

void sp_heap_free_sampled(void *ptr)
{
	uintptr_t filter = sp_heap_filter_now();
	struct sp_live_block *block = NULL;
	struct sp_heap_spot spot;
	uint64_t word = 0, work, cost;

	if (!sp_heap_filter_may_be(filter, ptr))
		return;
	work = sp_heap_work_begin();
	cost = sp_heap_cost_begin_end();
	if (is_filter_ours()) {
		block = find(ptr, &spot, &word);
		if (sp_unlikely(!block))
			forget_note(ptr);
	}
	if (block && end_block(block, word)) {
		sp_heap_filter_remove(filter, ptr);
		sp_heap_exact_hide(&spot);
	}
	sp_heap_cost_end(cost);
	sp_heap_work_end(work);
}

struct sp_heap_hold sp_heap_hold_sampled(void *ptr)
{
	struct sp_heap_hold hold = {NULL, 0, sp_heap_filter_now(), sp_heap_global.forks};
	struct sp_heap_spot spot;
	uint64_t work, cost;

	if (!sp_heap_filter_may_be(hold.filter, ptr))
		return hold;
	work = sp_heap_work_begin();
	cost = sp_heap_cost_begin_end();
	if (is_filter_ours())
		hold.block = find(ptr, &spot, &hold.word);
	if (hold.block && !atomic_compare_exchange_strong_explicit(
				  &hold.block->word, &hold.word, SP_LIVE_LIVE,
				  memory_order_relaxed, memory_order_relaxed))
		hold.block = NULL;
	/* Its address may be another block's before it is released. */
	if (hold.block) {
		sp_heap_exact_hide(&spot);
		if (sp_heap_note(ptr, false))
			hold.filter = SP_HEAP_FILTER_ALL;
	}
	sp_heap_cost_end(cost);
	sp_heap_work_end(work);
	return hold;
}

static void release(const struct sp_heap_hold *hold, bool is_gone)
{
	void *ptr = (void *)(uintptr_t)(hold->word >> 2); // NOLINT

	if (is_gone) {
		if (end_block(hold->block, SP_LIVE_LIVE) &&
		    !sp_heap_filter_is_constant(hold->filter))
			sp_heap_filter_count_out(hold->filter, ptr);
		return;
	}
	sp_heap_exact_show(&sp_capture.recording, hold->block, hold->word >> 2);
	sp_heap_note(ptr, true);
	atomic_store_explicit(&hold->block->word, hold->word, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	/* Whoever made a filter meanwhile did not see this address. */
	sp_heap_filter_check_added(ptr, hold->filter, SP_HEAP_FILTER_NONE);
}

void sp_heap_release_sampled(struct sp_heap_hold hold, bool is_gone)
{
	uint64_t work = sp_heap_work_begin();
	uint64_t cost = sp_heap_cost_begin_end();

	/* What a parent held is not ours: a handler forked while it was resized. */
	if (sp_capture_is_running() && hold.forks == sp_heap_global.forks)
		release(&hold, is_gone);
	sp_heap_cost_end(cost);
	sp_heap_work_end(work);
}

/* --- its begin --- */

static void find_stack(const struct sp_heap_thread *self, uint64_t stack_pointer,
		       struct sp_unwind_stack *stack)
{
	uint64_t low = 0, high = 0;

	if (self->slot) {
		low = atomic_load_explicit(&self->slot->stack_low, memory_order_relaxed);
		high = atomic_load_explicit(&self->slot->stack_high,
					    memory_order_relaxed);
	}
	stack->delta = 0;
	stack->closes = UINT64_MAX;
	stack->low = stack_pointer;
	stack->is_guarded = !(stack_pointer >= low && stack_pointer < high);
	stack->high = stack->is_guarded ? stack_pointer : high;
}

static struct sp_unwind_memo *memo_of(struct sp_heap_thread *self)
{
	if (sp_unlikely(!self->memo))
		self->memo = sp_unwind_memo_create(sp_capture.depth_frames_max);
	return self->memo;
}

static SP_COLD void count_short(enum sp_unwind_end end)
{
	if (end == SP_UNWIND_NO_MODULE) {
		atomic_store_explicit(&sp_capture.wants_modules, true,
				      memory_order_relaxed);
		sp_capture_wake_reporter();
	} else if (end == SP_UNWIND_NO_RULE) {
		sp_capture_want_code();
	}
	sp_recording_count(&sp_capture.recording,
			   end == SP_UNWIND_FULL ? SP_LOSS_HEAP_CUT : SP_LOSS_HEAP_SHORT,
			   1);
}

/* Returns the hash of the frames. */
static uint64_t walk(struct sp_unwind_memo *memo, const struct sp_heap_place *place)
{
	struct sp_unwind_memo_result result;

	if (sp_unlikely(sp_capture.uses_libunwind))
		result = sp_unwind_memo_by_libunwind(memo, place->snapshot, &place->regs);
	else
		result = sp_unwind_memo_walk(memo, place->snapshot, &place->regs,
					     &place->stack);
	if (sp_unlikely(result.end != SP_UNWIND_OUTERMOST))
		count_short(result.end);
	return result.hash;
}

static SP_NOINLINE uint32_t find_cell_by_walk(struct sp_heap_thread *self,
					      const struct sp_heap_place *place,
					      uint64_t size_class_bytes,
					      uint32_t label_set)
{
	struct sp_unwind_memo *memo = memo_of(self);
	uint64_t hash;
	uint32_t cell;

	if (sp_unlikely(!memo)) {
		sp_recording_count(&sp_capture.recording, SP_LOSS_HEAP_STACK, 1);
		return SP_HEAP_CELL_DROPPED;
	}
	hash = walk(memo, place);
	cell = sp_heap_cell_of(self, memo, hash, size_class_bytes, label_set);
	if (sp_heap_global.is_exact)
		sp_heap_shortcut_keep(self, place, hash, size_class_bytes, label_set,
				      cell);
	return cell;
}

/* In the frame of whoever called it: place says where that is. */
static inline __attribute__((always_inline)) uint32_t
find_cell(struct sp_heap_thread *self, size_t size_bytes, uint32_t label_set)
{
	uint64_t size_class_bytes = sp_heap_size_class(size_bytes);
	struct sp_heap_place place;
	uint32_t cell;

	place.snapshot = atomic_load_explicit(&sp_unwind_snapshot, memory_order_acquire);
	sp_unwind_regs_here(&place.regs);
	find_stack(self, place.regs.value[SP_DWARF_RSP], &place.stack);
	if (sp_heap_global.is_exact) {
		cell = sp_heap_shortcut_find(self, &place, size_class_bytes, label_set);
		if (sp_likely(cell != SP_HEAP_CELL_DROPPED))
			return cell;
	}
	return find_cell_by_walk(self, &place, size_class_bytes, label_set);
}

/* Its address is another block's now: it left behind our back. */
static void end_stale(void *ptr, const struct sp_heap_spot *spot)
{
	uintptr_t filter = sp_heap_filter_now();
	struct sp_heap_spot found;
	struct sp_live_block *block;
	uint64_t word;

	if (!sp_heap_filter_may_be(filter, ptr))
		return;
	block = spot->last ? find(ptr, &found, &word)
			   : sp_heap_live_find(&sp_capture.recording, spot, &word);
	if (!block || !end_block(block, word))
		return;
	sp_heap_filter_remove(filter, ptr);
	sp_recording_count(&sp_capture.recording, SP_LOSS_HEAP_STALE, 1);
}

/* No room in the live table: the block counts as allocated, and never as in use. */
static void count_untracked(uint32_t cell_index, size_t size_bytes)
{
	struct sp_heap_cell *cell = sp_recording_item(&sp_capture.recording,
						      SP_SECTION_HEAP_CELLS, cell_index);
	double weight = sp_poisson_weight(size_bytes, sp_heap_global.rate_bytes);

	atomic_fetch_add_explicit(&cell->untracked_objects_q8, (uint64_t)(weight * 256),
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&cell->untracked_bytes,
				  (uint64_t)(weight * (double)size_bytes),
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&cell->untracked_samples, 1, memory_order_relaxed);
	sp_recording_count(&sp_capture.recording, SP_LOSS_HEAP_UNTRACKED, 1);
}

/* Not over and over where there is none to be had. */
static bool may_take_storage(void)
{
	static _Atomic uint64_t last_ns;
	uint64_t now_ns = sp_clock_monotonic_ns();
	uint64_t before_ns = atomic_exchange(&last_ns, now_ns);

	return now_ns - before_ns >= TAKE_AGAIN_NS;
}

/* With the table as it is by now. */
static struct sp_live_block *claim_again(struct sp_heap_thread *self, const void *ptr,
					 bool *is_crowded)
{
	struct sp_heap_spot spot;

	sp_heap_live_spot(&sp_capture.recording, ptr, &spot);
	return sp_heap_live_claim(&sp_capture.recording, self, &spot, is_crowded);
}

/* No bucket of the address has room. */
static SP_COLD struct sp_live_block *
claim_with_more_room(struct sp_heap_thread *self, const void *ptr, bool *is_crowded)
{
	struct sp_live_block *block;

	/* Freed blocks hold the room that there is, before it is their time. */
	if (may_take_storage())
		sp_heap_capture_ask_absorb();
	sp_capture_take_storage();
	block = claim_again(self, ptr, is_crowded);
	/* Whoever drains may be a thread that does not run. */
	if (!block && sp_heap_live_grow(&sp_capture.recording))
		block = claim_again(self, ptr, is_crowded);
	return block;
}

static void add_block(struct sp_heap_thread *self, void *ptr,
		      const struct sp_heap_spot *spot, size_t size_bytes,
		      int64_t estimate_bytes, uint32_t cell, uint32_t span,
		      uint64_t now_cycles)
{
	bool is_crowded = false;
	struct sp_live_block *block = spot->last;
	uintptr_t filter, in_the_making;

	if (!block)
		block = sp_heap_live_claim(&sp_capture.recording, self, spot,
					   &is_crowded);
	else if (sp_unlikely(!sp_heap_live_try_claim(block)))
		block = claim_again(self, ptr, &is_crowded);
	if (sp_unlikely(!block))
		block = claim_with_more_room(self, ptr, &is_crowded);
	if (sp_unlikely(!block)) {
		count_untracked(cell, size_bytes);
		return;
	}
	block->size_and_thread =
		(uint64_t)self->birth << 48 | (size_bytes & SP_HEAP_SIZE_MASK);
	block->cell = cell;
	block->span = span;
	block->birth_and_epoch = births_at(now_cycles) << SP_HEAP_EPOCH_BITS |
				 sp_heap_mark_epoch(mark_now());
	filter = sp_heap_filter_add(ptr, &in_the_making);
	/* Release: whoever finds the word finds the rest. */
	atomic_store_explicit(&block->word, (uint64_t)(uintptr_t)ptr << 2 | SP_LIVE_LIVE,
			      memory_order_release);
	add_live(self, estimate_bytes);
	/* The sum's change was a full barrier, unless no filter can come. */
	sp_heap_filter_check_added(ptr, filter, in_the_making);
	if (!spot->last && !sp_heap_global.is_exact)
		sp_heap_live_keep_last(self, block, ptr);
	if (span)
		sp_span_add_live(span, 1, estimate_bytes);
	if (sp_unlikely(is_crowded) && may_take_storage())
		sp_capture_take_storage();
}

static void count(struct sp_heap_thread *self, size_t size_bytes)
{
	self->allocations++;
	self->bytes += size_bytes;
}

/* After a sample that began then. */
static void publish(struct sp_heap_thread *self, uint64_t begin_cycles)
{
	if (sp_heap_global.is_exact) {
		if (sp_likely(self->allocations % PUBLISH_EVERY != 0))
			return;
		sp_heap_cost_add(self, begin_cycles, PUBLISH_EVERY);
	} else if (sp_heap_cost_is_due(self)) {
		sp_heap_cost_add(self, begin_cycles, sp_heap_cost_weight(self));
	}
	if (self->slot)
		sp_heap_thread_publish(self);
}

static void sample(struct sp_heap_thread *self, void *ptr, size_t size_bytes)
{
	struct sp_span_mark mark = sp_span_mark();
	uint64_t now_cycles = sp_clock_cycles();
	uint32_t forks = sp_heap_global.forks;
	struct sp_poisson_estimate weighed = sp_heap_weigh(self, size_bytes);
	struct sp_heap_spot spot;
	uint32_t cell;

	spot.last = sp_heap_live_last(self, ptr);
	if (!spot.last)
		sp_heap_live_spot(&sp_capture.recording, ptr, &spot);
	mark.label_set = sp_sample_label_set(self->slot, mark.label_set, now_cycles);
	if (!sp_heap_global.is_exact) {
		self->sample_at = self->bytes + sp_heap_next_distance(self);
		self->variance += weighed.variance;
	}
	end_stale(ptr, &spot);
	cell = find_cell(self, size_bytes, mark.label_set);
	/* In a child that was forked meanwhile the cell is another recording's. */
	if (sp_unlikely(forks != sp_heap_global.forks))
		return;
	add_block(self, ptr, &spot, size_bytes, (int64_t)weighed.bytes, cell, mark.span,
		  now_cycles);
	publish(self, now_cycles);
}

/* A copy of the process that nobody told us of: its thread is a wiped one. */
static bool is_recording(struct sp_heap_thread *self, size_t size_bytes)
{
	uint32_t state = atomic_load_explicit(&sp_capture.state, memory_order_acquire);

	if (sp_likely(sp_capture_is_running()))
		return self->number != 0;
	if (!self->number || !sp_capture_is_own_process()) {
		self->sample_at = UINT64_MAX;
		return false;
	}
	/* A fork child that allocates this much is worth a recording of its own. */
	if (state == SP_CAPTURE_FORKED && sp_capture.begin_in_child)
		sp_capture.begin_in_child();
	if (sp_capture_is_running())
		return true;
	if (!sp_heap_global.is_exact)
		self->sample_at = self->bytes + size_bytes + sp_heap_next_distance(self);
	return false;
}

/* The first block after a failed call comes by in any case. Distances of points know
 * nothing of what went before: any other will do from here. */
static bool is_point_in(struct sp_heap_thread *self, size_t size_bytes)
{
	if (sp_likely(self->sample_at || sp_heap_global.is_exact || !self->number))
		return true;
	self->sample_at = self->bytes + sp_heap_next_distance(self);
	return self->bytes + size_bytes >= self->sample_at;
}

void sp_heap_sample(struct sp_heap_thread *self, void *ptr, size_t size_bytes)
{
	uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);
	int saved_errno = errno;
	/* Before the first question, as a fork may change the answer. */
	uint64_t work = sp_heap_work_begin();

	if (!is_point_in(self, size_bytes) || !is_recording(self, size_bytes)) {
		count(self, size_bytes);
	} else if (sp_likely(!self->sampling_at) ||
		   sp_heap_was_left(self, self->sampling_at, here)) {
		if (sp_unlikely(self->sampling_at))
			sp_recording_count(&sp_capture.recording, SP_LOSS_HEAP_LEFT, 1);
		/* From here on a jump is told, so that no block is counted without a
		 * sample and without a word. */
		self->sampling_at = here;
		atomic_signal_fence(memory_order_seq_cst);
		count(self, size_bytes);
		sample(self, ptr, size_bytes);
		atomic_signal_fence(memory_order_seq_cst);
		self->sampling_at = 0;
	} else {
		count(self, size_bytes);
		sp_recording_count(&sp_capture.recording, SP_LOSS_HEAP_REENTERED, 1);
	}
	sp_heap_work_end(work);
	errno = saved_errno;
}
