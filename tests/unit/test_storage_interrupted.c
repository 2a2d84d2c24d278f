/*
 * Storage that a hook takes while a signal's handler of the program jumps out of it:
 * before and after each of its system calls, in a child that is traced.
 */
#include "test_recording_fixture.h"

#include <check.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDING_BYTES (UINT64_C(16) << 20)
#define STOPS_MAX 1000
#define FAILED 1
#define CANNOT_TRACE 77

static sigjmp_buf here;

static void jump(int signal_number)
{
	(void)signal_number;
	siglongjmp(here, 1);
}

static int lowest_descriptor(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	close(fd);
	return fd;
}

/* The traced child. */
static void take_storage(const char *directory)
{
	struct sp_recording recording = {.header = NULL};
	int lowest, err = test_recording_make(&recording, directory, RECORDING_BYTES);

	if (err || !recording.is_file || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		_exit(CANNOT_TRACE);
	lowest = lowest_descriptor();
	signal(SIGUSR1, jump);
	if (sigsetjmp(here, 1) == 0) {
		raise(SIGSTOP);
		sp_recording_reserve(&recording, SP_SECTION_NODES,
				     sp_recording_reserved(&recording, SP_SECTION_NODES) +
					     1);
	}
	signal(SIGUSR1, SIG_IGN);
	unlink(recording.path);
	_exit(lowest_descriptor() == lowest ? EXIT_SUCCESS : FAILED);
}

/* Lets the child go on until it has ended; a signal comes at its stop number at. True
 * when it met that stop. */
static bool follow(pid_t child, int at, int *status)
{
	int stops = 0;

	for (;;) {
		ck_assert_int_eq(waitpid(child, status, 0), child);
		if (!WIFSTOPPED(*status))
			return stops >= at;
		if (++stops == at)
			ck_assert_int_eq(kill(child, SIGUSR1), 0);
		ck_assert_int_lt(stops, STOPS_MAX);
		ck_assert_int_eq(ptrace(PTRACE_SYSCALL, child, NULL,
					WSTOPSIG(*status) == SIGUSR1 ? SIGUSR1 : 0),
				 0);
	}
}

START_TEST(jump_leaves_no_descriptor_behind)
{
	char directory[] = "/tmp/storage.XXXXXX";
	bool is_met = true;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	for (int at = 1; is_met; at++) {
		pid_t child = fork();
		int status;

		if (child == 0)
			take_storage(directory);
		is_met = follow(child, at, &status);
		ck_assert(WIFEXITED(status));
		if (WEXITSTATUS(status) == CANNOT_TRACE)
			break;
		ck_assert_msg(WEXITSTATUS(status) == EXIT_SUCCESS, "at stop %d", at);
	}
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("interrupted storage");
	TCase *tests = tcase_create("jumps");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, jump_leaves_no_descriptor_behind);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
