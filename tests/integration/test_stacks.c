/*
 * Odd stacks: nearly full, alternate, of coroutines, very deep, through code
 * without unwind tables. The program lives, its results and its total are right,
 * and where a stack can be known it is.
 */
#include "cpu_profile.h"
#include "heap_profile.h"
#include "victim.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define CPU_NS 500e6

static const struct {
	const char *mode;
	const char *leaf;   /* what burns; NULL: code without a name */
	const char *caller; /* where its stack starts; NULL: not to be known */
} modes[] = {
	/* No room for a signal: no sample, but the thread's time and entry. */
	{"small", NULL, "small_thread"},
	{"small_roomy", "nearly_full_work", "small_thread"},
	{"altstack_2k", "burn", "main"},
	/* Two signal frames do not fit: the time of its handlers falls to what follows.
	 */
	{"altstack_8k", NULL, "main"},
	{"coroutines", "coroutine_work", NULL},
	{"deep", "deep_work", NULL},
	{"jit", "burn", "main"},
	{"jit_leaf", NULL, "main"},
};

START_TEST(program_runs_as_without_us_and_its_time_is_found)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"stacks", modes[_i].mode, "500", NULL},
		/* As many signals as can be. */
		.environment = (const char *const[]){"SPANPROF_CPU_HZ=250", NULL},
	};
	struct victim *victim = victim_run(&setup);
	struct cpu_profile *profile;
	char path[PATH_MAX];
	double total_ns, self_ns;

	if (WIFEXITED(victim->status) && WEXITSTATUS(victim->status) == 77)
		return; /* the kernel refuses so small an alternate stack */
	victim_assert_success(victim);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	self_ns = (double)victim_number(victim->output, "self_cpu_ns");
	total_ns = (double)cpu_profile_total_ns(profile);
	ck_assert_msg(total_ns > 0.98 * self_ns && total_ns < 1.02 * self_ns + 30e6,
		      "%s: total %.0f ns, getrusage %.0f ns", modes[_i].mode, total_ns,
		      self_ns);
	if (modes[_i].leaf != NULL)
		ck_assert_msg((double)cpu_profile_with_ns(profile, modes[_i].leaf) >
				      0.85 * CPU_NS,
			      "%s has %lld ns", modes[_i].leaf,
			      (long long)cpu_profile_with_ns(profile, modes[_i].leaf));
	if (modes[_i].caller != NULL)
		ck_assert_msg((double)cpu_profile_with_ns(profile, modes[_i].caller) >
				      0.85 * CPU_NS,
			      "%s has %lld ns", modes[_i].caller,
			      (long long)cpu_profile_with_ns(profile, modes[_i].caller));
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(deep_stack_is_cut_and_says_so)
{
	struct victim *victim = victim_run_agent("stacks", "deep", "500");
	struct cpu_profile *profile;
	char path[PATH_MAX];

	victim_assert_success(victim);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	ck_assert_uint_ge(cpu_profile_depth(profile), 100);
	ck_assert((double)cpu_profile_with_ns(profile, "[truncated]") > 0.85 * CPU_NS);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* More than so many samples, and more than that share of what burns in main. */
static void assert_leads_to_main(struct victim *victim, int64_t samples, double share)
{
	struct cpu_profile *profile;
	int64_t burn_ns, main_ns;
	char path[PATH_MAX];

	victim_assert_success(victim);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	burn_ns = cpu_profile_with_ns(profile, "burn");
	main_ns = cpu_profile_with_both_ns(profile, "burn", "main");
	ck_assert_int_gt(cpu_profile_samples(profile), samples);
	ck_assert_msg((double)main_ns > share * (double)burn_ns,
		      "%lld of %lld ns lead to main", (long long)main_ns,
		      (long long)burn_ns);
	cpu_profile_free(profile);
	victim_free(victim);
}

/* More than a walk looks ahead for known code: they have to become known. */
START_TEST(stacks_lead_through_much_code_generated_meanwhile)
{
	assert_leads_to_main(victim_run_agent("stacks", "jit_chain", "1000"), 50, 0.8);
}
END_TEST

START_TEST(stacks_lead_on_where_the_file_alone_says_how)
{
	assert_leads_to_main(victim_run_agent("busy_debug_frame", "500"), 5, 0.95);
}
END_TEST

/* Blocks of another size each, all sampled or none: most of the time is ours. */
static const char *const hook_times[] = {
	"SPANPROF_HEAP_RATE=1",
	"SPANPROF_ALLOCATOR=jemalloc",
};

START_TEST(time_in_our_functions_is_that_of_those_they_stand_for)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"alloc_time", NULL},
		.environment = (const char *const[]){hook_times[_i],
						     "SPANPROF_CPU_HZ=1000", NULL},
	};
	struct victim *victim = victim_run_both(&setup);
	char path[PATH_MAX];
	struct cpu_profile *profile = cpu_profile_read(victim_profile(victim, 0, path));
	struct heap_profile *heap = heap_profile_of(victim, "heap");
	const char *caller = "allocate_on";
	int64_t caller_ns = cpu_profile_with_ns(profile, caller);
	int64_t hooks_ns = cpu_profile_with_both_ns(profile, "malloc", caller) +
			   cpu_profile_with_both_ns(profile, "free", caller) +
			   cpu_profile_with_both_ns(profile, "[spanprof hook]", caller);

	ck_assert_msg((double)hooks_ns > 0.6 * (double)caller_ns, "%s: %lld of %lld ns",
		      hook_times[_i], (long long)hooks_ns, (long long)caller_ns);
	/* Of a sampled block nearly all is behind malloc(), which jumps there; one to
	 * four per cent of the samples are in malloc() itself. */
	if (strstr(hook_times[_i], "jemalloc"))
		ck_assert_int_gt(cpu_profile_with_both_ns(profile, "malloc", caller), 0);
	/* Allocations are their caller's as ever. */
	ck_assert_int_gt(heap_profile_with(heap, caller).alloc_objects, 0);
	ck_assert_int_eq(heap_profile_with(heap, "malloc").alloc_objects, 0);
	heap_profile_free(heap);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, program_runs_as_without_us_and_its_time_is_found, 0,
			    sizeof(modes) / sizeof(modes[0]));
	tcase_add_loop_test(tcase, time_in_our_functions_is_that_of_those_they_stand_for,
			    0, sizeof(hook_times) / sizeof(hook_times[0]));
	tcase_add_test(tcase, deep_stack_is_cut_and_says_so);
	tcase_add_test(tcase, stacks_lead_on_where_the_file_alone_says_how);
	tcase_add_test(tcase, stacks_lead_through_much_code_generated_meanwhile);
}

int main(void)
{
	return victim_main("stacks", add);
}
