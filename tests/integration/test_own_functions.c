/*
 * A program may have functions of its own by names of the C library's, in itself or by a
 * preloaded library: a clock_gettime(), as libfaketime, a syscall(), as libuid_wrapper.
 * The profiler keeps out of them: their locks may be held by the thread that our signal
 * interrupts, they may be over when the program ends, and their times are not those of
 * the processors. Others go on to a hook of ours, which would not come back if it in turn
 * called the program's function; and who has a sigaction(), or a runtime that is known to
 * need it, says where handlers run.
 */
#include "cpu_profile.h"
#include "victim.h"

static const char *const allocators[] = {"SPANPROF_ALLOCATOR=system",
					 "SPANPROF_ALLOCATOR=jemalloc"};

START_TEST(programs_own_functions_are_never_entered_by_us)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"own_functions", "800", NULL},
		.environment = (const char *const[]){allocators[_i], NULL},
	};
	struct victim *victim = victim_run(&setup);
	double self_ns, total_ns, waited_ns;
	struct cpu_profile *profile;
	char path[PATH_MAX];

	victim_assert_success(victim);
	victim_assert_clean(victim);
	ck_assert_int_eq(victim_number(victim->output, "entered_twice"), 0);
	ck_assert_int_eq(victim_number(victim->output, "locks"), 0);
	ck_assert_int_eq(victim_number(victim->output, "breaks"), 0);
	ck_assert_int_eq(victim_number(victim->output, "texts"), 0);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	ck_assert_int_gt(cpu_profile_samples(profile), 5);
	self_ns = (double)victim_number(victim->output, "self_cpu_ns");
	waited_ns = (double)victim_cpu_ns(&victim->usage);
	total_ns = (double)cpu_profile_total_ns(profile);
	ck_assert_msg(total_ns > 0.99 * self_ns && total_ns < 1.01 * waited_ns,
		      "%.0f ns, the program's %.0f ns, wait4 %.0f ns", total_ns, self_ns,
		      waited_ns);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(programs_wrappers_go_on_to_hooks)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"own_wrappers", NULL},
	};
	struct victim *victim = victim_run_both(&setup);

	ck_assert_int_eq(victim_number(victim->output, "handled"), 1);
	ck_assert_int_eq(victim_number(victim->output, "overwritten"), 0);
	ck_assert_int_eq(victim_number(victim->output, "called_by_others"), 0);
	ck_assert_int_eq(victim_number(victim->output, "executed"), 1);
	victim_free(victim);
}
END_TEST

START_TEST(stacks_in_a_heap_are_left_alone)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"heap_fibers", NULL},
	};
	struct victim *victim = victim_run_both(&setup);
	struct cpu_profile *profile;
	char path[PATH_MAX];

	ck_assert_int_eq(victim_number(victim->output, "overwritten"), 0);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	ck_assert_int_gt(cpu_profile_samples(profile), 5);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, programs_own_functions_are_never_entered_by_us, 0,
			    sizeof(allocators) / sizeof(allocators[0]));
	tcase_add_test(tcase, programs_wrappers_go_on_to_hooks);
	tcase_add_test(tcase, stacks_in_a_heap_are_left_alone);
}

int main(void)
{
	return victim_main("own_functions", add);
}
