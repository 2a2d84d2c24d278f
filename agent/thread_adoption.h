#ifndef SP_THREAD_ADOPTION_H
#define SP_THREAD_ADOPTION_H

#include <stdbool.h>
#include <stdint.h>

struct sp_slot;

/* Context: collector; init for the main thread. A slot and a timer for a running thread
 * that has none. False: it stays without. */
bool sp_thread_adoption_begin(int tid, bool is_main);

/* Context: collector. A thread was seen to be gone, having used cpu_ns. */
void sp_thread_adoption_end(struct sp_slot *slot, uint64_t cpu_ns);

/* Context: signal. Bounds of the stack that the kernel made for the program. */
void sp_thread_adoption_main_stack(uint64_t *low, uint64_t *high);

#endif
