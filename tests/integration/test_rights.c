/*
 * A program that gives up rights has given them up: no thread of its process is left
 * with more than it has, nor does the program end with less than without us.
 */
#include "rights_calls.h"
#include "victim.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const modes[] = {"drop", "switch", "keep", "less", "user", "unseen"};

START_TEST(no_thread_keeps_what_the_program_gives_up)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"rights", modes[_i], NULL},
	};
	struct victim *victim = victim_run_both(&setup);
	char path[PATH_MAX];

	if (victim == NULL)
		return;
	ck_assert_ptr_null(strstr(victim->output, "another thread"));
	victim_profile(victim, 0, path);
	victim_free(victim);
}
END_TEST

START_TEST(program_may_forbid_itself_other_calls_about_rights)
{
	char number[16];
	const struct victim_setup setup = {
		.argv = (const char *const[]){"rights", "filter", number, NULL},
	};
	struct victim *victim;
	char path[PATH_MAX];

	snprintf(number, sizeof(number), "%u", rights_calls[_i]);
	victim = victim_run_both(&setup);
	if (victim == NULL)
		return;
	ck_assert_ptr_null(strstr(victim->output, "another thread"));
	ck_assert_ptr_null(strstr(victim->agent_lines, "not profiled"));
	victim_profile(victim, 0, path);
	victim_free(victim);
}
END_TEST

/* As /dev/shm is: files go only with their owner. */
static void make_sticky(void *context)
{
	(void)context;
	if (mkdir("sticky", 0777) != 0 || chmod("sticky", 01777) != 0)
		_exit(3);
}

START_TEST(recording_that_stays_for_want_of_rights_is_told)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"rights", "drop", NULL},
		.environment =
			(const char *const[]){"SPANPROF_RECORDING_DIR=sticky", NULL},
		.before_exec = make_sticky,
	};
	struct victim *victim = victim_run(&setup);
	char path[PATH_MAX];

	if (WIFEXITED(victim->status) && WEXITSTATUS(victim->status) == 77)
		return;
	victim_assert_success(victim);
	victim_profile(victim, 0, path);
	ck_assert_msg(strstr(victim->agent_lines, "/sticky/rights.") != NULL &&
			      strstr(victim->agent_lines, "cannot remove") != NULL,
		      "the agent said: %s", victim->agent_lines);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, recording_that_stays_for_want_of_rights_is_told);
	tcase_add_loop_test(tcase, no_thread_keeps_what_the_program_gives_up, 0,
			    sizeof(modes) / sizeof(modes[0]));
	tcase_add_loop_test(tcase, program_may_forbid_itself_other_calls_about_rights, 0,
			    RIGHTS_CALL_COUNT);
}

int main(void)
{
	return victim_main("rights", add);
}
