/*
 * The loader's lock held by a sleeper while libraries come and go and threads are
 * sampled at the highest rate: nobody waits, nobody is lost, and no frame is
 * named after a library that is gone.
 */
#include "cpu_profile.h"
#include "victim.h"

#include <stdio.h>
#include <stdlib.h>

#define LIBRARIES 12

static void copy_file(const char *from, const char *to)
{
	char command[2 * PATH_MAX + 16];

	snprintf(command, sizeof(command), "cp '%s' '%s'", from, to);
	ck_assert_int_eq(system(command), 0);
}

/* A folder with churn_0.so, churn_1.so, ... */
static void make_libraries(char folder[64])
{
	char library[PATH_MAX], copy[128];

	snprintf(folder, 64, "/tmp/spanprof-churn.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	victim_program_path("lib_churn.so", library);
	for (int i = 0; i < LIBRARIES; i++) {
		snprintf(copy, sizeof(copy), "%s/churn_%d.so", folder, i);
		copy_file(library, copy);
	}
}

static void remove_libraries(const char *folder)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	ck_assert_int_eq(system(command), 0);
}

START_TEST(held_loader_lock_stops_nobody)
{
	char folder[64], path[PATH_MAX];
	struct victim_setup setup = {
		.argv = (const char *const[]){"loader_lock", folder, "5", NULL},
		.environment = (const char *const[]){"SPANPROF_CPU_HZ=10000", NULL},
		.timeout_s = 60,
	};
	struct victim *victim;
	struct cpu_profile *profile;
	double total_ns, self_ns, churn_ns, burner_ns;
	long long rounds, waits;

	make_libraries(folder);
	victim = victim_run(&setup);
	victim_assert_success(victim);
	victim_assert_clean(victim);
	/* 25 ms and some CPU a round, in 5 s; a tenth of it on a busy machine. */
	ck_assert_int_ge(victim_number(victim->output, "rounds_sleeper"), 15);
	ck_assert_int_ge(victim_number(victim->output, "rounds_churn"), 20);
	rounds = victim_number(victim->output, "rounds_burner");
	waits = victim_number(victim->output, "waits_burner");
	ck_assert_int_ge(rounds, 500);
	/* The lock is held most of the time: a handler that wants it waits at nearly each
	 * tick of 4 ms, that is of four rounds. Page faults wait now and then. */
	printf("%lld ms burnt, %lld waits\n", rounds, waits);
	ck_assert_msg(waits < rounds / 40, "%lld waits in %lld ms", waits, rounds);

	profile = cpu_profile_read(victim_profile(victim, 0, path));
	self_ns = (double)victim_number(victim->output, "self_cpu_ns");
	total_ns = (double)cpu_profile_total_ns(profile);
	ck_assert_msg(total_ns > 0.98 * self_ns && total_ns < 1.02 * self_ns + 100e6,
		      "total %.0f ns, getrusage %.0f ns", total_ns, self_ns);
	/* Every thread is there under its entry. */
	churn_ns = (double)cpu_profile_with_ns(profile, "churn_entry");
	burner_ns = (double)cpu_profile_with_ns(profile, "burner_entry");
	ck_assert_msg(cpu_profile_with_ns(profile, "sleeper_entry") > 0, "sleeper lost");
	ck_assert_msg(churn_ns > 0, "churn lost");
	ck_assert_msg(burner_ns > 0.8 * 1e6 *
					  (double)victim_number(victim->output,
								"rounds_burner"),
		      "burner_entry has %.0f ns", burner_ns);
	/* What burner threads do never happens in a library that comes and goes. */
	ck_assert_int_eq(cpu_profile_with_both_ns(profile, "burner_entry", "churn_work"),
			 0);
	ck_assert_int_eq(cpu_profile_with_both_ns(profile, "sleeper_entry", "churn_work"),
			 0);
	cpu_profile_free(profile);
	remove_libraries(folder);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, held_loader_lock_stops_nobody);
}

int main(void)
{
	return victim_main("loader_lock", add);
}
