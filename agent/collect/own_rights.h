/*
 * The rights that our thread has: those of the program, when it changes its own.
 */
#ifndef SP_OWN_RIGHTS_H
#define SP_OWN_RIGHTS_H

/* Context: hook. Notes what the calling thread may do. */
void sp_own_rights_note(void);

/* Context: collector, on our thread. Takes over what was noted; 0 or -errno, when it may
 * still do more than the program. */
int sp_own_rights_take(void);

#endif
