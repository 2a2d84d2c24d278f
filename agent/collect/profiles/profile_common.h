/*
 * What all profiles of a recording share: whose they are, when it was, what was
 * loaded. Context of everything here: collector.
 */
#ifndef SP_PROFILE_COMMON_H
#define SP_PROFILE_COMMON_H

#include "sp_profile_view.h"
#include "sp_recording.h"

/* Anything a double can be becomes a number that fits; what is not one becomes 0. */
static inline uint64_t sp_profile_integer(double value)
{
	if (!(value > 0))
		return 0;
	return value < 9e18 ? (uint64_t)value : UINT64_C(9000000000000000000);
}

/* The modules of a recording, which must outlive them; released by sp_heap_free().
 * NULL when memory is short. */
struct sp_view_module *sp_profile_modules(const struct sp_recording *recording,
					  uint32_t *count);

/* Sets the process, the times and the modules; all else of the view is 0. */
void sp_profile_view_begin(struct sp_profile_view *view,
			   const struct sp_recording *recording,
			   const struct sp_view_module *modules, uint32_t module_count);

#endif
