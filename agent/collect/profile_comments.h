/*
 * What a CPU profile says about itself in words. Context of everything here:
 * collector.
 */
#ifndef PROFILE_COMMENTS_H
#define PROFILE_COMMENTS_H

#include "profile_cpu.h"

#define SP_COMMENTS_MAX 64
#define SP_COMMENT_BYTES 256

struct sp_profile_comments {
	uint32_t count;
	const char *lines[SP_COMMENTS_MAX];
	char bytes[SP_COMMENTS_MAX][SP_COMMENT_BYTES];
};

/* A group of threads as the profile shows it. */
struct sp_group_sum {
	uint64_t exact_ns;
	uint64_t periods;
	uint64_t samples;
	uint64_t given_periods; /* periods handed out so far: rounding never adds up */
};

/* Anything a double can be becomes a number that fits; what is not one becomes 0. */
static inline uint64_t sp_profile_integer(double value)
{
	if (!(value > 0))
		return 0;
	return value < 9e18 ? (uint64_t)value : UINT64_C(9000000000000000000);
}

/* groups has SP_GROUPS elements. The lines lie in comments itself. */
void sp_profile_comments_fill(struct sp_profile_comments *comments,
			      const struct sp_recording *recording,
			      const struct sp_cpu_totals *totals,
			      const struct sp_group_sum *groups);

#endif
