/*
 * One CPU sample: from the interrupted registers to a record in the thread's ring.
 * Context: signal, on the sampled thread, all signals blocked. The stack is
 * walked straight into the ring, so the handler needs little stack of its own.
 */
#include "sp_capture.h"

#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_ring.h"
#include "sp_sample_labels.h"
#include "sp_span_capture.h"

#include <string.h>
#include <ucontext.h>

#define DEFERRED_STACK_BYTES_MIN 256U

/*
 * A system call leaves its return address in rcx and the flags in r11, so where
 * both agree with the interrupted state, the tick fell into the kernel. Page
 * faults and interrupts look like user code: an estimate.
 */
static enum sp_cpu_mode interrupted_mode(const ucontext_t *context)
{
	const greg_t *regs = context->uc_mcontext.gregs;
	const greg_t resume_flag = 0x10000;

	return regs[REG_RCX] == regs[REG_RIP] &&
			       ((regs[REG_R11] ^ regs[REG_EFL]) & ~resume_flag) == 0
		       ? SP_MODE_KERNEL
		       : SP_MODE_USER;
}

/* What the interrupted function may keep below its stack pointer. Hand-written code
 * (libcrypto's) keeps there what its CFA is found by. */
#define RED_ZONE_BYTES 128U
/* Our own frames lie this close below it, unless we run on another stack. */
#define OWN_STACK_BYTES_MAX (UINT64_C(64) << 10)

static void find_stack(const struct sp_slot *slot, uint64_t stack_pointer,
		       struct sp_unwind_stack *stack)
{
	uint64_t low = atomic_load_explicit(&slot->stack_low, memory_order_relaxed);
	uint64_t high = atomic_load_explicit(&slot->stack_high, memory_order_relaxed);
	uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);
	bool is_above_us = stack_pointer - here < OWN_STACK_BYTES_MAX;

	stack->delta = 0;
	stack->closes = UINT64_MAX;
	/* The signal frame lies below the red zone: what is above it is mapped. */
	stack->low = stack_pointer - (is_above_us ? RED_ZONE_BYTES : 0);
	stack->is_guarded = !(stack_pointer >= low && stack_pointer < high);
	/* Bounds unknown, or a coroutine's stack: every read is guarded. */
	stack->high = stack->is_guarded ? stack_pointer : high;
}

static struct sp_ring *ring_of(struct sp_slot *slot)
{
	uint32_t id = atomic_load_explicit(&slot->ring, memory_order_relaxed);

	if (sp_unlikely(!id)) {
		id = sp_ring_pool_take(&sp_capture.recording);
		if (!id && sp_capture.drain) {
			/* The reporter thread lags behind: more storage is taken here. */
			sp_capture.drain();
			id = sp_ring_pool_take(&sp_capture.recording);
		}
		/* Whoever drains may be a thread that does not run. */
		if (!id)
			id = sp_ring_pool_make(&sp_capture.recording);
		if (!id)
			return NULL;
		/* Release: pairs with the consumer, which then drains it. */
		atomic_store_explicit(&slot->ring, id, memory_order_release);
	}
	return sp_ring_of(&sp_capture.recording, id);
}

static void count_lost(struct sp_slot *slot, uint32_t weight_periods, enum sp_loss why)
{
	atomic_fetch_add_explicit(&slot->lost_samples, 1, memory_order_relaxed);
	/* Release: the consumer reads the periods first, then the samples. */
	atomic_fetch_add_explicit(&slot->lost_periods, weight_periods,
				  memory_order_release);
	sp_recording_count(&sp_capture.recording, why, 1);
	sp_capture_wake_reporter();
}

/* A quarter of a ring for one stack at most. */
static uint32_t frames_that_fit(const struct sp_ring *ring)
{
	return (sp_ring_capacity(ring) / 4 - (uint32_t)sizeof(struct sp_cpu_record)) / 8;
}

/*
 * The walk met a module that is not tracked yet: keep what it needs to go on, in
 * the room that its frames have left. Returns the bytes used, 0 if none.
 */
static uint32_t defer_stack(struct sp_cpu_record *sample,
			    const struct sp_unwind_regs *regs,
			    const struct sp_unwind_stack *stack, uint32_t room_bytes)
{
	struct sp_deferred_stack *deferred =
		(void *)(sample->frames + sample->frame_count);
	uint64_t stack_bytes = stack->high - stack->low;

	if (stack->is_guarded ||
	    room_bytes < sizeof(*deferred) + DEFERRED_STACK_BYTES_MIN)
		return 0;
	room_bytes -= (uint32_t)sizeof(*deferred);
	if (stack_bytes > room_bytes)
		stack_bytes = room_bytes;
	stack_bytes &= ~UINT64_C(7);
	memcpy(deferred->registers, regs->value, sizeof(deferred->registers));
	deferred->stack_address = stack->low;
	deferred->stack_bytes = stack_bytes;
	deferred->closes = atomic_load_explicit(&sp_unwind_closes, memory_order_acquire);
	memcpy(deferred->stack, (const void *)(uintptr_t)stack->low, stack_bytes);
	return (uint32_t)(sizeof(*deferred) + stack_bytes);
}

/* Fast to slow, and what to do when the consumer does not keep up. */
#define FILL_WAKE 96U
#define FILL_DRAIN 192U

static void look_after_ring(const struct sp_ring *ring)
{
	uint32_t fill = sp_ring_fill(ring);

	if (sp_likely(fill < FILL_WAKE))
		return;
	if (atomic_load_explicit(&sp_capture.has_reporter_thread, memory_order_relaxed)) {
		sp_capture_wake_reporter();
		if (fill < FILL_DRAIN)
			return;
	}
	/* Nobody drains, or not fast enough: do it here, unless somebody is at it. */
	if (sp_capture.drain)
		sp_capture.drain();
}

SP_SAMPLING void sp_capture_cpu_sample(struct sp_slot *slot, uint32_t weight_periods,
				       const void *ucontext)
{
	const struct sp_unwind_snapshot *snapshot =
		atomic_load_explicit(&sp_unwind_snapshot, memory_order_acquire);
	struct sp_ring *ring = ring_of(slot);
	struct sp_unwind_regs regs;
	struct sp_unwind_stack stack;
	struct sp_unwind_result result;
	struct sp_cpu_record *sample;
	enum sp_record_type type = SP_RECORD_CPU;
	uint32_t max_frames = sp_capture.depth_frames_max;
	uint32_t reserved_bytes, used_bytes;

	if (sp_unlikely(!ring)) {
		count_lost(slot, weight_periods, SP_LOSS_NO_RING);
		return;
	}
	if (max_frames > frames_that_fit(ring))
		max_frames = frames_that_fit(ring);
	reserved_bytes = (uint32_t)sizeof(*sample) + max_frames * 8;
	sample = (void *)sp_ring_reserve(ring, reserved_bytes);
	if (sp_unlikely(!sample)) {
		count_lost(slot, weight_periods, SP_LOSS_RING_FULL);
		look_after_ring(ring);
		return;
	}
	sp_unwind_regs_from_ucontext(&regs, ucontext);
	find_stack(slot, regs.value[SP_DWARF_RSP], &stack);
	result = sp_unwind(snapshot, &regs, &stack, sample->frames, max_frames);
	if (sp_unlikely(result.hook_frame))
		sp_unwind_put_hook(&result, sample->frames, max_frames);
	sample->weight_periods = weight_periods;
	sample->mode = (uint8_t)interrupted_mode(ucontext);
	sample->frame_count = (uint16_t)result.depth_frames;
	sample->end = (uint8_t)result.end;
	sample->label_set =
		sp_sample_label_set(slot, sp_span_label_set_of(slot), sp_clock_cycles());
	used_bytes = (uint32_t)sizeof(*sample) + result.depth_frames * 8;
	if (sp_unlikely(result.end == SP_UNWIND_NO_MODULE)) {
		uint32_t deferred_bytes =
			defer_stack(sample, &regs, &stack, reserved_bytes - used_bytes);

		if (deferred_bytes)
			type = SP_RECORD_DEFERRED;
		used_bytes += deferred_bytes;
		atomic_store_explicit(&sp_capture.wants_modules, true,
				      memory_order_relaxed);
	}
	used_bytes = sp_ring_shrink(ring, &sample->record, reserved_bytes, used_bytes);
	sp_ring_commit(&sample->record, used_bytes, type);
	atomic_fetch_add_explicit(&slot->samples, 1, memory_order_relaxed);
	/* Only now: our thread may take this processor at once, and is to find it. */
	if (sp_unlikely(result.end == SP_UNWIND_NO_MODULE))
		sp_capture_wake_reporter();
	else if (sp_unlikely(result.end == SP_UNWIND_NO_RULE))
		sp_capture_want_code();
	look_after_ring(ring);
	if (sp_unlikely(!atomic_load_explicit(&sp_capture.has_reporter_thread,
					      memory_order_relaxed)) &&
	    sp_capture.note)
		sp_capture.note(slot);
}
