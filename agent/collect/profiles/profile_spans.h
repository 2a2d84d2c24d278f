/*
 * The spans of a recording as a profile view: how long each took, what it allocated, by
 * the spans around it. Context of everything here: collector.
 */
#ifndef SP_PROFILE_SPANS_H
#define SP_PROFILE_SPANS_H

#include "profile_span_values.h"
#include "sp_profile_view.h"

struct sp_span_profile;

/*
 * Of one moment; heap as for sp_span_values_init(). NULL when memory is short.
 * The recording must not be drained meanwhile, and must outlive the profile, whose
 * names are the recording's.
 */
struct sp_span_profile *sp_span_profile_create(const struct sp_recording *recording,
					       const struct sp_heap_values *heap);
void sp_span_profile_destroy(struct sp_span_profile *profile);

const struct sp_profile_view *sp_span_profile_view(const struct sp_span_profile *profile);
const struct sp_span_totals *
sp_span_profile_totals(const struct sp_span_profile *profile);

#endif
