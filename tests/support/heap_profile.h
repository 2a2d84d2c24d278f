/*
 * What integration tests ask of heap profiles: sums by function, and what the
 * comments tell. A thin layer over profile_decode.h that asserts instead of returning
 * errors.
 */
#ifndef HEAP_PROFILE_H
#define HEAP_PROFILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "victim.h"

struct heap_profile;

/* 0 where the profile has no such values. */
struct heap_sums {
	int64_t alloc_objects, alloc_bytes;
	int64_t inuse_objects, inuse_bytes;
	unsigned samples; /* of the profile: lines, each rounded to whole values */
};

/*
 * Path of the profile of that kind ("heap", "peak", "lifetimes") of that process (0:
 * the victim itself) into path; asserts that there is exactly one.
 */
const char *heap_profile_path(const struct victim *victim, int pid, const char *kind,
			      char path[PATH_MAX]);

/* Asserts that the file is a well-formed profile of ours of that kind. */
struct heap_profile *heap_profile_read(const char *path, const char *kind);
struct heap_profile *heap_profile_of(const struct victim *victim, const char *kind);
void heap_profile_free(struct heap_profile *profile);

struct heap_sums heap_profile_total(const struct heap_profile *profile);
/* Over the stacks that hold a function of that very name, each counted once. */
struct heap_sums heap_profile_with(const struct heap_profile *profile,
				   const char *function);

/* Asserts that they are just those; the number of samples does not matter. */
void heap_profile_assert_site(const struct heap_profile *profile, const char *function,
			      const struct heap_sums *expected);

/* The same of any column; asserts that there is one of that type. */
int64_t heap_profile_column(const struct heap_profile *profile, const char *function,
			    const char *type);

/* NULL: no comment begins with that. */
const char *heap_profile_comment(const struct heap_profile *profile, const char *begin);
/*
 * The number in a comment after that text, which may be anywhere in it; asserts that
 * there is one.
 */
double heap_profile_told(const struct heap_profile *profile, const char *before);
/* What a loss comment with that text counts; 0 if there is none. */
double heap_profile_loss(const struct heap_profile *profile, const char *part);
#define HEAP_LOSS_STALE "gone stale"
#define HEAP_LOSS_ONLY_COUNTED "allocations that were only counted"
#define HEAP_LOSS_UNTRACKED "sampled blocks not followed"

/* What the comments say of all of the program: counted, and estimated from samples. */
struct heap_account {
	double bytes, allocations, frees;
	double estimate_bytes, standard_error_bytes;
};
struct heap_account heap_profile_account(const struct heap_profile *profile);

/* Prints all comments, for whoever reads a failing test. */
void heap_profile_show(const struct heap_profile *profile);

#endif
