/*
 * The comments of the heap's profiles: how well they were sampled, held against what
 * was counted, and what their numbers mean. Context: collector.
 */
#ifndef SP_PROFILE_COMMENTS_HEAP_H
#define SP_PROFILE_COMMENTS_HEAP_H

#include "profile_comments.h"
#include "profile_heap.h"
#include "profile_heap_values.h"

/* The lines lie in comments itself. */
void sp_heap_comments_fill(struct sp_profile_comments *comments, enum sp_heap_view which,
			   const char *kind, const struct sp_heap_values *values);

#endif
