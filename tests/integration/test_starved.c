/*
 * The agent's own thread does not get to run while the program works at full speed
 * with threads that come and go: stopped altogether, or last in the queue of a busy
 * machine. The program goes on, and every sample is there or counted as lost.
 */
#include "cpu_profile.h"
#include "victim.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How many threads at once: within the storage that is taken ahead, and far beyond. */
static const struct {
	const char *threads, *cpu_ms, *at_once;
	bool are_long_lived; /* for many of the kernel's ticks */
} loads[] = {
	{"12", "250", "4", true},
	{"120", "25", "40", false},
	{"600", "5", "300", false},
};
#define LOADS ((int)(sizeof(loads) / sizeof(loads[0])))

static struct victim *start_threads(int load)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"threads", loads[load].threads,
					      loads[load].cpu_ms, loads[load].at_once,
					      NULL},
		.environment = (const char *const[]){"SPANPROF=cpu:hz=10000", NULL},
	};

	return victim_start(&setup);
}

/* False where it is not permitted. */
static bool stop_thread(int tid)
{
	int status;

	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0) {
		ck_assert_int_eq(errno, EPERM);
		return false;
	}
	ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, tid, NULL, NULL), 0);
	ck_assert_int_eq(waitpid(tid, &status, __WALL), tid);
	ck_assert(WIFSTOPPED(status));
	return true;
}

/* The last that it prints before it ends. */
static void await_work_done(const struct victim *victim)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/.output", victim->folder);
	for (int tries = 0; tries < 3000; tries++) {
		char text[256] = "";
		FILE *file = fopen(path, "r");

		if (file != NULL) {
			text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
			fclose(file);
		}
		if (strstr(text, "self_cpu_ns=") != NULL)
			return;
		usleep(10000);
	}
	ck_abort_msg("the program did not get on with its work");
}

/* The number before " samples lost". */
static long long told_losses(const struct victim *victim)
{
	const char *at = strstr(victim->agent_lines, " samples lost");

	ck_assert_ptr_nonnull(at);
	while (at > victim->agent_lines && at[-1] >= '0' && at[-1] <= '9')
		at--;
	return strtoll(at, NULL, 10);
}

/* What the exit line says, is what the profile shows, with the reasons. */
static void check_losses(const struct victim *victim, const struct cpu_profile *profile)
{
	long long told = told_losses(victim);

	ck_assert_int_eq(told, cpu_profile_samples_with(profile, "[dropped]"));
	ck_assert_int_eq(told != 0, cpu_profile_has_comment(profile, "samples dropped"));
}

/*
 * Samples and counted losses together stand for the time that the threads used, but
 * for what each uses after the last tick of the kernel's that fell on it. Neighbours
 * on the same core attract ticks: then that may be much.
 */
static void check_weights(const struct cpu_profile *profile)
{
	const char *comment = cpu_profile_comment(profile, "scale: ");
	long long samples = 0;
	double scale = 0;

	ck_assert_ptr_nonnull(comment);
	ck_assert_msg(strstr(comment, "+0x"), "names no module: %s", comment);
	comment = strstr(comment, ": ") + 2;
	ck_assert_int_eq(sscanf(strstr(comment, ": "), ": %lld samples times %lf",
				&samples, &scale),
			 2);
	ck_assert_int_gt(samples, 0);
	printf("%lld samples times %.4f\n", samples, scale);
	ck_assert_msg(scale > 0.97 && scale < 1.2, "%s", comment);
}

static void check_end(struct victim *victim, bool are_weights_whole)
{
	struct cpu_profile *profile;
	double total_ns, self_ns, waited_ns;
	char path[PATH_MAX];

	ck_assert(!victim->is_timed_out);
	victim_assert_success(victim);
	victim_assert_clean(victim);
	ck_assert_str_eq(victim->errors, "");
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	total_ns = (double)cpu_profile_total_ns(profile);
	self_ns = (double)victim_number(victim->output, "self_cpu_ns");
	waited_ns = (double)victim_cpu_ns(&victim->usage);
	printf("total %.0f, getrusage %.0f, wait4 %.0f; %s", total_ns, self_ns, waited_ns,
	       victim->agent_lines);
	ck_assert_msg(total_ns > 0.99 * self_ns && total_ns < 1.01 * waited_ns,
		      "total %.0f ns, getrusage %.0f ns, wait4 %.0f ns", total_ns,
		      self_ns, waited_ns);
	ck_assert_int_gt(cpu_profile_with_ns(profile, "burn"), 0);
	/* Every thread had its slot, ring and timer, or it is said which had not. */
	ck_assert((double)cpu_profile_with_ns(profile, "[unsampled]") < 0.01 * total_ns ||
		  cpu_profile_has_comment(profile, "threads not sampled"));
	check_losses(victim, profile);
	if (are_weights_whole)
		check_weights(profile);
	cpu_profile_free(profile);
	victim_free(victim);
}

START_TEST(stopped_reporter_holds_nobody_up)
{
	struct victim *victim = start_threads(_i);
	int tid = victim_own_thread(victim);

	if (!stop_thread(tid)) {
		printf("no ptrace is permitted here\n");
		victim_finish(victim);
		victim_free(victim);
		return;
	}
	await_work_done(victim);
	ck_assert_int_eq(ptrace(PTRACE_DETACH, tid, NULL, NULL), 0);
	victim_finish(victim);
	check_end(victim, loads[_i].are_long_lived);
}
END_TEST

/* Takes a core until seconds are over, or its parent is. */
static pid_t start_hog(unsigned seconds)
{
	pid_t parent = getpid(), pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		time_t end = time(NULL) + seconds;

		while (time(NULL) < end && getppid() == parent)
			;
		_exit(0);
	}
	return pid;
}

START_TEST(reporter_that_comes_last_on_a_busy_machine_loses_nothing_unsaid)
{
	const struct sched_param lowest = {0};
	struct victim *victim = start_threads(_i);
	int tid = victim_own_thread(victim);
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	pid_t hogs[16];

	ck_assert_int_eq(sched_setscheduler(tid, SCHED_IDLE, &lowest), 0);
	if (cores > 16)
		cores = 16;
	for (long i = 0; i < cores; i++)
		hogs[i] = start_hog(3);
	victim_finish(victim);
	for (long i = 0; i < cores; i++) {
		kill(hogs[i], SIGKILL);
		ck_assert_int_eq(waitpid(hogs[i], NULL, 0), hogs[i]);
	}
	check_end(victim, false);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, stopped_reporter_holds_nobody_up, 0, LOADS);
	tcase_add_loop_test(
		tcase, reporter_that_comes_last_on_a_busy_machine_loses_nothing_unsaid, 0,
		LOADS);
}

int main(void)
{
	return victim_main("starved", add);
}
