/*
 * Claiming and giving back thread slots without a lock. Context: hook; the states
 * of a slot are described at enum sp_slot_state. Storage for more slots is taken
 * by the consumer ahead of need; only where it lags behind a claim makes system calls.
 */
#include "sp_thread.h"

#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_recording_writer.h"
#include "sp_syscall.h"

#define PROBES_MAX 64U
#define SLOTS_IN_NEED 128U

static SP_TLS struct sp_slot *own_slot;

struct sp_slot *sp_thread_own_slot(void)
{
	return own_slot;
}

void sp_thread_set_own_slot(struct sp_slot *slot)
{
	own_slot = slot;
}

uint32_t sp_thread_slot_index(const struct sp_slot *slot)
{
	const struct sp_section *section =
		&sp_capture.recording.header->sections[SP_SECTION_SLOTS];
	uint64_t offset = (uint64_t)((const unsigned char *)slot -
				     (const unsigned char *)sp_capture.recording.header);

	return (uint32_t)((offset - section->offset) / sizeof(*slot));
}

SP_SAMPLING struct sp_slot *sp_thread_slot_at(uint32_t index)
{
	if (index >= sp_recording_used(&sp_capture.recording, SP_SECTION_SLOTS))
		return NULL;
	return sp_recording_item(&sp_capture.recording, SP_SECTION_SLOTS, index);
}

static uint32_t find_group(uint64_t entry_address)
{
	struct sp_group *groups =
		sp_recording_item(&sp_capture.recording, SP_SECTION_GROUPS, 0);
	uint32_t hash = (uint32_t)((entry_address * UINT64_C(0x9e3779b97f4a7c15)) >> 40);

	if (!entry_address)
		return SP_GROUP_UNKNOWN;
	for (uint32_t probe = 0; probe < PROBES_MAX; probe++) {
		uint32_t index = 1 + (hash + probe) % (SP_GROUPS - 1);
		uint64_t nobody = 0;

		/* Relaxed: the address is all there is to see. */
		if (atomic_compare_exchange_strong_explicit(
			    &groups[index].entry_address, &nobody, entry_address,
			    memory_order_relaxed, memory_order_relaxed) ||
		    nobody == entry_address)
			return index;
	}
	sp_recording_count(&sp_capture.recording, SP_LOSS_GROUP_FULL, 1);
	return SP_GROUP_UNKNOWN;
}

static bool claim(struct sp_slot *slot)
{
	uint32_t expected = SP_SLOT_FREE;

	return atomic_load_explicit(&slot->state, memory_order_relaxed) == SP_SLOT_FREE &&
	       /* Acquire: pairs with the consumer's release when it freed the slot. */
	       atomic_compare_exchange_strong_explicit(
		       &slot->state, &expected, SP_SLOT_CLAIMED, memory_order_acquire,
		       memory_order_relaxed);
}

static struct sp_slot *claim_any(void)
{
	struct sp_recording_header *header = sp_capture.recording.header;
	_Atomic uint64_t *used_items = &header->sections[SP_SECTION_SLOTS].used_items;
	uint64_t used = atomic_load_explicit(used_items, memory_order_acquire);
	uint64_t reserved =
		sp_recording_reserved(&sp_capture.recording, SP_SECTION_SLOTS);
	/* A search that starts anywhere finds a free slot soon, if there are any. */
	static _Atomic uint32_t start;

	if (used &&
	    atomic_load_explicit(&header->live_slots, memory_order_relaxed) < used) {
		uint32_t from =
			atomic_fetch_add_explicit(&start, 1, memory_order_relaxed);

		for (uint64_t i = 0; i < used; i++) {
			struct sp_slot *slot =
				sp_recording_item(&sp_capture.recording, SP_SECTION_SLOTS,
						  (from + i) % used);

			if (claim(slot))
				return slot;
		}
	}
	while (used < reserved) {
		/* Claimed before it is published, so that nobody else takes it. */
		if (atomic_compare_exchange_weak_explicit(used_items, &used, used + 1,
							  memory_order_acq_rel,
							  memory_order_acquire)) {
			struct sp_slot *slot = sp_recording_item(&sp_capture.recording,
								 SP_SECTION_SLOTS, used);

			if (claim(slot))
				return slot;
			used++;
		}
	}
	return NULL;
}

static void prepare(struct sp_slot *slot, uint64_t entry_address)
{
	struct sp_recording_header *header = sp_capture.recording.header;
	uint64_t live =
		atomic_fetch_add_explicit(&header->live_slots, 1, memory_order_relaxed);

	/* Relaxed throughout: the store of the state publishes them. */
	atomic_fetch_add_explicit(&slot->generation, 1, memory_order_relaxed);
	atomic_store_explicit(&slot->tid, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->group, find_group(entry_address),
			      memory_order_relaxed);
	atomic_store_explicit(&slot->ring, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->timer, -1, memory_order_relaxed);
	atomic_store_explicit(&slot->cpu_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->stack_low, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->stack_high, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->samples, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->lost_samples, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->lost_periods, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->handler_cycles, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->absorbed_lost_samples, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->absorbed_lost_periods, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->listed, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->start_flags, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->label_set, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->span_seen_ticks, 0, memory_order_relaxed);
	for (size_t i = 0; i < SP_ARRAY_COUNT(slot->sample_names); i++) {
		atomic_store_explicit(&slot->sample_names[i], 0, memory_order_relaxed);
		atomic_store_explicit(&slot->sample_names_cycles[i], 0,
				      memory_order_relaxed);
	}
	atomic_store_explicit(&slot->sample_label_sets, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->heap_allocations, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->heap_frees, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->heap_bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->heap_variance, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->heap_cost_cycles, 0, memory_order_relaxed);
	/* Slots and rings are taken ahead of need; when they run low, say so. */
	if (live + 16 > sp_recording_reserved(&sp_capture.recording, SP_SECTION_SLOTS) ||
	    atomic_load_explicit(&header->free_ring_count, memory_order_relaxed) < 2)
		sp_capture_wake_reporter();
}

static bool take_more(void)
{
	uint64_t reserved =
		sp_recording_reserved(&sp_capture.recording, SP_SECTION_SLOTS);

	return sp_recording_reserve(&sp_capture.recording, SP_SECTION_SLOTS,
				    reserved + SLOTS_IN_NEED) == 0;
}

struct sp_slot *sp_thread_claim(uintptr_t start_routine, void *argument,
				uint64_t stack_bytes, uint32_t flags)
{
	struct sp_slot *slot = claim_any();

	if (!slot && sp_capture.drain) {
		/* The reporter thread lags behind: more storage is taken here. */
		sp_capture.drain();
		slot = claim_any();
	}
	/* Whoever drains may be a thread that does not run. */
	if (!slot && take_more())
		slot = claim_any();
	if (!slot) {
		sp_recording_count(&sp_capture.recording, SP_LOSS_NO_SLOT, 1);
		sp_capture_wake_reporter();
		return NULL;
	}
	prepare(slot, start_routine);
	atomic_store_explicit(&slot->start_routine, start_routine, memory_order_relaxed);
	atomic_store_explicit(&slot->start_argument, (uint64_t)(uintptr_t)argument,
			      memory_order_relaxed);
	atomic_store_explicit(&slot->stack_low, stack_bytes, memory_order_relaxed);
	atomic_store_explicit(&slot->start_flags, flags, memory_order_relaxed);
	return slot;
}

void sp_thread_unclaim(struct sp_slot *slot)
{
	/* ENDED with no CPU time: the consumer frees it like any other. */
	sp_thread_end(slot, 0);
}

void sp_thread_begin(struct sp_slot *slot, uint64_t stack_low, uint64_t stack_high)
{
	atomic_store_explicit(&slot->tid, (uint32_t)sp_syscall0(SYS_gettid),
			      memory_order_relaxed);
	atomic_store_explicit(&slot->stack_low, stack_low, memory_order_relaxed);
	atomic_store_explicit(&slot->stack_high, stack_high, memory_order_relaxed);
	/* Release: consumer and handler see the fields above with the state. */
	atomic_store_explicit(&slot->state, SP_SLOT_LIVE, memory_order_release);
}

struct sp_slot *sp_thread_adopt(int tid, uint64_t entry_address)
{
	struct sp_slot *slot = claim_any();

	/* Many may be found at one look. */
	if (!slot && take_more())
		slot = claim_any();
	if (!slot) {
		sp_recording_count(&sp_capture.recording, SP_LOSS_NO_SLOT, 1);
		return NULL;
	}
	prepare(slot, entry_address);
	atomic_store_explicit(&slot->tid, (uint32_t)tid, memory_order_relaxed);
	atomic_store_explicit(&slot->state, SP_SLOT_LIVE, memory_order_release);
	return slot;
}

void sp_thread_end(struct sp_slot *slot, uint64_t cpu_ns)
{
	atomic_store_explicit(&slot->cpu_ns, cpu_ns, memory_order_relaxed);
	/* Release: pairs with the consumer's acquire; all this thread did is there. */
	atomic_store_explicit(&slot->state, SP_SLOT_ENDED, memory_order_release);
}
