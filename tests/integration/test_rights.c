/*
 * A program that gives up rights has given them up: no thread of its process is left
 * with more than it has, nor does the program end with less than without us. Its
 * recording goes with it, where nothing is left that would lead back.
 */
#include "rights_calls.h"
#include "victim.h"

#include <grp.h>
#include <signal.h>
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

/* As /dev/shm is: files go only with their owner. */
static void make_sticky(void *context)
{
	(void)context;
	if (mkdir("sticky", 0777) != 0 || chmod("sticky", 01777) != 0)
		_exit(3);
}

static const char *const sticky_environment[] = {"SPANPROF_RECORDING_DIR=sticky", NULL};

/* In a sticky folder; NULL where it is not permitted. */
static struct victim *run_sticky(const char *const *argv)
{
	const struct victim_setup setup = {
		.argv = argv,
		.environment = sticky_environment,
		.before_exec = make_sticky,
	};
	struct victim *victim = victim_run(&setup);

	if (!WIFEXITED(victim->status) || WEXITSTATUS(victim->status) != 77)
		return victim;
	victim_free(victim);
	return NULL;
}

static const char *const gone_for_good[][6] = {
	{"rights", "drop"},
	{"rights", "user"},
	{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "id"},
};

START_TEST(recording_goes_from_a_sticky_folder_when_the_user_is_another)
{
	struct victim *victim;
	char folder[300];

	if (getuid() != 0)
		return;
	victim = run_sticky(gone_for_good[_i]);
	if (victim == NULL)
		return;
	victim_assert_success(victim);
	ck_assert_msg(strstr(victim->agent_lines, "wrote ") != NULL &&
			      strstr(victim->agent_lines, "cannot") == NULL,
		      "the agent said: %s", victim->agent_lines);
	snprintf(folder, sizeof(folder), "%s/sticky", victim->folder);
	ck_assert_uint_eq(victim_count(folder, "*"), 0);
	victim_free(victim);
}
END_TEST

START_TEST(recording_that_stays_for_want_of_rights_is_told)
{
	struct victim *victim = run_sticky((const char *const[]){"rights", "keep", NULL});
	char path[PATH_MAX];

	if (victim == NULL)
		return;
	victim_assert_success(victim);
	victim_profile(victim, 0, path);
	ck_assert_msg(strstr(victim->agent_lines, "/sticky/rights.") != NULL &&
			      strstr(victim->agent_lines, "cannot remove") != NULL,
		      "the agent said: %s", victim->agent_lines);
	victim_free(victim);
}
END_TEST

/* The path of the one recording that a killed program left, and whose it is. */
static uid_t owner_of_left(const struct victim *victim, char path[PATH_MAX])
{
	struct victim_files files;
	struct stat status;
	char folder[300];

	ck_assert_msg(WIFSIGNALED(victim->status) && WTERMSIG(victim->status) == SIGKILL,
		      "status %#x: %s", (unsigned int)victim->status, victim->errors);
	snprintf(folder, sizeof(folder), "%s/sticky", victim->folder);
	victim_list(folder, "rights.*.spanprof", &files);
	ck_assert_uint_eq(files.count, 1);
	snprintf(path, PATH_MAX, "%s", files.paths[0]);
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0600);
	victim_files_free(&files);
	return status.st_uid;
}

/* 77: it cannot come at the command. */
static void become_nobody(void *context)
{
	(void)context;
	if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0 ||
	    access(victim_cli_path(), X_OK) != 0)
		_exit(77);
}

START_TEST(recording_of_a_killed_program_is_its_new_users_to_recover)
{
	struct victim *victim =
		run_sticky((const char *const[]){"rights", "killed", NULL});
	struct victim *recover;
	char path[PATH_MAX];
	const struct victim_setup setup = {
		.argv = (const char *const[]){victim_cli_path(), "recover", "--remove",
					      path, NULL},
		.is_bare = true,
		.before_exec = become_nobody,
	};

	if (victim == NULL)
		return;
	ck_assert_uint_eq(owner_of_left(victim, path), NOBODY);
	recover = victim_run(&setup);
	if (!WIFEXITED(recover->status) || WEXITSTATUS(recover->status) != 77) {
		victim_assert_success(recover);
		ck_assert_uint_eq(victim_count(recover->folder, "rights.*.cpu.pb.gz"), 1);
		ck_assert_int_ne(access(path, F_OK), 0);
	}
	victim_free(recover);
	victim_free(victim);
}
END_TEST

START_TEST(recording_stays_its_owners_where_the_change_is_refused)
{
	struct victim *victim =
		run_sticky((const char *const[]){"rights", "refused", NULL});
	char path[PATH_MAX];

	if (victim == NULL)
		return;
	ck_assert_uint_eq(owner_of_left(victim, path), 0);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase,
			    recording_goes_from_a_sticky_folder_when_the_user_is_another,
			    0, sizeof(gone_for_good) / sizeof(gone_for_good[0]));
	tcase_add_test(tcase, recording_that_stays_for_want_of_rights_is_told);
	tcase_add_test(tcase, recording_of_a_killed_program_is_its_new_users_to_recover);
	tcase_add_test(tcase, recording_stays_its_owners_where_the_change_is_refused);
	tcase_add_loop_test(tcase, no_thread_keeps_what_the_program_gives_up, 0,
			    sizeof(modes) / sizeof(modes[0]));
	tcase_add_loop_test(tcase, program_may_forbid_itself_other_calls_about_rights, 0,
			    RIGHTS_CALL_COUNT);
}

int main(void)
{
	return victim_main("rights", add);
}
