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

#define NOBODY 65534

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

struct folder {
	const char *variable;
	mode_t mode;
	uid_t owner;
	const char *attempts; /* what comes of them */
};

#define CONTENTS_ARE_SAFE                                                                \
	"cannot read: EACCES\ncannot write: EACCES\ncannot permit it: EPERM\n"           \
	"cannot take it: EPERM\n"

/* As /dev/shm is: files go only with their owner. */
static const struct folder sticky = {
	.variable = "SPANPROF_RECORDING_DIR=recordings",
	.mode = 01777,
	.attempts = CONTENTS_ARE_SAFE "cannot move it: EPERM\ncannot remove it: EPERM\n",
};
static const struct folder of_new_user = {
	.variable = "SPANPROF_RECORDING_DIR=recordings",
	.mode = 0700,
	.owner = NOBODY,
	.attempts = CONTENTS_ARE_SAFE,
};

static void make_folder(void *context)
{
	const struct folder *folder = context;

	if (mkdir("recordings", 0700) != 0 || chmod("recordings", folder->mode) != 0 ||
	    (getuid() == 0 && chown("recordings", folder->owner, 0) != 0))
		_exit(3);
}

/* Who may write to it can do as they please with a process that trusts it, and that may
 * have more rights, or secrets: not even the process may let others in. NULL: not
 * permitted here. */
static struct victim *run_in(const struct folder *folder)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"rights", "taken", "recordings", NULL},
		.environment = (const char *const[]){folder->variable, NULL},
		.before_exec = make_folder,
		.context = (void *)(uintptr_t)folder,
	};
	struct victim *victim = victim_run(&setup);
	char path[PATH_MAX];

	if (WIFEXITED(victim->status) && WEXITSTATUS(victim->status) == 77) {
		victim_free(victim);
		return NULL;
	}
	victim_assert_success(victim);
	victim_profile(victim, 0, path);
	ck_assert_msg(strstr(victim->output, folder->attempts) != NULL &&
			      strstr(victim->output, "can ") == NULL,
		      "%s", victim->output);
	return victim;
}

static size_t count_left(const struct victim *victim)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/recordings", victim->folder);
	return victim_count(path, "*");
}

START_TEST(recording_that_stays_for_want_of_rights_is_told)
{
	struct victim *victim = run_in(&sticky);

	if (victim == NULL)
		return;
	ck_assert_msg(strstr(victim->agent_lines, "/recordings/rights.") != NULL &&
			      strstr(victim->agent_lines, "cannot remove") != NULL,
		      "the agent said: %s", victim->agent_lines);
	ck_assert_uint_eq(count_left(victim), 1);
	victim_free(victim);
}
END_TEST

START_TEST(recording_goes_from_a_folder_of_the_new_user)
{
	struct victim *victim = run_in(&of_new_user);

	if (victim == NULL)
		return;
	ck_assert_msg(strstr(victim->agent_lines, "cannot") == NULL, "the agent said: %s",
		      victim->agent_lines);
	ck_assert_uint_eq(count_left(victim), 0);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, recording_that_stays_for_want_of_rights_is_told);
	tcase_add_test(tcase, recording_goes_from_a_folder_of_the_new_user);
	tcase_add_loop_test(tcase, no_thread_keeps_what_the_program_gives_up, 0,
			    sizeof(modes) / sizeof(modes[0]));
	tcase_add_loop_test(tcase, program_may_forbid_itself_other_calls_about_rights, 0,
			    RIGHTS_CALL_COUNT);
}

int main(void)
{
	return victim_main("rights", add);
}
