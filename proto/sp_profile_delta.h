/*
 * What happened between two profiles of one process. Context of everything here:
 * collector.
 */
#ifndef SP_PROFILE_DELTA_H
#define SP_PROFILE_DELTA_H

#include "profile.pb-c.h"
#include "sp_sink.h"

#include <stddef.h>

/* A profile as sp_profile_read() gives it, and what messages and comments call it. */
struct sp_delta_input {
	const Perftools__Profiles__Profile *profile;
	const char *name;
};

/*
 * Writes the newer profile's values less those of the older. What is one stack in both
 * is told by the code it leads through (module and place in it) and its labels; what
 * has not changed is left out. 0, or -errno and one line in error: -EINVAL when the
 * two are not profiles of one kind and one process, or when one is damaged.
 */
int sp_profile_delta_write(const struct sp_delta_input *older,
			   const struct sp_delta_input *newer, struct sp_sink *sink,
			   char *error, size_t error_bytes);

#endif
