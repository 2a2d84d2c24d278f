/*
 * The reporter interface: one ops struct and one file for each output. A NULL
 * member means "not interested". All calls come from one thread and may block.
 * A failing reporter loses that report only, never the program.
 */
#ifndef SP_REPORTER_H
#define SP_REPORTER_H

#include "sp_profile_view.h"
#include "sp_sink.h"

struct sp_reporter_ops {
	const char *name;      /* as in SPANPROF_REPORTER */
	const char *extension; /* "pb.gz" */
	/* Writes one whole profile. 0 or -errno. */
	int (*write_profile)(const struct sp_profile_view *view, struct sp_sink *sink);
};

extern const struct sp_reporter_ops sp_reporter_pprof;

/* NULL when there is none of that name. */
const struct sp_reporter_ops *sp_reporter_find(const char *name);

#endif
