/*
 * When the consumer is to go over the live table: a small one whenever blocks were freed,
 * a large one when threads are short of room, or somebody asks. Context: signal.
 */
#include "heap_threads.h"

#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_recording_heap.h"

/* So small a table is gone over each time. */
#define BLOCKS_SMALL (UINT64_C(64) << 10)

/* Where threads are short of room, a larger one is gone over so rarely that it costs
 * little of a processor's time: a block takes less than 5 ns. */
#define ABSORB_NS_A_BLOCK 100U

static _Atomic bool is_absorb_asked;

void sp_heap_capture_ask_absorb(void)
{
	atomic_store_explicit(&is_absorb_asked, true, memory_order_relaxed);
}

static bool is_absorb_due(uint64_t blocks, uint64_t now_ns, uint64_t last_ns)
{
	if (atomic_exchange(&is_absorb_asked, false))
		return true;
	if (blocks <= BLOCKS_SMALL &&
	    atomic_load_explicit(&sp_heap_global.has_freed, memory_order_relaxed))
		return true;
	/* Where every block is sampled, each that finds no storage wants room. */
	return atomic_load_explicit(&sp_heap_global.wants_room, memory_order_relaxed) &&
	       ((blocks <= BLOCKS_SMALL && !sp_heap_global.is_exact) ||
		now_ns - last_ns >= blocks * ABSORB_NS_A_BLOCK);
}

bool sp_heap_capture_wants_absorb(void *context)
{
	static uint64_t last_ns;
	uint64_t blocks =
		sp_recording_reserved(&sp_capture.recording, SP_SECTION_LIVE_BLOCKS);
	uint64_t now_ns = sp_clock_monotonic_ns();

	(void)context;
	if (!sp_capture.recording.header->heap_rate_bytes ||
	    sp_heap_is_held(sp_atomic_value(&sp_capture.recording.header->heap_held_at),
			    sp_clock_cycles()) ||
	    !is_absorb_due(blocks, now_ns, last_ns))
		return false;
	last_ns = now_ns;
	atomic_store_explicit(&sp_heap_global.wants_room, false, memory_order_relaxed);
	atomic_store_explicit(&sp_heap_global.has_freed, false, memory_order_relaxed);
	return true;
}
