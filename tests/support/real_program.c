/*
 * Real programs under the agent: run, compared with a bare run, and their profile
 * with the most CPU time judged as a user would.
 */
#include "real_program.h"

#include "cpu_profile.h"

#include <stdio.h>

void real_program_assert_useful(const char *path, const char *const *name_parts)
{
	struct cpu_profile *profile = cpu_profile_read(path);
	double total_ns = (double)cpu_profile_total_ns(profile);
	double complete = cpu_profile_complete_share(profile);

	printf("%s: %.0f ms, %lld samples, %.1f %% complete\n", path, total_ns / 1e6,
	       (long long)cpu_profile_samples(profile), complete * 100);
	ck_assert_msg(total_ns > 20e6, "%s: only %.0f ns", path, total_ns);
	ck_assert_msg(complete >= 0.95, "%s: %.1f %% of complete stacks", path,
		      complete * 100);
	for (; *name_parts != NULL; name_parts++)
		ck_assert_msg(cpu_profile_matching_ns(profile, *name_parts) > 0,
			      "%s: nothing named %s", path, *name_parts);
	cpu_profile_free(profile);
}

struct victim *real_program_compare(const char *script)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"/bin/bash", "-c", script, NULL},
		.is_bare = true,
		.timeout_s = 120,
	};
	struct victim *bare = victim_run(&setup);
	struct victim *agent;

	victim_assert_success(bare);
	setup.is_bare = false;
	agent = victim_run(&setup);
	victim_assert_same(bare, agent);
	victim_assert_clean(agent);
	victim_free(bare);
	return agent;
}

void real_program_assert_largest(const struct victim *victim, const char *pattern,
				 size_t count, const char *const *name_parts)
{
	struct victim_files files;
	const char *largest = NULL;
	int64_t largest_ns = 0;

	victim_list(victim->profiles, pattern, &files);
	ck_assert_msg(files.count >= count, "%zu profiles %s; the agent said: %s",
		      files.count, pattern, victim->agent_lines);
	for (size_t i = 0; i < files.count; i++) {
		struct cpu_profile *profile = cpu_profile_read(files.paths[i]);
		int64_t total_ns = cpu_profile_total_ns(profile);

		if (total_ns > largest_ns) {
			largest_ns = total_ns;
			largest = files.paths[i];
		}
		cpu_profile_free(profile);
	}
	ck_assert_ptr_nonnull(largest);
	real_program_assert_useful(largest, name_parts);
	victim_files_free(&files);
}

bool real_program_has_commands(const char *const *names)
{
	for (; *names != NULL; names++) {
		if (!victim_has_command(*names)) {
			printf("no command %s: skipped\n", *names);
			return false;
		}
	}
	return true;
}
