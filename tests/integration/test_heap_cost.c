/*
 * Every profile tells what looking cost. Where every block is recorded that is much, and
 * can be held against a run without the profiler.
 */
#include "heap_profile.h"
#include "victim_profile.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define COST "cost of looking: agent thread "
#define RECORDING "recording samples and their ends "

/* Allocates and frees for some 0.3 s; given a name, tells by that file that it did, and
 * waits to be killed. */
static const char script[] =
	"my @kept;"
	"for my $round (1 .. 6) {"
	" @kept = map { 'x' x (30 + $_ % 100) } 1 .. 100000;"
	"}"
	"if (@ARGV) { open my $f, '>', $ARGV[0]; close $f; sleep 60 }";

static struct victim *start(const char *rate, const char *file, bool is_bare)
{
	const char *argv[] = {"perl", "-e", script, file, NULL};
	const char *environment[] = {rate, "SPANPROF_LEAKS=yes", "SPANPROF_CPU=no", NULL};
	const struct victim_setup setup = {
		.argv = argv, .environment = environment, .is_bare = is_bare};

	return victim_start(&setup);
}

static struct victim *run(const char *rate, bool is_bare)
{
	struct victim *victim = start(rate, NULL, is_bare);

	victim_finish(victim);
	victim_assert_success(victim);
	return victim;
}

static double told(const struct victim *victim, const char *kind, const char *before)
{
	struct heap_profile *profile = heap_profile_of(victim, kind);
	double percent = heap_profile_told(profile, before);
	const char *line = heap_profile_comment(profile, COST);

	ck_assert_ptr_nonnull(line);
	ck_assert_msg(strstr(line, " % (estimate); counting each call is not in it") !=
			      NULL,
		      "%s", line);
	heap_profile_free(profile);
	return percent;
}

START_TEST(each_heap_profile_tells_the_same_cost)
{
	static const char *const kinds[] = {"heap", "peak", "lifetimes", "leaks"};
	struct victim *victim = run("SPANPROF_HEAP_RATE=64K", false);
	double agent = told(victim, "heap", COST);
	double recording = told(victim, "heap", RECORDING);

	ck_assert_double_gt(recording, 0);
	ck_assert_double_lt(recording, 15);
	ck_assert_double_gt(agent, 0);
	ck_assert_double_lt(agent, 50);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		ck_assert_double_eq(told(victim, kinds[i], COST), agent);
		ck_assert_double_eq(told(victim, kinds[i], RECORDING), recording);
	}
	victim_free(victim);
}
END_TEST

/* Counting calls, and caches that it makes colder, are in the difference, too. */
START_TEST(cost_of_recording_every_block_is_what_a_run_without_it_saves)
{
	struct victim *bare = run("NONE", true);
	struct victim *agent = run("SPANPROF_HEAP_RATE=1", false);
	double whole_ns = (double)victim_cpu_ns(&agent->usage);
	double more_ns = whole_ns - (double)victim_cpu_ns(&bare->usage);
	double cost_ns = (told(agent, "heap", COST) + told(agent, "heap", RECORDING)) *
			 whole_ns / 100;

	printf("%.3f s more than without, told %.3f s\n", more_ns / 1e9, cost_ns / 1e9);
	ck_assert_msg(cost_ns > 0.3 * more_ns && cost_ns < 1.7 * more_ns,
		      "%.0f ns told, %.0f ns more than without", cost_ns, more_ns);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

START_TEST(recovered_profiles_tell_it_too)
{
	struct victim *victim = start("SPANPROF_HEAP_RATE=1", "allocated", false);
	const char *const arguments[] = {"recover", "-o", victim->profiles,
					 victim->recordings, NULL};
	double recording;

	ck_assert(victim_wait_for_files(victim->folder, "allocated", 1, 30));
	ck_assert_int_eq(kill(victim->pid, SIGKILL), 0);
	victim_finish(victim);
	ck_assert_int_eq(victim_cli(arguments), 0);
	recording = told(victim, "heap", RECORDING);
	ck_assert_msg(recording > 1 && recording <= 100, "%.2f %%", recording);
	ck_assert_double_eq(told(victim, "lifetimes", RECORDING), recording);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, each_heap_profile_tells_the_same_cost);
	tcase_add_test(tcase,
		       cost_of_recording_every_block_is_what_a_run_without_it_saves);
	tcase_add_test(tcase, recovered_profiles_tell_it_too);
}

int main(void)
{
	if (!victim_has_command("perl"))
		return 77;
	return victim_main("heap_cost", add);
}
