/*
 * Programs that give up system calls run on as they do without us. Where the agent
 * can't go on, the profile tells of the time before; where it can, of all.
 */
#include "cpu_profile.h"
#include "victim.h"

static const struct {
	const char *mode;
	bool is_profiled_on;
} modes[] = {
	{"strict", false},
	{"no_counter", false},
	{"dispatch", false},
	{"dispatch_syscall", false},
	{"filter", false},
	{"filter_syscall", false},
	{"filter_all_threads", false},
	{"filter_prctl", false},
	{"filter_no_poll", false},
	{"filter_loose", true},
	{"filter_refused", true},
	{"strict_refused", true},
};

START_TEST(program_lives_in_its_confinement)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"confined", modes[_i].mode, NULL},
	};
	struct victim *victim = victim_run_both(&setup);
	struct cpu_profile *profile;
	char path[PATH_MAX];

	if (victim == NULL)
		return;
	ck_assert_str_eq(victim->output, "done\n");
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	ck_assert_int_gt(cpu_profile_with_ns(profile, "burn"), 200000000);
	if (modes[_i].is_profiled_on)
		ck_assert_int_gt(cpu_profile_with_ns(profile, "work_on"), 0);
	else
		ck_assert_int_eq(cpu_profile_with_ns(profile, "work_on"), 0);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, program_lives_in_its_confinement, 0,
			    sizeof(modes) / sizeof(modes[0]));
}

int main(void)
{
	return victim_main("confined", add);
}
