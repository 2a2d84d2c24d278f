#ifndef SP_OWN_RECORDING_H
#define SP_OWN_RECORDING_H

#include <stdint.h>

/* Context: signal. Makes sp_capture.recording and what is derived of it. 0 or -errno. */
int sp_own_recording_make(void);

/* Context: signal. Where there is no reporter thread, or a starved one: takes over what
 * the rings hold and takes storage, unless somebody is at it. */
void sp_own_recording_drain(void);

/*
 * Context: signal. Hooks work on the recording with the program's signals open. A
 * handler of the program's that never came back (it jumps, or ends the process) would
 * keep the lock for ever: so none runs meanwhile. Returns what release is to be given.
 */
uint64_t sp_own_recording_hold_signals(void);
void sp_own_recording_release_signals(uint64_t before);

#endif
