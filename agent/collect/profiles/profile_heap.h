/*
 * The heap of a recording as profile views: what was allocated and is in use, what was
 * in use at the peak, how long blocks lived. Context of everything here: collector.
 */
#ifndef SP_PROFILE_HEAP_H
#define SP_PROFILE_HEAP_H

#include "profile_heap_values.h"
#include "sp_profile_view.h"

enum sp_heap_view {
	SP_HEAP_VIEW_HEAP,	/* allocated and in use */
	SP_HEAP_VIEW_PEAK,	/* in use at the high-water mark */
	SP_HEAP_VIEW_LIFETIMES, /* what has been freed */
	SP_HEAP_VIEW_LEAKS,	/* in use */
	SP_HEAP_VIEWS
};

struct sp_heap_profile;

/*
 * All views of one moment. NULL when memory is short. The recording must not be
 * drained meanwhile, and must outlive the profile, whose stacks are the recording's.
 */
struct sp_heap_profile *sp_heap_profile_create(const struct sp_recording *recording);
void sp_heap_profile_destroy(struct sp_heap_profile *profile);

/* Each has a cursor of its own. */
const struct sp_profile_view *sp_heap_profile_view(const struct sp_heap_profile *profile,
						   enum sp_heap_view which);
const struct sp_heap_values *
sp_heap_profile_values(const struct sp_heap_profile *profile);

#endif
