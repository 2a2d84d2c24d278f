/*
 * Which names are functions to follow: patterns with * for any letters, separated by
 * commas. Context: hook.
 */
#ifndef SP_FUNCTION_PATTERNS_H
#define SP_FUNCTION_PATTERNS_H

#include <stdbool.h>
#include <stdint.h>

/* Refused functions match nothing. */
bool sp_function_matches(const char *patterns, const char *name);

/* Which of the first 64 patterns match, by their numbers; also refused functions. */
uint64_t sp_function_patterns_for(const char *patterns, const char *name);

/*
 * Functions that do not survive a frame between themselves and their caller: they
 * return twice or never, look at who calls, or have a calling convention of their own.
 */
bool sp_function_is_refused(const char *name);

#endif
