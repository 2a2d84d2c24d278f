#ifndef SP_OWN_RECORDING_H
#define SP_OWN_RECORDING_H

struct sp_slot;

/* Context: signal. Makes sp_capture.recording and what is derived of it. 0 or -errno. */
int sp_own_recording_make(void);

/* Context: signal. Where there is no reporter thread, or a starved one: takes over what
 * the rings hold and takes storage, unless somebody is at it. */
void sp_own_recording_drain(void);

/* Context: signal, in the handler, where there is no reporter thread. Notes what clocks
 * and counters say of the slot's thread, which is the caller, and of the process, unless
 * somebody is at it. */
void sp_own_recording_note(struct sp_slot *slot);

#endif
