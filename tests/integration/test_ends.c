/*
 * Every way in which a process can end leaves its profile, or a recording that
 * becomes one, and the end itself is that of a run without us.
 */
#include "cpu_profile.h"
#include "victim.h"
#include "victim_timer.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CPU_MS "300"
#define CPU_NS 300e6

static const struct {
	const char *mode;
	const char *work; /* a function that the profile must show */
} written[] = {
	{"return", "main_work"},
	{"exit", "main_work"},
	{"_exit", "main_work"},
	{"_Exit", "main_work"},
	{"quick_exit", "main_work"},
	{"abort", "main_work"},
	{"assert", "main_work"},
	{"assert_perror", "main_work"},
	{"pthread_exit", "last_thread_work"},
	{"exit_in_thread", "last_thread_work"},
	{"exit_in_all_threads", "main_work"},
	{"quick_exit_in_all_threads", "main_work"},
	{"exec_fails", "main_work"},
	{"atexit", "at_exit_work"},
	{"destructor", "destructor_work"},
	{"at_quick_exit", "at_exit_work"},
};

static const char *const killed[] = {"raise_kill", "raise_term", "raise_segv",
				     "raw_exit_group"};

static struct cpu_profile *only_profile(const struct victim *victim)
{
	char path[PATH_MAX];

	return cpu_profile_read(victim_profile(victim, 0, path));
}

static void assert_has_work(const struct cpu_profile *profile, const char *work)
{
	double work_ns = (double)cpu_profile_with_ns(profile, work);

	ck_assert_msg(work_ns > 0.85 * CPU_NS, "%s has %.0f ns", work, work_ns);
}

START_TEST(end_is_as_without_us_and_profile_is_left)
{
	struct victim *bare = victim_run_bare("ends", written[_i].mode, CPU_MS);
	struct victim *agent = victim_run_agent("ends", written[_i].mode, CPU_MS);
	struct cpu_profile *profile = only_profile(agent);
	double waited_ns = (double)victim_cpu_ns(&agent->usage);

	victim_assert_same(bare, agent);
	victim_assert_clean(agent);
	assert_has_work(profile, written[_i].work);
	assert_has_work(profile, "main_work");
	ck_assert_msg((double)cpu_profile_total_ns(profile) > 0.90 * waited_ns &&
			      (double)cpu_profile_total_ns(profile) < 1.02 * waited_ns,
		      "%s: total %lld ns, wait4 %.0f ns", written[_i].mode,
		      (long long)cpu_profile_total_ns(profile), waited_ns);
	ck_assert_msg(strstr(agent->agent_lines, "spanprof[") != NULL, "no exit line");
	cpu_profile_free(profile);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

START_TEST(abort_keeps_its_signal)
{
	struct victim *victim = victim_run_agent("ends", "abort", CPU_MS);

	ck_assert(WIFSIGNALED(victim->status));
	ck_assert_int_eq(WTERMSIG(victim->status), SIGABRT);
	victim_free(victim);
}
END_TEST

START_TEST(exec_leaves_a_profile_of_both_images)
{
	struct victim *bare = victim_run_bare("ends", "exec", CPU_MS);
	struct victim *agent = victim_run_agent("ends", "exec", CPU_MS);
	double waited_ns = (double)victim_cpu_ns(&agent->usage), sum_ns = 0;
	struct victim_files files;

	victim_assert_same(bare, agent);
	ck_assert_str_eq(agent->output, "ending\nending\n");
	victim_assert_clean(agent);
	victim_list(agent->profiles, "*.cpu.pb.gz", &files);
	ck_assert_uint_eq(files.count, 2);
	for (size_t i = 0; i < files.count; i++) {
		struct cpu_profile *profile = cpu_profile_read(files.paths[i]);

		assert_has_work(profile, "main_work");
		sum_ns += (double)cpu_profile_total_ns(profile);
		cpu_profile_free(profile);
	}
	ck_assert_msg(sum_ns > 0.90 * waited_ns && sum_ns < 1.02 * waited_ns,
		      "both images: %.0f ns, wait4 %.0f ns", sum_ns, waited_ns);
	victim_files_free(&files);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

/* Each of them is small, and so is what the loader does for it. */
START_TEST(exec_counts_no_time_twice)
{
	char program[PATH_MAX];
	struct victim *victim =
		victim_run_agent("env", "env", "env", "env", "env", "env", "env",
				 victim_program_path("ends", program), "return", "10");
	double waited_ns = (double)victim_cpu_ns(&victim->usage), sum_ns = 0;
	struct victim_files files;

	ck_assert_int_eq(WEXITSTATUS(victim->status), 5);
	ck_assert_str_eq(victim->output, "ending\n");
	victim_assert_clean(victim);
	victim_list(victim->profiles, "*.cpu.pb.gz", &files);
	ck_assert_uint_eq(files.count, 8);
	for (size_t i = 0; i < files.count; i++) {
		struct cpu_profile *profile = cpu_profile_read(files.paths[i]);

		sum_ns += (double)cpu_profile_total_ns(profile);
		cpu_profile_free(profile);
	}
	ck_assert_msg(sum_ns < 1.15 * waited_ns, "%zu images: %.0f ns, wait4 %.0f ns",
		      files.count, sum_ns, waited_ns);
	victim_files_free(&files);
	victim_free(victim);
}
END_TEST

/* The recording that is left becomes the profile. */
static void recover(const struct victim *victim)
{
	const char *const arguments[] = {"recover", "-o", victim->profiles,
					 victim->recordings, NULL};

	ck_assert_int_eq(victim_cli(arguments), 0);
}

/*
 * Two threads were at work, side by side, until the end, the main one for main_ns. A busy
 * machine may give one of them more than the other. What the main one did after the last
 * of the kernel's ticks that fell on it, a signal tells only at the next one: with three
 * busy programs for each processor that was 44 ms and more in one of 350 cases. It is
 * lost in a killed program, if our thread has not read the clock since; all before is
 * not, but for part_lost of it and lost_ns.
 */
static void check_recovered(const struct victim *victim, double main_ns, double part_lost,
			    double lost_ns)
{
	double waited_ns = (double)victim_cpu_ns(&victim->usage);
	double told_ns = (double)victim_own_timer(victim).cpu_ns;
	struct cpu_profile *profile = only_profile(victim);
	double total_ns = (double)cpu_profile_total_ns(profile);
	double work_ns = (double)cpu_profile_with_ns(profile, "main_work");

	/* A thread's last reading may be a quarter of a second old. */
	ck_assert_msg(total_ns > waited_ns - 600e6 && total_ns > 0.5 * waited_ns &&
			      total_ns < 1.02 * waited_ns,
		      "total %.0f ns, wait4 %.0f ns", total_ns, waited_ns);
	ck_assert_msg(told_ns > main_ns / 2, "ticks until %.0f of %.0f ns", told_ns,
		      main_ns);
	ck_assert_msg(work_ns > (1 - part_lost) * told_ns - lost_ns,
		      "main_work has %.0f of %.0f ns, ticks until %.0f ns", work_ns,
		      total_ns, told_ns);
	cpu_profile_free(profile);
}

START_TEST(killed_program_is_recovered)
{
	struct victim *bare = victim_run_bare("ends", killed[_i], CPU_MS);
	struct victim *agent = victim_run_agent("ends", killed[_i], CPU_MS);

	victim_assert_same(bare, agent);
	if (victim_count(agent->profiles, "*.cpu.pb.gz") == 0)
		recover(agent);
	check_recovered(agent, CPU_NS, 0, 0.15 * CPU_NS);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

/* By then another program lies there, or none: no name is taken from that. */
static const char *const instead[] = {"rm gone", "cp /bin/sh gone"};

START_TEST(killed_program_whose_file_is_gone_is_recovered)
{
	char program[PATH_MAX], script[2 * PATH_MAX];
	const struct victim_setup setup = {
		.argv = (const char *const[]){"/bin/sh", "-c", script, NULL},
	};
	struct victim *victim;
	struct victim_files files;
	struct cpu_profile *profile;

	snprintf(script, sizeof(script), "cp '%s' gone; ./gone raise_kill " CPU_MS "; %s",
		 victim_program_path("ends", program), instead[_i]);
	victim = victim_run(&setup);
	recover(victim);
	victim_list(victim->profiles, "gone.*.cpu.pb.gz", &files);
	ck_assert_uint_eq(files.count, 1);
	profile = cpu_profile_read(files.paths[0]);
	ck_assert_int_gt(cpu_profile_total_ns(profile), (int64_t)(0.85 * CPU_NS));
	ck_assert_int_eq(cpu_profile_with_ns(profile, "main_work"), 0);
	ck_assert_int_gt(cpu_profile_matching_ns(profile, "gone+0x"),
			 (int64_t)(0.8 * CPU_NS));
	cpu_profile_free(profile);
	victim_files_free(&files);
	victim_free(victim);
}
END_TEST

static const char *const in_vain[] = {"exec_in_vain", "abort_in_vain"};

/* Too short for our thread to read the clocks once more. */
#define SHORT_MS "200"
#define SHORT_NS 200e6

/* Its profiles were written, as if that were the end; then it goes on, and is killed. */
START_TEST(program_killed_after_an_end_in_vain_is_recovered)
{
	struct victim *bare = victim_run_bare("ends", in_vain[_i], SHORT_MS);
	struct victim *agent = victim_run_agent("ends", in_vain[_i], SHORT_MS);
	const char *const arguments[] = {"recover", "-o", agent->folder,
					 agent->recordings, NULL};
	struct cpu_profile *profile = only_profile(agent);
	struct victim_files files;

	victim_assert_same(bare, agent);
	ck_assert_int_gt(cpu_profile_with_ns(profile, "main_work"),
			 (int64_t)(0.85 * SHORT_NS));
	cpu_profile_free(profile);
	ck_assert_uint_eq(victim_count(agent->recordings, "*.spanprof"), 1);
	ck_assert_int_eq(victim_cli(arguments), 0);
	victim_list(agent->folder, "*.cpu.pb.gz", &files);
	ck_assert_uint_eq(files.count, 1);
	profile = cpu_profile_read(files.paths[0]);
	ck_assert_int_gt(cpu_profile_with_ns(profile, "main_work"),
			 (int64_t)(2 * 0.85 * SHORT_NS));
	cpu_profile_free(profile);
	victim_files_free(&files);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

/* A handler that came while the profile was written jumps out of exit(). */
START_TEST(program_that_jumped_out_of_its_exit_ends_as_others)
{
	struct cpu_profile *profile;
	struct victim *victim;

	for (int i = 0;; i++) {
		victim = victim_run_agent("ends", "exit_in_vain", SHORT_MS);
		ck_assert(WIFEXITED(victim->status));
		if (WEXITSTATUS(victim->status) == 5)
			break;
		/* The end was over before a signal came. */
		ck_assert_int_eq(WEXITSTATUS(victim->status), 6);
		ck_assert_int_lt(i, 20);
		victim_free(victim);
	}
	ck_assert_uint_eq(victim_count(victim->recordings, "*.spanprof"), 0);
	profile = only_profile(victim);
	ck_assert_int_gt(cpu_profile_with_ns(profile, "main_work"),
			 (int64_t)(2 * 0.85 * SHORT_NS));
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

static double main_cpu_ns(const struct victim *victim)
{
	char path[64];
	double ns = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", victim->pid,
		 victim->pid);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	ck_assert(fscanf(file, "%lf", &ns) == 1 && ns > 0);
	fclose(file);
	return ns;
}

/* Killed from outside while at work, at many moments. */
START_TEST(kill_at_any_moment_leaves_a_readable_recording)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"ends", "wait_for_signal", "100000", NULL},
		.environment = (const char *const[]){"SPANPROF_CPU_HZ=1000", NULL},
	};
	const int signal = _i % 2 ? SIGTERM : SIGKILL;
	struct victim *victim = victim_start(&setup);
	double main_ns;

	usleep(700000 + 137000 * (unsigned)_i);
	main_ns = main_cpu_ns(victim);
	kill(victim->pid, signal);
	victim_finish(victim);
	ck_assert(WIFSIGNALED(victim->status));
	ck_assert_int_eq(WTERMSIG(victim->status), signal);
	ck_assert_uint_eq(victim_count(victim->recordings, "*.spanprof"), 1);
	recover(victim);
	check_recovered(victim, main_ns, 0.1, 20e6);
	victim_free(victim);
}
END_TEST

static void take_all_modes(void *context)
{
	(void)context;
	umask(0777);
}

static void assert_mode(const char *folder, const char *pattern)
{
	struct victim_files files;
	struct stat status;

	victim_list(folder, pattern, &files);
	ck_assert_uint_eq(files.count, 1);
	ck_assert_int_eq(stat(files.paths[0], &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0600);
	victim_files_free(&files);
}

/* Whoever is not root could not read them. */
START_TEST(umask_of_the_program_is_not_for_our_files)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"ends", "wait_for_signal", "10", NULL},
		.before_exec = take_all_modes,
		.kill_signal = SIGKILL,
		.kill_after_ms = 700,
	};
	struct victim *killed_one = victim_run(&setup), *ended;

	assert_mode(killed_one->recordings, "*.spanprof");
	victim_free(killed_one);
	setup.argv = (const char *const[]){"ends", "return", "10", NULL};
	setup.kill_signal = 0;
	ended = victim_run(&setup);
	assert_mode(ended->profiles, "*.cpu.pb.gz");
	victim_free(ended);
}
END_TEST

/* What the program's handlers use is torn down at its end: they do not run while we keep
 * it waiting. */
START_TEST(signal_during_the_end_waits_for_the_profile)
{
	bool has_come = false;

	/* The wait may be over before the signal is sent. */
	for (int i = 0; i < 50 && (i < 10 || !has_come); i++) {
		struct victim *victim = victim_run_agent("ends", "signal_at_exit", "10");

		ck_assert(WIFEXITED(victim->status));
		ck_assert_int_eq(WEXITSTATUS(victim->status), 5);
		ck_assert_msg(strstr(victim->output, "before") == NULL,
			      "it came while we kept the program waiting");
		has_come |= strstr(victim->output, "after") != NULL;
		victim_free(victim);
	}
	ck_assert(has_come);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, end_is_as_without_us_and_profile_is_left, 0,
			    sizeof(written) / sizeof(written[0]));
	tcase_add_test(tcase, abort_keeps_its_signal);
	tcase_add_test(tcase, umask_of_the_program_is_not_for_our_files);
	tcase_add_test(tcase, signal_during_the_end_waits_for_the_profile);
	tcase_add_test(tcase, exec_counts_no_time_twice);
	tcase_add_test(tcase, exec_leaves_a_profile_of_both_images);
	tcase_add_loop_test(tcase, killed_program_is_recovered, 0,
			    sizeof(killed) / sizeof(killed[0]));
	tcase_add_loop_test(tcase, killed_program_whose_file_is_gone_is_recovered, 0,
			    sizeof(instead) / sizeof(instead[0]));
	tcase_add_loop_test(tcase, program_killed_after_an_end_in_vain_is_recovered, 0,
			    sizeof(in_vain) / sizeof(in_vain[0]));
	tcase_add_test(tcase, program_that_jumped_out_of_its_exit_ends_as_others);
	tcase_add_loop_test(tcase, kill_at_any_moment_leaves_a_readable_recording, 0, 5);
}

int main(void)
{
	return victim_main("ends", add);
}
