/* Which processes are there, and which are over. */
#include "sp_process_identity.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child;

static uint64_t start_ticks_of(pid_t pid)
{
	struct sp_process_identity identity;

	sp_process_identity_read(&identity, pid);
	return identity.start_ticks;
}

static void start(void (*body)(int ready))
{
	int ready[2];
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		body(ready[1]);
		_exit(0);
	}
	close(ready[1]);
	/* A byte, or the end of the child. */
	ck_assert_int_ge(read(ready[0], &byte, 1), 0);
	close(ready[0]);
}

static void end(void)
{
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

static void do_nothing(int ready)
{
	(void)ready;
}

/* Field 3 of its stat file, as the kernel shows it to anybody. */
static bool is_shown_as_zombie(pid_t pid)
{
	char path[64], text[512];
	const char *parenthesis;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	sp_process_read_file(path, text, sizeof(text));
	parenthesis = strrchr(text, ')');
	return parenthesis != NULL && parenthesis[2] == 'Z';
}

static void *await_zombie_and_sleep(void *ready)
{
	while (!is_shown_as_zombie(getpid()))
		usleep(1000);
	if (write(*(int *)ready, "x", 1) == 1)
		pause();
	return NULL;
}

static void leave_to_second_thread(int ready)
{
	static int descriptor;
	pthread_t thread;

	descriptor = ready;
	if (pthread_create(&thread, NULL, await_zombie_and_sleep, &descriptor) == 0)
		pthread_exit(NULL);
}

START_TEST(process_has_a_start_of_its_own)
{
	ck_assert_uint_gt(start_ticks_of(getpid()), 0);
	ck_assert_uint_eq(start_ticks_of(getpid()), start_ticks_of(getpid()));
	ck_assert_uint_eq(start_ticks_of(0), 0);
	ck_assert_uint_eq(start_ticks_of(-1), 0);
}
END_TEST

START_TEST(process_that_nobody_waited_for_is_over)
{
	siginfo_t info;

	start(do_nothing);
	ck_assert_int_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	ck_assert_uint_eq(start_ticks_of(child), 0);
	end();
	ck_assert_uint_eq(start_ticks_of(child), 0);
}
END_TEST

START_TEST(process_whose_first_thread_is_over_is_not)
{
	start(leave_to_second_thread);
	ck_assert(is_shown_as_zombie(child));
	ck_assert_uint_gt(start_ticks_of(child), 0);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("process_identity");
	TCase *tc = tcase_create("process_identity");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, process_has_a_start_of_its_own);
	tcase_add_test(tc, process_that_nobody_waited_for_is_over);
	tcase_add_test(tc, process_whose_first_thread_is_over_is_not);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
