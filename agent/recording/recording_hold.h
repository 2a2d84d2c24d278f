/*
 * Holding the heap of a process that runs, from another, while its recording is read: see
 * sp_heap_is_held(). Context: collector.
 */
#ifndef RECORDING_HOLD_H
#define RECORDING_HOLD_H

#include <stdbool.h>
#include <stdint.h>

struct sp_recording_hold {
	int fd;			 /* of the file, writable; negative: nothing is held */
	uint64_t held_at_cycles; /* 0: it is not held */
};

/*
 * For the next reading, also when it is held already. Does nothing where the file is no
 * recording of ours, or that of a process which is gone.
 */
void sp_recording_hold_begin(struct sp_recording_hold *hold);

/* False: it was ended meanwhile, as the process had to or it took too long. */
bool sp_recording_hold_lasts(const struct sp_recording_hold *hold);

void sp_recording_hold_end(struct sp_recording_hold *hold);

#endif
