/*
 * What the agent's thread says to the user. Context of everything here: collector.
 */
#ifndef SP_REPORTER_WORDS_H
#define SP_REPORTER_WORDS_H

#include "sp_reporter_thread.h"

/* That a kill would lose everything. */
void sp_reporter_tell_no_place(const struct sp_reporter_setup *setup);

/* That there is no memory to write anything with. */
void sp_reporter_tell_no_stack(const struct sp_reporter_setup *setup);

/* What was written at the end, or why not. */
void sp_reporter_tell_end(const struct sp_reporter_setup *setup,
			  const struct sp_write_summary *summary);

/* That the recording could not be removed; err 0: it was. */
void sp_reporter_tell_left(const struct sp_reporter_setup *setup, int err);

#endif
