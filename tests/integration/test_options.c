/*
 * What the user says to the agent: a wrong option is one clear line and a program
 * that runs as without us; privileged programs are left alone.
 */
#include "cpu_profile.h"
#include "victim.h"
#include "victim_timer.h"

#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t count_lines(const char *text)
{
	size_t lines = 0;

	for (; *text != '\0'; text++)
		lines += *text == '\n';
	return lines;
}

static struct victim *run_busy_with(const char *setting)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"busy", "300", NULL},
		.environment = (const char *const[]){setting, NULL},
	};

	return victim_run(&setup);
}

#define FIFTY "abcdefghijklmnopqrstuvwxyabcdefghijklmnopqrstuvwxy"

static const struct {
	const char *setting;
	const char *named; /* what the line must name */
} wrong[] = {
	{"SPANPROF_CPU_HZ=many", "SPANPROF_CPU_HZ"},
	{"SPANPROF_CPU_HZ=0", "SPANPROF_CPU_HZ"},
	{"SPANPROF_CPU_HERTZ=99", "SPANPROF_CPU_H"},
	{"SPANPROF=cpu:hertz=99", "hertz"},
	{"SPANPROF=gpu", "gpu"},
	{"SPANPROF_UNWINDER=magic", "magic"},
	/* With the process and the kind the name is longer than names can be. */
	{"SPANPROF_FILE=" FIFTY FIFTY FIFTY FIFTY "%p" FIFTY, "SPANPROF_FILE"},
};

START_TEST(wrong_option_is_one_line_and_no_profile)
{
	struct victim *bare = victim_run_bare("busy", "300");
	struct victim *agent = run_busy_with(wrong[_i].setting);

	victim_assert_same(bare, agent);
	ck_assert_msg(count_lines(agent->agent_lines) == 1, "%s: said: %s",
		      wrong[_i].setting, agent->agent_lines);
	ck_assert_msg(strstr(agent->agent_lines, wrong[_i].named) != NULL, "%s: said: %s",
		      wrong[_i].setting, agent->agent_lines);
	ck_assert_uint_eq(victim_count(agent->profiles, "*"), 0);
	victim_assert_clean(agent);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

START_TEST(quiet_says_nothing)
{
	struct victim *victim = run_busy_with("SPANPROF_QUIET=1");
	char path[PATH_MAX];

	victim_assert_success(victim);
	ck_assert_str_eq(victim->agent_lines, "");
	victim_profile(victim, 0, path);
	victim_free(victim);
}
END_TEST

START_TEST(exit_line_is_one_line_that_names_the_profiles)
{
	struct victim *victim = victim_run_agent("busy", "300");
	char path[PATH_MAX], prefix[32], named[64];

	victim_assert_success(victim);
	snprintf(prefix, sizeof(prefix), "spanprof[%d]: ", victim->pid);
	ck_assert_msg(strncmp(victim->agent_lines, prefix, strlen(prefix)) == 0,
		      "said: %s", victim->agent_lines);
	ck_assert_uint_eq(count_lines(victim->agent_lines), 1);
	victim_profile(victim, 0, path);
	snprintf(named, sizeof(named), "/busy.%d.{cpu,heap", victim->pid);
	ck_assert_msg(strstr(victim->agent_lines, named) != NULL, "%s is not in: %s",
		      named, victim->agent_lines);
	victim_free(victim);
}
END_TEST

/*
 * How often a thread's timer ran out. The kernel tells of it at the next tick that falls
 * on the thread, of all since the last one together; so on a busy machine samples are
 * fewer, each for several periods, and only those are at the rate.
 */
static double periods_of(const struct cpu_profile *profile)
{
	const char *comment = cpu_profile_comment(profile, "scale: ");
	double scale = 0, exact_s = 0;
	long long samples = 0;

	ck_assert_ptr_nonnull(comment);
	comment = strstr(comment, ": ") + 2;
	ck_assert_int_eq(sscanf(strstr(comment, ": "),
				": %lld samples times %lf to their exact %lf s", &samples,
				&scale, &exact_s),
			 3);
	return exact_s * 1e9 / scale / (double)cpu_profile_period_ns(profile);
}

/*
 * Where ticks are rarer than periods, it is chance which of them two timers meet: of 200
 * such ticks each meets half or more, the difference deviates by 10, and is 50 once in a
 * million runs.
 */
#define SAMPLES_APART 50

START_TEST(compact_string_sets_rate_and_folder)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"busy", "1000", "0", "199", NULL},
		.environment =
			(const char *const[]){"SPANPROF_OUT",
					      "SPANPROF=cpu:hz=199,out=elsewhere", NULL},
	};
	struct victim *victim = victim_run(&setup);
	struct victim_files files;
	struct cpu_profile *profile;
	char folder[PATH_MAX];
	struct victim_timer own;
	double periods;

	victim_assert_success(victim);
	snprintf(folder, sizeof(folder), "%s/elsewhere", victim->folder);
	victim_list(folder, "busy.*.cpu.pb.gz", &files);
	ck_assert_uint_eq(files.count, 1);
	profile = cpu_profile_read(files.paths[0]);
	ck_assert_int_eq(cpu_profile_period_ns(profile), 1000000000 / 199);
	ck_assert_int_lt(cpu_profile_samples(profile), 230);
	/* As many as a timer of the program's own was told of, at the same ticks. */
	own = victim_own_timer(victim);
	ck_assert_int_gt(own.signals, SAMPLES_APART);
	ck_assert_int_gt(cpu_profile_samples(profile), own.signals - SAMPLES_APART);
	/*
	 * One second has 199, and the first moments a few more. What runs out after the
	 * last tick on the thread is never told of. With three busy programs for each
	 * processor that was 20 ms and more in one of 55 cases, 44 ms in one of 350 and
	 * 68 ms in one of 700, so 150 ms, 30 periods, come once in 100,000 or less.
	 */
	periods = periods_of(profile);
	ck_assert_msg(periods > 199 - 30 && periods < 230, "%.1f periods", periods);
	/* All until the last tick that the program's own timer was told of. */
	ck_assert_msg(periods > (double)own.cpu_ns / (1e9 / 199) - 5,
		      "%.1f periods, ticks until %lld ns", periods,
		      (long long)own.cpu_ns);
	cpu_profile_free(profile);
	victim_files_free(&files);
	victim_free(victim);
}
END_TEST

START_TEST(profile_goes_to_the_current_folder_by_default)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"busy", "100", NULL},
		.environment = (const char *const[]){"SPANPROF_OUT", NULL},
	};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	ck_assert_uint_eq(victim_count(victim->folder, "busy.*.cpu.pb.gz"), 1);
	victim_free(victim);
}
END_TEST

START_TEST(folder_of_the_recording_is_made)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"busy", "20000", NULL},
		.environment =
			(const char *const[]){"SPANPROF_RECORDING_DIR=new/folder", NULL},
		.kill_signal = SIGKILL,
		.kill_after_ms = 1000,
	};
	struct victim *victim = victim_run(&setup);
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%s/new/folder", victim->folder);
	ck_assert_str_eq(victim->agent_lines, "");
	ck_assert_uint_eq(victim_count(folder, "busy.*"), 1);
	victim_free(victim);
}
END_TEST

static void become_nobody(void *context)
{
	(void)context;
	if (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0)
		_exit(77);
}

/* The loader drops a preload with a slash there; the agent has to do so itself
 * where the system made it trusted. Either way: nothing happens. */
START_TEST(setuid_program_is_left_alone)
{
	char program[PATH_MAX], copy[64] = "/tmp/spanprof-setuid.XXXXXX";
	char command[2 * PATH_MAX];
	struct victim_setup setup = {
		.argv = (const char *const[]){copy, "200", NULL},
		.before_exec = become_nobody,
	};
	struct victim *victim;
	int fd;

	if (getuid() != 0) {
		printf("only root can try this\n");
		return;
	}
	fd = mkstemp(copy);
	ck_assert_int_ge(fd, 0);
	close(fd);
	snprintf(command, sizeof(command), "cp '%s' '%s' && chmod 4755 '%s'",
		 victim_program_path("busy", program), copy, copy);
	ck_assert_int_eq(system(command), 0);
	victim = victim_run(&setup);
	unlink(copy);
	victim_assert_success(victim);
	ck_assert_str_eq(victim->output, "done\n");
	ck_assert_uint_eq(victim_count(victim->profiles, "*"), 0);
	victim_assert_clean(victim);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, wrong_option_is_one_line_and_no_profile, 0,
			    sizeof(wrong) / sizeof(wrong[0]));
	tcase_add_test(tcase, quiet_says_nothing);
	tcase_add_test(tcase, exit_line_is_one_line_that_names_the_profiles);
	tcase_add_test(tcase, compact_string_sets_rate_and_folder);
	tcase_add_test(tcase, profile_goes_to_the_current_folder_by_default);
	tcase_add_test(tcase, folder_of_the_recording_is_made);
	tcase_add_test(tcase, setuid_program_is_left_alone);
}

int main(void)
{
	return victim_main("options", add);
}
