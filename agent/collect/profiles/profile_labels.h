/*
 * What a sample carries besides its stack: the span that its thread worked for, and
 * what the program said of that. Context of everything here: collector.
 */
#ifndef SP_PROFILE_LABELS_H
#define SP_PROFILE_LABELS_H

#include "sp_profile_view.h"
#include "sp_recording_span.h"

/* As span_name of samples whose label set found no room. */
#define SP_SPAN_NAME_OTHER "[other]"

/* Room for ids in words, to be kept until the reporter has taken the sample. */
struct sp_profile_ids {
	char span_id[2 * 8 + 1], trace_id[2 * 16 + 1];
};

/*
 * Adds the labels of a label set to those that the sample has: span_name, span_id,
 * trace_id, thread and process_title if they are kept, and recorded labels, but for
 * those that would take the name of one of ours.
 */
void sp_profile_add_labels(const struct sp_recording *recording, uint32_t label_set,
			   struct sp_profile_ids *ids, struct sp_view_sample *sample);

/* The recorded labels alone. */
void sp_profile_add_recorded_labels(const struct sp_recording *recording,
				    const struct sp_label_set *set,
				    struct sp_view_sample *sample);

#endif
