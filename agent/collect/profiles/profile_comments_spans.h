/*
 * The comments of the profiles of spans. Context of everything here: collector.
 */
#ifndef SP_PROFILE_COMMENTS_SPANS_H
#define SP_PROFILE_COMMENTS_SPANS_H

#include "profile_comments.h"
#include "profile_span_values.h"

/* heap: NULL if nothing is known of the memory in use. */
void sp_span_comments_fill(struct sp_profile_comments *comments,
			   const struct sp_span_values *values,
			   const struct sp_heap_values *heap);

/* A line for profiles whose samples carry span_name, if not all spans were followed. */
void sp_span_comments_add_sampling(struct sp_profile_comments *comments,
				   const struct sp_recording_header *header);

#endif
