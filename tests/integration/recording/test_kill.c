/*
 * Programs killed by SIGKILL at any moment: the profile that is recovered holds what
 * the program itself had counted when it died.
 */
#include "counted.h"
#include "cpu_profile.h"
#include "victim.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	const char *threads, *life_ms, *hz;
	int clocks; /* threads whose last period was not over */
} kinds[] = {
	{"0", "0", "SPANPROF_CPU_HZ=99", 1},   {"3", "0", "SPANPROF_CPU_HZ=99", 3},
	{"2", "0", "SPANPROF_CPU_HZ=1000", 2}, {"2", "30", "SPANPROF_CPU_HZ=199", 2},
	{"3", "2", "SPANPROF_CPU_HZ=99", 3},
};
#define KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))
#define KILLS 20

/* Threads of 2 ms get a fifth of the samples that are due, their ends being nearer than
 * the kernel's tick: 5 or so in 0.3 s, and now and then none. */
#define SAMPLED_MS 700U

/* What is beside the loops: the loader before main, births and deaths of threads. */
#define BESIDE_NS 60e6
/* One period at 99 Hz, and a tick of the kernel at which the timer is looked at. */
#define LAST_PERIOD_NS (10.2e6 + 10e6)

static struct victim *run_killed(int kind, unsigned after_ms)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){COUNTED_PROGRAM, kinds[kind].threads,
					      kinds[kind].life_ms, NULL},
		.environment = (const char *const[]){kinds[kind].hz, NULL},
		.kill_signal = SIGKILL,
		.kill_after_ms = after_ms,
	};
	struct victim *victim = victim_run(&setup);

	ck_assert(WIFSIGNALED(victim->status));
	ck_assert_int_eq(WTERMSIG(victim->status), SIGKILL);
	return victim;
}

static void read_counted(const struct victim *victim, struct counted *counted)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/" COUNTED_FILE, victim->folder);
	fd = open(path, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, counted, sizeof(*counted)), sizeof(*counted));
	close(fd);
}

static double counted_ns(struct counted *counted)
{
	double sum_ns = (double)atomic_load(&counted->ended_ns);

	for (int i = 0; i < COUNTED_THREADS_MAX; i++)
		sum_ns += (double)atomic_load(&counted->running_ns[i]);
	return sum_ns;
}

static int recover(const struct victim *victim)
{
	const char *const arguments[] = {"recover", "-o", victim->profiles,
					 victim->recordings, NULL};

	return victim_cli(arguments);
}

START_TEST(killed_program_keeps_what_it_had_counted)
{
	int kind = _i % KINDS;
	struct victim *victim = run_killed(kind, SAMPLED_MS + (unsigned)_i * 379 % 1200);
	double told_ns, program_ns, work_ns, unfinished_ns;
	struct cpu_profile *profile;
	struct counted counted;
	char path[PATH_MAX];

	ck_assert_uint_eq(victim_count(victim->recordings, "*.spanprof"), 1);
	ck_assert_int_eq(recover(victim), 0);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	read_counted(victim, &counted);
	told_ns = counted_ns(&counted);
	program_ns = (double)cpu_profile_program_ns(profile);
	work_ns = (double)cpu_profile_with_ns(profile, "counted_work");
	unfinished_ns = kinds[kind].clocks * LAST_PERIOD_NS;
	ck_assert_msg(program_ns > told_ns - unfinished_ns,
		      "recovered %.0f ns, counted %.0f ns", program_ns, told_ns);
	/* Births and deaths of threads are no part of what threads count. */
	if (!atomic_load(&counted.ended_threads))
		ck_assert_msg(program_ns < told_ns + unfinished_ns + BESIDE_NS,
			      "recovered %.0f ns, counted %.0f ns", program_ns, told_ns);
	ck_assert_msg(program_ns < (double)victim_cpu_ns(&victim->usage) + unfinished_ns,
		      "recovered %.0f ns, wait4 %lld ns", program_ns,
		      (long long)victim_cpu_ns(&victim->usage));
	ck_assert_msg(work_ns > 0.7 * told_ns - unfinished_ns,
		      "counted_work has %.0f of %.0f ns", work_ns, told_ns);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* Nothing is promised but that whatever lies there is dealt with. */
START_TEST(program_killed_while_it_starts_leaves_nothing_that_hurts)
{
	struct victim *victim = run_killed(_i % KINDS, (unsigned)_i);
	int status = recover(victim);

	ck_assert_msg(status == 0 || status == 1, "recover ends with %d", status);
	if (victim_count(victim->profiles, "*.cpu.pb.gz") == 1) {
		char path[PATH_MAX];

		cpu_profile_free(cpu_profile_read(victim_profile(victim, 0, path)));
	}
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, killed_program_keeps_what_it_had_counted, 0, KILLS);
	tcase_add_loop_test(
		tcase, program_killed_while_it_starts_leaves_nothing_that_hurts, 0, 20);
}

int main(void)
{
	return victim_main("recording_kill", add);
}
