/*
 * Threads, handlers and children begun before our constructor has run, or after
 * exit() has begun, behave as without us and their time is found.
 */
#include "cpu_profile.h"
#include "victim.h"

START_TEST(what_begins_early_or_late_is_as_without_us)
{
	struct victim *bare = victim_run_bare("early");
	struct victim *agent = victim_run_agent("early");

	victim_assert_success(bare);
	victim_assert_same(bare, agent);
	victim_assert_clean(agent);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

START_TEST(time_of_early_and_late_threads_is_found)
{
	struct victim *victim = victim_run_agent("early");
	struct cpu_profile *profile;
	char path[PATH_MAX];
	double early_ns, late_ns, total_ns, waited_ns;

	victim_assert_success(victim);
	waited_ns = (double)victim_cpu_ns(&victim->usage);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	early_ns = (double)cpu_profile_with_ns(profile, "early_thread_work");
	late_ns = (double)cpu_profile_with_ns(profile, "late_thread_work");
	total_ns = (double)cpu_profile_total_ns(profile);
	/* An early thread may run for a while before we can be there. */
	ck_assert_msg(early_ns > 0.5 * 400e6, "early_thread_work has %.0f ns", early_ns);
	ck_assert_msg(late_ns > 0.7 * 200e6, "late_thread_work has %.0f ns", late_ns);
	ck_assert_msg(total_ns > 0.93 * waited_ns && total_ns < 1.02 * waited_ns,
		      "total %.0f ns, wait4 %.0f ns", total_ns, waited_ns);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, what_begins_early_or_late_is_as_without_us);
	tcase_add_test(tcase, time_of_early_and_late_threads_is_found);
}

int main(void)
{
	return victim_main("early_late", add);
}
