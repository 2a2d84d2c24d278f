/*
 * A profile written on its own: no other has found names for it.
 */
#ifndef PPROF_ONCE_H
#define PPROF_ONCE_H

#include "sp_known_names.h"
#include "sp_reporter.h"

static inline int pprof_write_once(const struct sp_profile_view *view,
				   struct sp_sink *out)
{
	struct sp_known_names names;
	int err = sp_known_names_init(&names);

	if (!err)
		err = sp_reporter_pprof.write_profile(view, &names, out);
	sp_known_names_fini(&names);
	return err;
}

#endif
