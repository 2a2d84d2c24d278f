/*
 * What tests of real programs have in common: a bare run and one under the agent
 * compared, and the question whether a profile is of use.
 */
#ifndef REAL_PROGRAM_H
#define REAL_PROGRAM_H

#include <stdbool.h>

#include "victim.h"

/*
 * Asserts that the profile has CPU, a function whose name holds each of the
 * parts (NULL ends), and complete stacks for 95 % of its weight.
 */
void real_program_assert_useful(const char *path, const char *const *name_parts);

/*
 * Runs a shell script (bash -c) bare and under the agent, each in a folder of its
 * own, asserts success and equality, and returns the second run.
 */
struct victim *real_program_compare(const char *script);

/*
 * Asserts that at least count profiles match the pattern, and that the one with the
 * most CPU time is useful.
 */
void real_program_assert_largest(const struct victim *victim, const char *pattern,
				 size_t count, const char *const *name_parts);

/* Whether all those commands (NULL ends) are there; says which is not. */
bool real_program_has_commands(const char *const *names);

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

#endif
