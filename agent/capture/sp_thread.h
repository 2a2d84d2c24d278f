/*
 * Thread slots: claimed for a thread before it runs, given back after its end.
 */
#ifndef SP_THREAD_H
#define SP_THREAD_H

#include "sp_capture.h"

#define SP_THREAD_SMALL_STACK 1U /* its own stack may be too small for our signal */

/*
 * Context: hook. Claims a slot for a thread that will run start_routine; NULL
 * when there is none (counted). Until it begins, stack_low holds stack_bytes.
 */
struct sp_slot *sp_thread_claim(uintptr_t start_routine, void *argument,
				uint64_t stack_bytes, uint32_t flags);

/* Context: hook. The thread could not be created after all. */
void sp_thread_unclaim(struct sp_slot *slot);

/*
 * Context: hook, on the new thread. From here on the slot is this thread's. high
 * and low bound its stack, 0 = not known.
 */
void sp_thread_begin(struct sp_slot *slot, uint64_t stack_low, uint64_t stack_high);

/* Context: collector. A slot for a running thread found by listing. */
struct sp_slot *sp_thread_adopt(int tid, uint64_t entry_address);

/* Context: hook, on the ending thread; collector for one that is gone. cpu_ns is
 * final. */
void sp_thread_end(struct sp_slot *slot, uint64_t cpu_ns);

/* Context: hook. The calling thread's slot; NULL: none that anybody told us of. */
struct sp_slot *sp_thread_own_slot(void);
void sp_thread_set_own_slot(struct sp_slot *slot);

/* Context: signal. */
uint32_t sp_thread_slot_index(const struct sp_slot *slot);
struct sp_slot *sp_thread_slot_at(uint32_t index);

#endif
