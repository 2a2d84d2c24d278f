/*
 * Programs that do everything that can be done to signals, masks and signal stacks print
 * and end the same with and without the agent, and are sampled all the same.
 */
#include "victim.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TICKS_MIN 5

static void run_both(const char *const *argv, void (*before_exec)(void *),
		     bool is_sampled)
{
	struct victim_setup setup = {.argv = argv, .before_exec = before_exec};
	struct victim *bare, *agent;

	setup.is_bare = true;
	bare = victim_run(&setup);
	setup.is_bare = false;
	agent = victim_run(&setup);
	victim_assert_same(bare, agent);
	ck_assert_str_ne(bare->output, "");
	/* The agent of these tests tells its ticks; the real one leaves a profile. */
	if (is_sampled && strstr(agent->agent_lines, "ticks=") != NULL)
		ck_assert_int_ge(victim_number(agent->agent_lines, "ticks"), TICKS_MIN);
	else if (is_sampled)
		ck_assert_uint_ge(victim_count(agent->profiles, "*.cpu.pb.gz"), 1);
	victim_free(bare);
	victim_free(agent);
}

#define RUN_BOTH(...) run_both((const char *const[]){__VA_ARGS__, NULL}, NULL, true)

START_TEST(blocked_signals_read_back_as_set_and_the_program_is_sampled)
{
	RUN_BOTH("sig_masks");
}
END_TEST

START_TEST(all_actions_read_back_as_set_and_resetting_them_stops_no_sampling)
{
	RUN_BOTH("sig_actions");
}
END_TEST

START_TEST(waiting_for_every_signal_yields_only_the_programs_own)
{
	RUN_BOTH("sig_wait");
}
END_TEST

START_TEST(cancellation_and_timer_threads_of_the_c_library_go_on)
{
	RUN_BOTH("sig_cancel");
}
END_TEST

START_TEST(masks_and_ignored_signals_reach_new_images_and_children)
{
	RUN_BOTH("sig_inherit");
}
END_TEST

/* Below the size of a signal frame the bare program dies of it too; close above it, the
 * handler alone outgrows the stack. */
static const char *const stack_sizes[] = {"2048", "2560", "3400",  "3700",  "4096",
					  "6000", "8192", "12288", "16384", "65536"};

START_TEST(handlers_on_small_alternate_stacks_are_not_overrun)
{
	const char *const argv[] = {"sig_altstack", stack_sizes[_i], NULL};

	run_both(argv, NULL, false);
}
END_TEST

static const char *const coroutine_sizes[][2] = {
	{"6144", "3800"}, {"8192", "4096"}, {"16384", "4096"}, {"65536", "32768"}};

START_TEST(coroutines_on_small_stacks_are_not_overrun)
{
	RUN_BOTH("sig_coroutines", coroutine_sizes[_i][0], coroutine_sizes[_i][1]);
}
END_TEST

/* Spawning programs may have left the number ignored. */
static void set_default(void *context)
{
	const uint64_t by_default[4] = {0};

	(void)context;
	syscall(SYS_rt_sigaction, 32, by_default, NULL, 8);
}

static void set_ignored(void *context)
{
	const uint64_t ignored[4] = {(uint64_t)(uintptr_t)SIG_IGN};

	(void)context;
	syscall(SYS_rt_sigaction, 32, ignored, NULL, 8);
}

static void run_fatal(const char *signo, void (*before_exec)(void *), int expected_signal)
{
	const char *const argv[] = {"sig_fatal", signo, NULL};
	struct victim_setup setup = {.argv = argv, .before_exec = before_exec};
	struct victim *bare, *agent;

	setup.is_bare = true;
	bare = victim_run(&setup);
	setup.is_bare = false;
	agent = victim_run(&setup);
	victim_assert_same(bare, agent);
	ck_assert_int_eq(bare->status & 0x7f, expected_signal);
	victim_free(bare);
	victim_free(agent);
}

START_TEST(signals_of_the_hidden_number_do_what_they_would)
{
	run_fatal("32", set_default, 32);
	run_fatal("32", set_ignored, 0);
}
END_TEST

START_TEST(other_fatal_signals_stay_fatal)
{
	run_fatal("63", NULL, 63);
	run_fatal("11", NULL, 11);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase,
		       blocked_signals_read_back_as_set_and_the_program_is_sampled);
	tcase_add_test(tcase,
		       all_actions_read_back_as_set_and_resetting_them_stops_no_sampling);
	tcase_add_test(tcase, waiting_for_every_signal_yields_only_the_programs_own);
	tcase_add_test(tcase, cancellation_and_timer_threads_of_the_c_library_go_on);
	tcase_add_test(tcase, masks_and_ignored_signals_reach_new_images_and_children);
	tcase_add_loop_test(tcase, handlers_on_small_alternate_stacks_are_not_overrun, 0,
			    (int)(sizeof(stack_sizes) / sizeof(stack_sizes[0])));
	tcase_add_loop_test(tcase, coroutines_on_small_stacks_are_not_overrun, 0,
			    (int)(sizeof(coroutine_sizes) / sizeof(coroutine_sizes[0])));
	tcase_add_test(tcase, signals_of_the_hidden_number_do_what_they_would);
	tcase_add_test(tcase, other_fatal_signals_stay_fatal);
}

int main(void)
{
	return victim_main("signals", add);
}
