/*
 * The consumer's part of the heap profile: see sp_recording_heap.h for who writes
 * what. Context of everything here: signal, consumer lock held.
 */
#ifndef SP_HEAP_ABSORB_H
#define SP_HEAP_ABSORB_H

#include "sp_absorb.h"

/*
 * Makes heap cell 0 where the recording has a heap and lacks it. To be called before
 * any hook samples. 0, -ENOSPC, or -EINVAL if the tables begin otherwise.
 */
int sp_heap_absorb_init(struct sp_absorber *absorber);

/*
 * Goes over the whole live table and moves all freed blocks into the sums of their
 * cells. Returns how many; absorber->heap_entries_in_use is how many entries were not
 * free behind it.
 */
uint64_t sp_heap_absorb(struct sp_absorber *absorber);

/*
 * Storage for stacks and cells that are about to come, and another level of the live
 * table when the last pass found more than a quarter of it in use. May make system
 * calls; what is refused is counted and asked for again next time.
 */
void sp_heap_keep_ahead(struct sp_absorber *absorber);

#endif
