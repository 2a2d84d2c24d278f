/*
 * Reading what threads have added up of the blocks that they freed (struct
 * sp_heap_batch). Context of everything here: signal, consumer lock held.
 */
#ifndef SP_HEAP_BATCHES_H
#define SP_HEAP_BATCHES_H

#include "sp_absorb.h"
#include "sp_recording_heap.h"

/* Carries out the changes that a killed process was in the middle of. */
void sp_heap_batches_replay(struct sp_recording *recording);

/* Of one batch, by the thread whose it is, or was. */
void sp_heap_batch_carry_out(struct sp_recording *recording, uint64_t index);

/* Moves what is new in all lines to their cells. Returns how many blocks. */
uint64_t sp_heap_batches_absorb(struct sp_absorber *absorber);

/* What is new in a line. */
struct sp_heap_batch_news {
	uint32_t cell;
	uint64_t sums[SP_HEAP_SUMS]; /* as they are: absorbed, once this is */
	uint64_t samples;
	/* Beyond what was absorbed; of samples and epoch it means nothing. */
	double delta[SP_HEAP_SUMS];
};

/* False when there is nothing, or its thread changes it faster than it can be read. */
bool sp_heap_batch_read(const struct sp_heap_batch *batch, uint32_t line,
			struct sp_heap_batch_news *news);

#endif
