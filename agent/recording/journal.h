/*
 * One atomic change of several words of the recording (see struct sp_journal).
 * Context: signal, consumer lock held.
 */
#ifndef SP_JOURNAL_H
#define SP_JOURNAL_H

#include "sp_recording.h"

/* A change being put together; committed by sp_change_commit(). */
struct sp_change {
	struct sp_recording *recording;
	uint32_t count;
};

void sp_change_begin(struct sp_change *change, struct sp_recording *recording);
/* word must be 8-aligned inside the recording. */
void sp_change_put(struct sp_change *change, const void *word, uint64_t value);
/* What the word holds now and addend more; a word only once in a change. */
void sp_change_add(struct sp_change *change, const _Atomic uint64_t *word,
		   uint64_t addend);
/* As sp_change_add(), for a word that holds a double. */
void sp_change_add_double(struct sp_change *change, const _Atomic uint64_t *word,
			  double addend);
/*
 * From here the change will happen, come what may. between() runs after that point
 * and before the words are stored: for what must be done when the change is
 * certain but not yet seen by others.
 */
void sp_change_commit(struct sp_change *change, void (*between)(void *), void *argument);

/* Carries out a change that was committed but not finished. */
void sp_journal_replay(struct sp_recording *recording);

#endif
