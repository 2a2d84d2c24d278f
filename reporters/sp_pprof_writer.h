/*
 * What the parts of the pprof reporter share: reporter_pprof.c writes what was
 * measured, pprof_code.c where that was.
 *
 * Context of everything here: collector.
 */
#ifndef SP_PPROF_WRITER_H
#define SP_PPROF_WRITER_H

#include "sp_frame_table.h"
#include "sp_known_names.h"
#include "sp_label_keys.h"
#include "sp_profile_stream.h"
#include "sp_profile_view.h"

struct sp_pprof_writer {
	const struct sp_profile_view *view;
	struct sp_profile_stream *stream;
	struct sp_known_names *names;
	struct sp_frame_table frames; /* a location's id is its frame's index + 1 */
	struct sp_label_keys label_keys;
	uint64_t last_function_id;
	uint64_t jit_mapping_id; /* 0: none */
	uint64_t *location_ids;	 /* scratch, for one sample */
	size_t location_ids_capacity;
	size_t expected_bytes;
	uint64_t no_stack; /* the one frame of samples that have none */
};

/* Writes the mappings of all modules, and one for generated code if there is any. */
void sp_pprof_put_mappings(struct sp_pprof_writer *writer);

/* Writes locations and functions of all frames. 0 or -ENOMEM. */
int sp_pprof_put_frames(struct sp_pprof_writer *writer);

#endif
