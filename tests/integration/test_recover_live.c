/*
 * A second process takes profiles from the recording of a program at work, again and
 * again: each is whole, each tells of no less than the one before, and the program
 * and its own profile are what they are without.
 */
#include "cpu_profile.h"
#include "heap_profile.h"
#include "victim.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* Threads that live long, and many that come and go. */
static const struct {
	const char *threads, *cpu_ms, *at_once;
} loads[] = {{"6", "500", "3"}, {"600", "5", "8"}, {"3000", "1", "4"}};

/* A recovery takes some 5 ms, the programs a second and more. */
#define SNAPSHOTS_MIN 20

struct snapshot {
	int64_t samples, cpu_ns;
};

static bool has_ended(const struct victim *victim)
{
	siginfo_t info = {.si_pid = 0};

	ck_assert_int_eq(
		waitid(P_PID, (id_t)victim->pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
	return info.si_pid != 0;
}

static void read_snapshot(const char *path, struct snapshot *snapshot)
{
	struct cpu_profile *profile = cpu_profile_read(path);

	snapshot->samples = cpu_profile_samples(profile);
	snapshot->cpu_ns = cpu_profile_total_ns(profile);
	cpu_profile_free(profile);
}

/* Its profiles go to that folder. False when there are none (any more): before the
 * program begins, and when its own profile is on its way. */
static bool recover(const struct victim *victim, int number, char folder[PATH_MAX])
{
	struct victim_files recordings;
	bool has_profile = false;

	snprintf(folder, PATH_MAX, "%s/%d", victim->folder, number);
	victim_list(victim->recordings, "*.spanprof", &recordings);
	if (recordings.count == 1) {
		const char *const arguments[] = {"recover", "--force",		 "-o",
						 folder,    recordings.paths[0], NULL};
		int status = victim_cli(arguments);

		has_profile = victim_count(folder, "*.cpu.pb.gz") == 1;
		if (has_profile)
			ck_assert_int_eq(status, 0);
	}
	victim_files_free(&recordings);
	return has_profile;
}

static bool take_snapshot(const struct victim *victim, int number,
			  struct snapshot *snapshot)
{
	struct victim_files profiles;
	char folder[PATH_MAX];

	if (!recover(victim, number, folder))
		return false;
	victim_list(folder, "*.cpu.pb.gz", &profiles);
	read_snapshot(profiles.paths[0], snapshot);
	victim_files_free(&profiles);
	return true;
}

/* The last of them; asserts that they grow. */
static struct snapshot take_snapshots(const struct victim *victim)
{
	struct snapshot last = {0, 0};
	int number = 0, taken = 0;

	while (!has_ended(victim)) {
		struct snapshot now;

		if (!take_snapshot(victim, number++, &now)) {
			/* Once there is a recording, it is readable to the end. */
			if (taken)
				break;
			continue;
		}
		taken++;
		ck_assert_msg(now.samples >= last.samples && now.cpu_ns >= last.cpu_ns,
			      "number %d: %lld samples after %lld, %lld ns after %lld",
			      taken, (long long)now.samples, (long long)last.samples,
			      (long long)now.cpu_ns, (long long)last.cpu_ns);
		last = now;
	}
	ck_assert_int_ge(taken, SNAPSHOTS_MIN);
	return last;
}

START_TEST(profiles_of_a_running_program_only_grow)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"threads", loads[_i].threads,
					      loads[_i].cpu_ms, loads[_i].at_once, NULL},
		.environment = (const char *const[]){"SPANPROF_CPU_HZ=10000", NULL},
	};
	struct victim *victim = victim_start(&setup);
	struct snapshot last = take_snapshots(victim), final;
	double self_ns, waited_ns;
	char path[PATH_MAX];

	victim_finish(victim);
	ck_assert(!victim->is_timed_out);
	victim_assert_success(victim);
	victim_assert_clean(victim);
	read_snapshot(victim_profile(victim, 0, path), &final);
	self_ns = (double)victim_number(victim->output, "self_cpu_ns");
	waited_ns = (double)victim_cpu_ns(&victim->usage);
	ck_assert_msg((double) final.cpu_ns > 0.99 * self_ns &&
			      (double) final.cpu_ns < 1.01 * waited_ns,
		      "total %lld ns, getrusage %.0f ns, wait4 %.0f ns",
		      (long long) final.cpu_ns, self_ns, waited_ns);
	ck_assert_int_gt(last.samples, 0);
	ck_assert_int_ge(final.samples, last.samples);
	ck_assert_int_ge(final.cpu_ns, last.cpu_ns);
	victim_free(victim);
}
END_TEST

/* Of the heap: what a column has for a function. */
static int64_t column_of(const char *folder, const char *kind, const char *type)
{
	struct victim_files profiles;
	struct heap_profile *profile;
	char pattern[32];
	int64_t sum;

	snprintf(pattern, sizeof(pattern), "*.%s.pb.gz", kind);
	victim_list(folder, pattern, &profiles);
	ck_assert_uint_eq(profiles.count, 1);
	profile = heap_profile_read(profiles.paths[0], kind);
	sum = heap_profile_column(profile, "drain_first", type);
	heap_profile_free(profile);
	victim_files_free(&profiles);
	return sum;
}

#define DRAINED_BLOCKS 400000
#define DRAIN_SNAPSHOTS 5

/* Blocks that are freed while they are looked at are met once, and not missed. */
START_TEST(each_block_is_met_once)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"heap_drain", "400000", NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1", NULL},
	};
	struct victim *victim = victim_start(&setup);
	int number = 0, in_between = 0;
	char folder[PATH_MAX];

	ck_assert(victim_wait_for_files(victim->folder, "allocated", 1, 60));
	while (!victim_count(victim->folder, "drained") &&
	       recover(victim, number++, folder)) {
		int64_t allocated = column_of(folder, "heap", "alloc_objects");
		int64_t inuse = column_of(folder, "heap", "inuse_objects");
		int64_t freed = column_of(folder, "lifetimes", "freed_objects");

		ck_assert_msg(allocated == DRAINED_BLOCKS && inuse + freed == allocated,
			      "%lld blocks, %lld in use, %lld freed",
			      (long long)allocated, (long long)inuse, (long long)freed);
		in_between += inuse > 0 && freed > 0;
		if (in_between == DRAIN_SNAPSHOTS)
			victim_make_file(victim, "enough");
	}
	ck_assert_int_ge(in_between, DRAIN_SNAPSHOTS);
	victim_finish(victim);
	victim_assert_success(victim);
	victim_assert_clean(victim);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, each_block_is_met_once);
	tcase_add_loop_test(tcase, profiles_of_a_running_program_only_grow, 0,
			    sizeof(loads) / sizeof(loads[0]));
}

int main(void)
{
	return victim_main("recover_live", add);
}
