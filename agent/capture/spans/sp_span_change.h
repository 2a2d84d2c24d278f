/*
 * Changes of spans that a handler of the program's interrupts. They are marked: a jump
 * may leave one for ever, and a fork child may go on with its parent's. Context: hook, on
 * the thread itself.
 */
#ifndef SP_SPAN_CHANGE_H
#define SP_SPAN_CHANGE_H

#include "sp_compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sp_recording;

/*
 * The thread is in the middle of a change, in this frame of its stack. Changes may be
 * in one another. Whoever asks whether spans are on asks within.
 */
struct sp_span_change {
	uint64_t frame;	 /* 0: none */
	bool is_cut_off; /* it was begun in another process, our parent */
};
extern SP_HIDDEN SP_TLS struct sp_span_change sp_span_change;

void sp_span_change_ended(void);

/* Around all that touches the recording, a thread's slot, or what it has entered. Returns
 * what the end is to be given. */
static inline uint64_t sp_span_begin_change(void)
{
	uint64_t before = sp_span_change.frame;

	sp_span_change.frame = (uint64_t)(uintptr_t)__builtin_frame_address(0);
	atomic_signal_fence(memory_order_seq_cst);
	return before;
}

static inline void sp_span_end_change(uint64_t before)
{
	atomic_signal_fence(memory_order_seq_cst);
	sp_span_change.frame = before;
	if (sp_unlikely(sp_span_change.is_cut_off) && !before)
		sp_span_change_ended();
}

/* Context: signal, in a fork child, after the same of the heap. */
void sp_span_change_forked(void);
/* Context: signal. Calls that came too early are among the losses of the recording. */
void sp_span_tell_missed(const struct sp_recording *recording);

#endif
