/*
 * What integration tests ask of a CPU profile: sums in nanoseconds by function.
 * A thin layer over profile_decode.h that asserts instead of returning errors.
 */
#ifndef CPU_PROFILE_H
#define CPU_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

struct cpu_profile;

/* Asserts that the file is a well-formed CPU profile of ours. */
struct cpu_profile *cpu_profile_read(const char *path);
void cpu_profile_free(struct cpu_profile *profile);

/* Asked for, between two samples of a thread. */
int64_t cpu_profile_period_ns(const struct cpu_profile *profile);
/* Sum of cpu/nanoseconds, and of samples/count. */
int64_t cpu_profile_total_ns(const struct cpu_profile *profile);
int64_t cpu_profile_samples(const struct cpu_profile *profile);
/* Sum over the stacks that hold a function of that very name, each counted once. */
int64_t cpu_profile_with_ns(const struct cpu_profile *profile, const char *function);
int64_t cpu_profile_samples_with(const struct cpu_profile *profile, const char *function);
/* Likewise, for stacks that hold both. */
int64_t cpu_profile_with_both_ns(const struct cpu_profile *profile, const char *function,
				 const char *other);
/* Sum over the stacks with a function whose name holds that text. */
int64_t cpu_profile_matching_ns(const struct cpu_profile *profile, const char *part);
/* What the program itself used: the total without the agent's own thread. */
int64_t cpu_profile_program_ns(const struct cpu_profile *profile);
/* The longest stack, in frames. */
unsigned cpu_profile_depth(const struct cpu_profile *profile);
/* The first comment that holds that text, or NULL; the profile's. */
const char *cpu_profile_comment(const struct cpu_profile *profile, const char *part);
/* Whether a comment, or a mapping's file name, holds that text. */
bool cpu_profile_has_comment(const struct cpu_profile *profile, const char *part);
bool cpu_profile_has_mapping(const struct cpu_profile *profile, const char *part);
/* Share of the weight in stacks that reach their root, [unsampled] left aside. */
double cpu_profile_complete_share(const struct cpu_profile *profile);

#endif
