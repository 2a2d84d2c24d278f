/*
 * The spans of a recording as profile views: how long each took, what it allocated, by
 * the spans around it. Context of everything here: collector.
 */
#ifndef SP_PROFILE_SPANS_H
#define SP_PROFILE_SPANS_H

#include "profile_span_values.h"
#include "sp_profile_view.h"

enum sp_span_view {
	SP_SPAN_VIEW_ALL,
	/* Parts of it, as servers of profiles want them. */
	SP_SPAN_VIEW_WALL,
	SP_SPAN_VIEW_CPU,
	SP_SPAN_VIEW_MEMORY,
	SP_SPAN_VIEWS
};

struct sp_span_profile;

/*
 * All views of one moment; heap as for sp_span_values_init(). NULL when memory is short.
 * The recording must not be drained meanwhile, and must outlive the profile, whose
 * names are the recording's.
 */
struct sp_span_profile *sp_span_profile_create(const struct sp_recording *recording,
					       const struct sp_heap_values *heap);
void sp_span_profile_destroy(struct sp_span_profile *profile);

/* Each has a cursor of its own. */
const struct sp_profile_view *sp_span_profile_view(const struct sp_span_profile *profile,
						   enum sp_span_view which);
const struct sp_span_totals *
sp_span_profile_totals(const struct sp_span_profile *profile);

#endif
