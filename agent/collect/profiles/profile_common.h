/*
 * What all profiles of a recording share: whose they are, when it was, what was
 * loaded. Context of everything here: collector.
 */
#ifndef SP_PROFILE_COMMON_H
#define SP_PROFILE_COMMON_H

#include "sp_profile_view.h"
#include "sp_recording.h"

#define SP_INTEGER_MAX UINT64_C(9000000000000000000)

/* Anything a double can be becomes a number that fits; what is not one becomes 0. */
static inline uint64_t sp_profile_integer(double value)
{
	if (!(value > 0))
		return 0;
	return value < 9e18 ? (uint64_t)value : SP_INTEGER_MAX;
}

/* Estimates that are rounded one after the other; begins as 0. */
struct sp_rounding {
	double left_over;
	uint64_t sum; /* of what was given */
};

/*
 * Rounds one of them so that their sum stays what it is, to within one half: what is
 * taken from one, the next one gets, but for those that are 0. The sum of all fits, too.
 */
static inline uint64_t sp_profile_round(double value, struct sp_rounding *rounding)
{
	double wanted = value + rounding->left_over;
	uint64_t given = sp_profile_integer(wanted + 0.5);
	uint64_t room = SP_INTEGER_MAX - rounding->sum;

	if (value == 0)
		return 0;
	if (given > room)
		given = room;
	/* Of what does not fit, or is no number, nothing. */
	rounding->left_over = wanted > -9e18 && wanted < 9e18 && given < room
				      ? wanted - (double)given
				      : 0;
	rounding->sum += given;
	return given;
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
