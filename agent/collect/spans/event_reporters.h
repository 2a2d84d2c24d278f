/*
 * Which reporters the options ask for, and the life of those that want to know of
 * events. Context of everything here: collector, but for the first.
 */
#ifndef SP_EVENT_REPORTERS_H
#define SP_EVENT_REPORTERS_H

#include "sp_collector.h"

/* Context: init. What happens before the reporter thread runs is told, too. */
void sp_event_reporters_await(const struct sp_collector *collector);

/*
 * Lock held. Begins them: collector->reporters, if there are any. program and dir_fd as
 * for reporters.
 */
void sp_event_reporters_begin(struct sp_collector *collector, const char *program,
			      int dir_fd);

/* Lock held. */
void sp_event_reporters_end(struct sp_collector *collector);

/* Are files of profiles wanted at the end? */
bool sp_event_reporters_leave_profiles(const struct sp_options *options);

#endif
