/*
 * Under emulators of processors (qemu-x86_64) a handler may begin with a stack pointer
 * that is not aligned as for any function.
 */
#include "cpu_profile.h"
#include "victim.h"

START_TEST(handler_aligns_its_stack)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"sig_frame", NULL},
	};
	struct victim *victim = victim_run_both(&setup);
	struct cpu_profile *profile;
	char path[PATH_MAX];

	ck_assert_str_eq(victim->output, "done\n");
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	ck_assert_int_gt(cpu_profile_with_ns(profile, "burn"), 200000000);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, handler_aligns_its_stack);
}

int main(void)
{
	return victim_main("signal_frame", add);
}
