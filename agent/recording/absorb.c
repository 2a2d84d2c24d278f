/*
 * The one consumer: rings into cells, ended threads into groups. Context: signal,
 * consumer lock held. Everything that must be all or nothing is one journal
 * change; whatever a damaged record says is checked, since the same code runs
 * over files.
 */
#include "sp_absorb.h"

#include "call_tree.h"
#include "heap_absorb.h"
#include "heap_batches.h"
#include "journal.h"
#include "sp_clock.h"
#include "sp_double.h"
#include "sp_frame.h"
#include "sp_recording_span.h"
#include "sp_recording_writer.h"
#include "sp_ring.h"
#include "sp_syscall.h"
#include "span_absorb.h"

#include <errno.h>
#include <string.h>

/* As enum sp_unwind_end of the unwinder: what the last frame of a walk means. */
enum walk_end { WALK_OUTERMOST = 0, WALK_FULL = 1 };

bool sp_absorber_try_lock(struct sp_absorber *absorber, uint32_t tid)
{
	uint32_t nobody = 0;

	if (!absorber->recording || !absorber->recording->header)
		return false;
	return atomic_compare_exchange_strong_explicit(
		&absorber->recording->header->consumer, &nobody, tid,
		memory_order_acquire, memory_order_relaxed);
}

bool sp_absorber_lock_within(struct sp_absorber *absorber, uint32_t tid,
			     uint64_t timeout_ns)
{
	uint64_t deadline_ns = sp_clock_monotonic_ns() + timeout_ns;

	while (!sp_absorber_try_lock(absorber, tid)) {
		if (sp_clock_monotonic_ns() >= deadline_ns)
			return false;
		sp_syscall0(SYS_sched_yield);
	}
	return true;
}

void sp_absorber_unlock(struct sp_absorber *absorber)
{
	atomic_store_explicit(&absorber->recording->header->consumer, 0,
			      memory_order_release);
}

int sp_absorber_init(struct sp_absorber *absorber, struct sp_recording *recording)
{
	const uint64_t dropped = sp_frame_pseudo(SP_PSEUDO_DROPPED);
	struct sp_cell key = {.kind = SP_CELL_CPU, .group = SP_GROUP_UNKNOWN};
	int err;

	absorber->recording = recording;
	sp_journal_replay(recording);
	sp_heap_batches_replay(recording);
	err = sp_call_tree_build(absorber);
	if (err)
		return err;
	/* Node 1 and cell 0: where a sample can always go. */
	key.node = sp_call_tree_intern(absorber, &dropped, 1);
	if (key.node == SP_NODE_NONE || sp_call_tree_cell(absorber, &key) == SP_CELL_NONE)
		return -ENOSPC;
	return sp_heap_absorb_init(absorber);
}

void sp_absorber_fini(struct sp_absorber *absorber)
{
	sp_call_tree_free(absorber);
}

static struct sp_cell *dropped_cell(struct sp_absorber *absorber, uint32_t group)
{
	const struct sp_cell key = {.node = 1, .kind = SP_CELL_CPU, .group = group};
	uint32_t cell = sp_call_tree_cell(absorber, &key);

	return sp_recording_item(absorber->recording, SP_SECTION_CELLS,
				 cell == SP_CELL_NONE ? 0 : cell);
}

/* A record on its way into a cell. */
struct sample {
	const struct sp_cpu_record *record;
	uint32_t size_bytes;
	enum sp_record_type type;
	uint32_t frame_count; /* leaf first, in absorber->frames; 0 = unreadable */
	enum sp_loss loss;    /* SP_LOSS_COUNT: none */
};

static void finish_walk(struct sp_absorber *absorber, struct sample *sample,
			uint64_t room_bytes, uint8_t *end)
{
	const struct sp_deferred_stack *stack =
		(const void *)(sample->record->frames + sample->frame_count);

	if (sample->type == SP_RECORD_DEFERRED && absorber->finish_stack &&
	    room_bytes >= sizeof(*stack) &&
	    stack->stack_bytes <= room_bytes - sizeof(*stack))
		sample->frame_count =
			absorber->finish_stack(absorber->context, stack, absorber->frames,
					       SP_STACK_FRAMES_MAX - 1, end);
}

static void take_frames(struct sp_absorber *absorber, struct sample *sample)
{
	const struct sp_cpu_record *record = sample->record;
	uint64_t room_frames = (sample->size_bytes - sizeof(*record)) / sizeof(uint64_t);
	uint8_t end = record->end;

	sample->loss = SP_LOSS_COUNT;
	sample->frame_count = record->frame_count;
	if (sample->frame_count > room_frames ||
	    sample->frame_count >= SP_STACK_FRAMES_MAX) {
		sample->frame_count = 0;
		sample->loss = SP_LOSS_DAMAGED;
		return;
	}
	memcpy(absorber->frames, record->frames, sample->frame_count * sizeof(uint64_t));
	finish_walk(absorber, sample,
		    (room_frames - sample->frame_count) * sizeof(uint64_t), &end);
	if (end == WALK_FULL) {
		absorber->frames[sample->frame_count++] =
			sp_frame_pseudo(SP_PSEUDO_TRUNCATED);
		sample->loss = SP_LOSS_STACK_CUT;
	} else if (end != WALK_OUTERMOST) {
		absorber->frames[sample->frame_count++] =
			sp_frame_pseudo(SP_PSEUDO_INCOMPLETE);
		sample->loss = SP_LOSS_STACK_SHORT;
	} else if (!sample->frame_count) {
		sample->loss = SP_LOSS_DAMAGED;
	}
}

static struct sp_cell *find_cell(struct sp_absorber *absorber, struct sample *sample,
				 uint32_t group)
{
	struct sp_cell key = {
		.node = SP_NODE_NONE,
		.kind = SP_CELL_CPU,
		.mode = sample->record->mode,
		.group = group,
		.labels = sample->record->label_set,
	};
	uint32_t cell = SP_CELL_NONE;

	if (sample->frame_count)
		key.node = sp_call_tree_intern(absorber, absorber->frames,
					       sample->frame_count);
	if (key.labels >= sp_recording_used(absorber->recording, SP_SECTION_LABEL_SETS))
		key.labels = SP_LABEL_SET_NONE;
	if (key.node != SP_NODE_NONE)
		cell = sp_call_tree_cell(absorber, &key);
	if (cell != SP_CELL_NONE)
		return sp_recording_item(absorber->recording, SP_SECTION_CELLS, cell);
	if (sample->frame_count)
		sample->loss = SP_LOSS_TABLE_FULL;
	return dropped_cell(absorber, group);
}

/* Only for losses that nobody but the consumer counts. */
static void put_loss(struct sp_absorber *absorber, struct sp_change *change,
		     enum sp_loss loss)
{
	if (loss < SP_LOSS_COUNT)
		sp_change_add(change, &absorber->recording->header->losses[loss], 1);
}

struct consumed {
	void *bytes;
	size_t size_bytes;
};

static void zero_consumed(void *argument)
{
	const struct consumed *consumed = argument;

	memset(consumed->bytes, 0, consumed->size_bytes);
}

static bool is_telling(const struct sp_absorber *absorber)
{
	return atomic_load_explicit(&absorber->recording->header->consumer,
				    memory_order_relaxed) == absorber->telling_tid;
}

static void tell_sample(struct sp_absorber *absorber, const struct sample *sample)
{
	if (!absorber->telling_tid)
		return;
	if (is_telling(absorber) && absorber->sample_taken)
		absorber->sample_taken(absorber->context, sample->record,
				       absorber->frames, sample->frame_count);
	else
		atomic_fetch_add_explicit(&absorber->untold_samples, 1,
					  memory_order_relaxed);
}

static void absorb_sample(struct sp_absorber *absorber, struct sp_ring *ring,
			  uint64_t tail, uint32_t group, struct sp_cpu_record *record,
			  uint32_t size_bytes, enum sp_record_type type)
{
	struct consumed consumed = {record, size_bytes};
	struct sample sample = {.record = record, .size_bytes = size_bytes, .type = type};
	struct sp_cell *cell;
	struct sp_change change;

	take_frames(absorber, &sample);
	cell = find_cell(absorber, &sample, group);
	tell_sample(absorber, &sample);
	sp_change_begin(&change, absorber->recording);
	sp_change_add(&change, &cell->values[0], 1);
	sp_change_add(&change, &cell->values[1], record->weight_periods);
	put_loss(absorber, &change, sample.loss);
	sp_change_put(&change, &ring->tail, tail + size_bytes);
	sp_change_commit(&change, zero_consumed, &consumed);
}

static void skip_record(struct sp_absorber *absorber, struct sp_ring *ring, uint64_t tail,
			void *bytes, uint32_t size_bytes, enum sp_loss loss)
{
	struct consumed consumed = {bytes, size_bytes};
	struct sp_change change;

	sp_change_begin(&change, absorber->recording);
	put_loss(absorber, &change, loss);
	sp_change_put(&change, &ring->tail, tail + size_bytes);
	sp_change_commit(&change, zero_consumed, &consumed);
}

/* Its thread may be at work behind this record, so the ring stays as it is; what
 * no longer fits is counted as lost. */
static void note_damage(struct sp_absorber *absorber, struct sp_ring *ring, uint64_t tail)
{
	struct sp_change change;

	if (atomic_load_explicit(&ring->damaged_at, memory_order_relaxed) == tail + 1)
		return;
	sp_change_begin(&change, absorber->recording);
	put_loss(absorber, &change, SP_LOSS_DAMAGED);
	sp_change_put(&change, &ring->damaged_at, tail + 1);
	sp_change_commit(&change, NULL, NULL);
}

static uint64_t drain_ring(struct sp_absorber *absorber, struct sp_ring *ring,
			   uint32_t group)
{
	const uint64_t capacity = sp_ring_capacity(ring);
	uint64_t taken = 0;

	for (;;) {
		uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
		uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
		uint64_t at = tail % capacity;
		struct sp_record *record = (void *)(ring->data + at);
		uint32_t word, size_bytes, type;

		if (tail == head)
			return taken;
		/* Pairs with sp_ring_commit(). */
		word = atomic_load_explicit(&record->size_and_type, memory_order_acquire);
		if (!word)
			return taken;
		size_bytes = word >> 8;
		type = word & 0xff;
		if (size_bytes % 8 || size_bytes == 0 || size_bytes > capacity - at ||
		    size_bytes > head - tail || type < SP_RECORD_PAD ||
		    type > SP_RECORD_DEFERRED) {
			note_damage(absorber, ring, tail);
			return taken;
		}
		if (type == SP_RECORD_PAD) {
			skip_record(absorber, ring, tail, record, size_bytes,
				    SP_LOSS_COUNT);
		} else if (size_bytes < sizeof(struct sp_cpu_record)) {
			skip_record(absorber, ring, tail, record, size_bytes,
				    SP_LOSS_DAMAGED);
		} else {
			absorb_sample(absorber, ring, tail, group, (void *)record,
				      size_bytes, (enum sp_record_type)type);
			taken++;
		}
	}
}

/* The next thread finds its ring empty and zeroed, also where a record of the last
 * one could not be read. */
static void empty_ring(struct sp_absorber *absorber, struct sp_ring *ring)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	struct consumed consumed = {ring->data, sp_ring_capacity(ring)};
	struct sp_change change;

	if (tail == head)
		return;
	note_damage(absorber, ring, tail);
	sp_change_begin(&change, absorber->recording);
	sp_change_put(&change, &ring->damaged_at, 0);
	sp_change_put(&change, &ring->tail, head);
	sp_change_commit(&change, zero_consumed, &consumed);
}

static void absorb_losses(struct sp_absorber *absorber, struct sp_slot *slot,
			  uint32_t group)
{
	uint64_t periods =
		atomic_load_explicit(&slot->lost_periods, memory_order_acquire);
	uint64_t samples =
		atomic_load_explicit(&slot->lost_samples, memory_order_relaxed);
	uint64_t old_periods =
		atomic_load_explicit(&slot->absorbed_lost_periods, memory_order_relaxed);
	uint64_t old_samples =
		atomic_load_explicit(&slot->absorbed_lost_samples, memory_order_relaxed);
	struct sp_cell *cell;
	struct sp_change change;

	if (periods == old_periods)
		return;
	cell = dropped_cell(absorber, group);
	sp_change_begin(&change, absorber->recording);
	sp_change_add(&change, &cell->values[0], samples - old_samples);
	sp_change_add(&change, &cell->values[1], periods - old_periods);
	sp_change_put(&change, &slot->absorbed_lost_periods, periods);
	sp_change_put(&change, &slot->absorbed_lost_samples, samples);
	sp_change_commit(&change, NULL, NULL);
}

static void free_slot(struct sp_absorber *absorber, struct sp_slot *slot)
{
	atomic_store_explicit(&slot->state, SP_SLOT_FREE, memory_order_release);
	sp_absorber_step("slot: free");
	atomic_fetch_sub_explicit(&absorber->recording->header->live_slots, 1,
				  memory_order_relaxed);
}

static void put_heap_counters(struct sp_change *change,
			      struct sp_recording_header *header,
			      const struct sp_slot *slot)
{
	sp_change_add(change, &header->ended_heap_allocations,
		      sp_atomic_value(&slot->heap_allocations));
	sp_change_add(change, &header->ended_heap_frees,
		      sp_atomic_value(&slot->heap_frees));
	sp_change_add(change, &header->ended_heap_bytes,
		      sp_atomic_value(&slot->heap_bytes));
	sp_change_add(change, &header->ended_heap_cost_cycles,
		      sp_atomic_value(&slot->heap_cost_cycles));
	sp_change_add_double(change, &header->ended_heap_variance,
			     sp_double_from_bits(sp_atomic_value(&slot->heap_variance)));
}

/* The thread is gone: its exact CPU time becomes its group's, its slot is free. */
static void retire_slot(struct sp_absorber *absorber, struct sp_slot *slot,
			struct sp_group *group)
{
	struct sp_recording_header *header = absorber->recording->header;
	struct sp_change change;

	sp_change_begin(&change, absorber->recording);
	sp_change_add(&change, &group->ended_cpu_ns,
		      atomic_load_explicit(&slot->cpu_ns, memory_order_relaxed));
	sp_change_add(&change, &group->ended_threads, 1);
	sp_change_add(&change, &header->ended_samples,
		      atomic_load_explicit(&slot->samples, memory_order_relaxed));
	sp_change_add(&change, &header->ended_handler_cycles,
		      atomic_load_explicit(&slot->handler_cycles, memory_order_relaxed));
	put_heap_counters(&change, header, slot);
	/* State and thread id share a word: RETIRED, but the number stays, so that the
	 * thread is known while the kernel still lists it. */
	sp_change_put(&change, slot,
		      (uint64_t)atomic_load_explicit(&slot->tid, memory_order_relaxed)
				      << 32 |
			      SP_SLOT_RETIRED);
	sp_change_commit(&change, NULL, NULL);
	free_slot(absorber, slot);
}

/* NULL: the slot has none. */
static struct sp_ring *ring_of_slot(const struct sp_recording *recording,
				    const struct sp_slot *slot)
{
	/* Acquire: pairs with the release of the thread that took it. */
	uint32_t id = atomic_load_explicit(&slot->ring, memory_order_acquire);
	uint32_t number = id & ~SP_RING_IS_SMALL;
	enum sp_section_kind kind =
		id & SP_RING_IS_SMALL ? SP_SECTION_RINGS_SMALL : SP_SECTION_RINGS_LARGE;

	return number && number <= sp_recording_used(recording, kind)
		       ? sp_ring_of(recording, id)
		       : NULL;
}

static void give_ring_back(struct sp_absorber *absorber, struct sp_slot *slot,
			   struct sp_ring *ring)
{
	uint32_t id = atomic_load_explicit(&slot->ring, memory_order_relaxed);

	empty_ring(absorber, ring);
	sp_absorber_step("ring: empty");
	atomic_store_explicit(&slot->ring, 0, memory_order_relaxed);
	sp_absorber_step("ring: nobody's");
	sp_ring_pool_give(absorber->recording, id);
	sp_absorber_step("ring: in the pool");
}

static uint64_t drain_slot(struct sp_absorber *absorber, struct sp_slot *slot)
{
	struct sp_recording *recording = absorber->recording;
	/* Acquire: what an ended thread wrote before it ended is all there. */
	uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
	struct sp_ring *ring;
	uint32_t group;
	uint64_t taken = 0;

	if (state == SP_SLOT_RETIRED)
		free_slot(absorber, slot);
	/* Of a claimed slot nothing can be relied on: it is being prepared. */
	if (state != SP_SLOT_LIVE && state != SP_SLOT_ENDED)
		return 0;
	ring = ring_of_slot(recording, slot);
	group = atomic_load_explicit(&slot->group, memory_order_relaxed);
	if (group >= SP_GROUPS)
		group = SP_GROUP_UNKNOWN;
	if (ring)
		taken = drain_ring(absorber, ring, group);
	absorb_losses(absorber, slot, group);
	if (state == SP_SLOT_ENDED) {
		if (ring)
			give_ring_back(absorber, slot, ring);
		retire_slot(absorber, slot,
			    sp_recording_item(recording, SP_SECTION_GROUPS, group));
	}
	return taken;
}

uint64_t sp_absorber_drain(struct sp_absorber *absorber)
{
	uint64_t slots = sp_recording_used(absorber->recording, SP_SECTION_SLOTS);
	uint64_t taken = 0;

	for (uint64_t i = 0; i < slots; i++)
		taken += drain_slot(absorber, sp_recording_item(absorber->recording,
								SP_SECTION_SLOTS, i));
	if (!absorber->telling_tid || is_telling(absorber))
		taken += sp_span_absorb(absorber);
	if (!absorber->wants_heap || absorber->wants_heap(absorber->context))
		taken += sp_heap_batches_absorb(absorber) + sp_heap_absorb(absorber);
	return taken;
}
