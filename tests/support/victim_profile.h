/*
 * The profiles that a victim leaves, decoded and checked. A check that fails ends the
 * test.
 */
#ifndef VICTIM_PROFILE_H
#define VICTIM_PROFILE_H

#include "profile_decode.h"
#include "victim.h"

struct profile *victim_decode(const char *path);

/* The only file of the folder that is of that pattern. */
struct profile *victim_read_profile(const char *folder, const char *pattern);

/* Does any of its comments contain that? */
bool profile_has_comment(const struct profile *profile, const char *part);

#endif
