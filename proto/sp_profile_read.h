/*
 * A pprof file back in memory, checked so far that nothing in it refers to what is not
 * there. Context of everything here: collector.
 */
#ifndef SP_PROFILE_READ_H
#define SP_PROFILE_READ_H

#include "profile.pb-c.h"

#include <stddef.h>

/* Of the unpacked file; there are none that come near it. */
#define SP_PROFILE_READ_BYTES_MAX ((size_t)256 << 20)

/*
 * bytes is one gzip member and nothing else. 0 with a profile for
 * sp_profile_read_free(), or -errno and what is wrong in *problem: -EINVAL is damage.
 */
int sp_profile_read(const void *bytes, size_t size_bytes,
		    Perftools__Profiles__Profile **profile, const char **problem);
void sp_profile_read_free(Perftools__Profiles__Profile *profile);

#endif
