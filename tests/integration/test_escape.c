/*
 * Programs that leave their folder, root, user, file descriptors or namespaces
 * behind run as they do without us, and their profile still gets where it was to.
 */
#include "cpu_profile.h"
#include "victim.h"

#include <stdio.h>
#include <sys/wait.h>

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
	{"unshare_mount", false},
	{"unshare_pid", false},
	{"setns", false},
};

START_TEST(program_escapes_unharmed_and_profile_arrives)
{
	struct victim *bare = victim_run_bare("escape", modes[_i].mode);
	struct victim *agent;
	struct cpu_profile *profile;
	char path[PATH_MAX];

	if (WIFEXITED(bare->status) && WEXITSTATUS(bare->status) == 77) {
		printf("%s is not permitted here\n", modes[_i].mode);
		victim_free(bare);
		return;
	}
	victim_assert_success(bare);
	agent = victim_run_agent("escape", modes[_i].mode);
	victim_assert_same(bare, agent);
	if (!modes[_i].is_silent)
		ck_assert_str_eq(agent->output, "escaped\n");
	profile = cpu_profile_read(victim_profile(agent, 0, path));
	ck_assert_msg(cpu_profile_with_ns(profile, "burn") > 2 * 250000000LL,
		      "burn has %lld ns",
		      (long long)cpu_profile_with_ns(profile, "burn"));
	victim_assert_clean(agent);
	cpu_profile_free(profile);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, program_escapes_unharmed_and_profile_arrives, 0,
			    sizeof(modes) / sizeof(modes[0]));
}

int main(void)
{
	return victim_main("escape", add);
}
