/*
 * The CPU profile of a recording as a profile view: samples of each group of
 * threads scaled to the group's exact CPU time. Context: collector.
 */
#ifndef SP_PROFILE_CPU_H
#define SP_PROFILE_CPU_H

#include "sp_profile_view.h"
#include "sp_recording.h"

struct sp_cpu_profile;

/* NULL when memory is short. The recording must not be drained until destroyed. */
struct sp_cpu_profile *sp_cpu_profile_create(const struct sp_recording *recording);
void sp_cpu_profile_destroy(struct sp_cpu_profile *profile);

const struct sp_profile_view *sp_cpu_profile_view(const struct sp_cpu_profile *profile);

struct sp_cpu_totals {
	uint64_t samples;      /* taken */
	uint64_t cpu_ns;       /* all that the profile shows: the process's exact time */
	uint64_t unsampled_ns; /* of threads that no sample fell into */
	uint64_t kernel_workers_ns; /* of threads that the kernel made for its own work */
	uint64_t agent_ns;	    /* the reporter thread */
	uint64_t handler_ns;	    /* estimate, part of the host threads' time */
	uint64_t lost_samples;
	uint64_t lost_periods;
};

const struct sp_cpu_totals *sp_cpu_profile_totals(const struct sp_cpu_profile *profile);

#endif
