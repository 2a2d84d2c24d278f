/*
 * The comments of a CPU profile. Context: collector.
 */
#ifndef SP_PROFILE_COMMENTS_CPU_H
#define SP_PROFILE_COMMENTS_CPU_H

#include "profile_comments.h"
#include "profile_cpu.h"

/* A group of threads as the profile shows it. */
struct sp_group_sum {
	uint64_t exact_ns;
	uint64_t periods;
	uint64_t samples;
	uint64_t given_periods; /* periods handed out so far: rounding never adds up */
};

/* groups has SP_GROUPS elements. The lines lie in comments itself. */
void sp_cpu_comments_fill(struct sp_profile_comments *comments,
			  const struct sp_recording *recording,
			  const struct sp_cpu_totals *totals,
			  const struct sp_group_sum *groups);

#endif
