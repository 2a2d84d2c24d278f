/*
 * Programs that leave their folder, root, user, file descriptors or namespaces
 * behind run as they do without us, and their profile still gets where it was to.
 */
#include "cpu_profile.h"
#include "victim.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *mode;
	bool is_silent; /* it can't print any more */
} modes[] = {
	{"chdir", false},
	{"close_fds", false},
	{"close_all_fds", true},
	{"close_range", false},
	{"clean_environment", false},
	{"not_dumpable", false},
	{"umask", false},
	{"setuid", false},
	{"chroot", false},
	{"unshare_user", false},
	{"unshare_user_by_number", false},
	{"unshare_mount", false},
	{"unshare_pid", false},
	{"setns", false},
	{"setns_user_by_number", false},
	{"setns_threads", false},
};

START_TEST(program_escapes_unharmed_and_profile_arrives)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"escape", modes[_i].mode, NULL},
	};
	struct victim *victim = victim_run_both(&setup);
	struct cpu_profile *profile;
	char path[PATH_MAX];

	if (victim == NULL)
		return;
	if (!modes[_i].is_silent)
		ck_assert_str_eq(victim->output, "escaped\n");
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	ck_assert_msg(cpu_profile_with_ns(profile, "burn") > 2 * 250000000LL,
		      "burn has %lld ns",
		      (long long)cpu_profile_with_ns(profile, "burn"));
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(no_thread_stays_in_the_folder_of_the_start)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"escape", "chdir_tasks", NULL},
		.environment = (const char *const[]){"SPANPROF_OUT=profiles", NULL},
	};
	struct victim *victim = victim_run_both(&setup);
	char line[PATH_MAX], path[PATH_MAX];

	ck_assert_str_eq(victim->output, "0 tasks elsewhere\nescaped\n");
	/* A relative path is that of the start, and said whole. */
	victim_profile(victim, 0, path);
	snprintf(line, sizeof(line), "wrote %s", victim->profiles);
	ck_assert_msg(strstr(victim->agent_lines, line) != NULL, "said: %s",
		      victim->agent_lines);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, program_escapes_unharmed_and_profile_arrives, 0,
			    sizeof(modes) / sizeof(modes[0]));
	tcase_add_test(tcase, no_thread_stays_in_the_folder_of_the_start);
}

int main(void)
{
	return victim_main("escape", add);
}
