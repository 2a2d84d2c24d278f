/*
 * Sums over a decoded CPU profile, with what is wrong about it asserted at once.
 */
#include "cpu_profile.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "profile_decode.h"

/* The agent's own thread, the time that no sample fell into, broken stacks. */
#define AGENT_FRAME "[spanprof]"
#define UNSAMPLED_FRAME "[unsampled]"
#define INCOMPLETE_FRAME "[incomplete]"
#define DROPPED_FRAME "[dropped]"

struct cpu_profile {
	struct profile *decoded;
	size_t cpu_index;
};

struct cpu_profile *cpu_profile_read(const char *path)
{
	struct cpu_profile *profile = calloc(1, sizeof(*profile));
	char error[256] = "";

	ck_assert_ptr_nonnull(profile);
	profile->decoded = profile_decode_file(path, error, sizeof(error));
	ck_assert_msg(profile->decoded != NULL, "%s: %s", path, error);
	ck_assert_msg(profile_check(profile->decoded, error, sizeof(error)), "%s: %s",
		      path, error);
	ck_assert_int_eq(profile_value_index(profile->decoded, "samples"), 0);
	ck_assert_int_eq(profile_value_index(profile->decoded, "cpu"), 1);
	profile->cpu_index = 1;
	return profile;
}

void cpu_profile_free(struct cpu_profile *profile)
{
	profile_free(profile->decoded);
	free(profile);
}

int64_t cpu_profile_period_ns(const struct cpu_profile *profile)
{
	return profile->decoded->message->period;
}

int64_t cpu_profile_total_ns(const struct cpu_profile *profile)
{
	return profile_total(profile->decoded, "cpu");
}

int64_t cpu_profile_samples(const struct cpu_profile *profile)
{
	return profile_total(profile->decoded, "samples");
}

int64_t cpu_profile_samples_with(const struct cpu_profile *profile, const char *function)
{
	return profile_sum_with(profile->decoded, "samples", function);
}

int64_t cpu_profile_with_ns(const struct cpu_profile *profile, const char *function)
{
	return profile_sum_with(profile->decoded, "cpu", function);
}

int64_t cpu_profile_with_both_ns(const struct cpu_profile *profile, const char *function,
				 const char *other)
{
	const Perftools__Profiles__Profile *message = profile->decoded->message;
	int64_t sum_ns = 0;

	for (size_t i = 0; i < message->n_sample; i++) {
		if (profile_sample_has(profile->decoded, message->sample[i], function) &&
		    profile_sample_has(profile->decoded, message->sample[i], other))
			sum_ns += message->sample[i]->value[profile->cpu_index];
	}
	return sum_ns;
}

static bool is_name_in_location(const struct profile *decoded, uint64_t id,
				const char *part)
{
	const Perftools__Profiles__Location *location = profile_location(decoded, id);

	for (size_t i = 0; location != NULL && i < location->n_line; i++) {
		const Perftools__Profiles__Function *function =
			profile_function(decoded, location->line[i]->function_id);
		const char *name =
			function ? profile_string(decoded, function->name) : NULL;

		if (name != NULL && strstr(name, part) != NULL)
			return true;
	}
	return false;
}

int64_t cpu_profile_matching_ns(const struct cpu_profile *profile, const char *part)
{
	const Perftools__Profiles__Profile *message = profile->decoded->message;
	int64_t sum_ns = 0;

	for (size_t i = 0; i < message->n_sample; i++) {
		const Perftools__Profiles__Sample *sample = message->sample[i];
		bool is_match = false;

		for (size_t j = 0; !is_match && j < sample->n_location_id; j++)
			is_match = is_name_in_location(profile->decoded,
						       sample->location_id[j], part);
		if (is_match)
			sum_ns += sample->value[profile->cpu_index];
	}
	return sum_ns;
}

int64_t cpu_profile_program_ns(const struct cpu_profile *profile)
{
	return cpu_profile_total_ns(profile) - cpu_profile_with_ns(profile, AGENT_FRAME);
}

unsigned cpu_profile_depth(const struct cpu_profile *profile)
{
	const Perftools__Profiles__Profile *message = profile->decoded->message;
	size_t depth = 0;

	for (size_t i = 0; i < message->n_sample; i++) {
		if (message->sample[i]->n_location_id > depth)
			depth = message->sample[i]->n_location_id;
	}
	return (unsigned)depth;
}

const char *cpu_profile_comment(const struct cpu_profile *profile, const char *part)
{
	const char *comment;

	for (size_t i = 0; (comment = profile_comment(profile->decoded, i)) != NULL;
	     i++) {
		if (strstr(comment, part) != NULL)
			return comment;
	}
	return NULL;
}

bool cpu_profile_has_comment(const struct cpu_profile *profile, const char *part)
{
	return cpu_profile_comment(profile, part) != NULL;
}

bool cpu_profile_has_mapping(const struct cpu_profile *profile, const char *part)
{
	const Perftools__Profiles__Profile *message = profile->decoded->message;

	for (size_t i = 0; i < message->n_mapping; i++) {
		const char *name =
			profile_string(profile->decoded, message->mapping[i]->filename);

		if (name != NULL && strstr(name, part) != NULL)
			return true;
	}
	return false;
}

double cpu_profile_complete_share(const struct cpu_profile *profile)
{
	double walked_ns = (double)(cpu_profile_program_ns(profile) -
				    cpu_profile_with_ns(profile, UNSAMPLED_FRAME));
	double broken_ns = (double)(cpu_profile_with_ns(profile, INCOMPLETE_FRAME) +
				    cpu_profile_with_ns(profile, DROPPED_FRAME));

	/* Nothing sampled, nothing broken. */
	return walked_ns <= 0 ? 1 : 1 - broken_ns / walked_ns;
}
