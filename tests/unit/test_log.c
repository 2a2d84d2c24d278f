/* The log: one line at a time, and nothing that the host could notice. */
#include "sp_log.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int pipe_fds[2];
static char text[8192];
static char prefix[64];

static void setup_pipe(void)
{
	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	ck_assert_int_eq(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
	snprintf(prefix, sizeof(prefix), "spanprof[%d]: ", (int)getpid());
	sp_log_init(pipe_fds[1], false, false);
}

static void close_pipe(void)
{
	sp_log_init(-1, false, false);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* What arrived, NUL-terminated. */
static const char *read_text(void)
{
	ssize_t count = read(pipe_fds[0], text, sizeof(text) - 1);

	text[count < 0 ? 0 : count] = '\0';
	return text;
}

static void assert_text(const char *expected)
{
	char line[8192];

	snprintf(line, sizeof(line), "%s%s\n", prefix, expected);
	ck_assert_str_eq(read_text(), line);
}

START_TEST(a_line_has_a_prefix_and_an_end)
{
	sp_log_error("cannot map %zu bytes: %s", (size_t)4096, "no memory");
	assert_text("cannot map 4096 bytes: no memory");
}
END_TEST

START_TEST(levels_are_heard_as_asked)
{
	sp_log_verbose("verbose");
	ck_assert_str_eq(read_text(), "");
	sp_log_note("note");
	assert_text("note");

	sp_log_init(pipe_fds[1], true, false);
	sp_log_note("note");
	ck_assert_str_eq(read_text(), "");
	sp_log_error("error");
	assert_text("error");

	sp_log_init(pipe_fds[1], false, true);
	sp_log_verbose("verbose");
	assert_text("verbose");
}
END_TEST

START_TEST(without_a_descriptor_nothing_is_told)
{
	sp_log_init(-1, false, true);
	sp_log_error("lost");
	ck_assert_str_eq(read_text(), "");
}
END_TEST

START_TEST(another_file_in_its_place_is_not_written_to)
{
	int copy = fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, 0);
	int data = memfd_create("data", MFD_CLOEXEC);
	int end = pipe_fds[1];
	struct stat status;

	ck_assert_int_ge(data, 0);
	ck_assert(sp_log_is_open_at(end));
	ck_assert_int_eq(dup2(data, end), end);
	ck_assert(!sp_log_is_open_at(end));
	sp_log_error("lost");
	ck_assert_int_eq(fstat(data, &status), 0);
	ck_assert_int_eq(status.st_size, 0);
	ck_assert_str_eq(read_text(), "");

	sp_log_use(copy);
	sp_log_error("found");
	assert_text("found");
	close(copy);
	close(data);
}
END_TEST

START_TEST(control_characters_are_escaped)
{
	sp_log_error("a\nb\tc\x1b[2Jd\x7f"
		     "e\xc2\x9b"
		     "f\xc3\xa9");
	assert_text("a\\x0ab\\x09c\\x1b[2Jd\\x7fe\\xc2\x9b"
		    "f\xc3\xa9");
}
END_TEST

START_TEST(a_line_that_is_too_long_is_cut_and_says_so)
{
	static char message[100000];
	size_t length_bytes;

	memset(message, 'x', sizeof(message) - 1);
	sp_log_error("%s", message);
	length_bytes = strlen(read_text());
	ck_assert_uint_gt(length_bytes, 900);
	ck_assert_uint_le(length_bytes, 1024);
	ck_assert_str_eq(text + length_bytes - 4, "...\n");
	ck_assert_ptr_eq(strchr(text, '\n'), text + length_bytes - 1);

	/* Escapes take four times the room. */
	memset(message, '\n', sizeof(message) - 1);
	sp_log_error("%s", message);
	length_bytes = strlen(read_text());
	ck_assert_uint_gt(length_bytes, 900);
	ck_assert_uint_le(length_bytes, 1024);
	ck_assert_str_eq(text + length_bytes - 4, "...\n");
}
END_TEST

START_TEST(errno_is_kept)
{
	errno = EDOM;
	sp_log_error("fine");
	ck_assert_int_eq(errno, EDOM);
	sp_log_error("cannot be converted: %ls", L"\xe9"); /* EILSEQ */
	ck_assert_int_eq(errno, EDOM);
	close(pipe_fds[0]);
	sp_log_error("nobody reads this");
	ck_assert_int_eq(errno, EDOM);
}
END_TEST

static bool is_pending(int signal_number)
{
	sigset_t pending;

	ck_assert_int_eq(sigpending(&pending), 0);
	return sigismember(&pending, signal_number) == 1;
}

static void set_blocked(int signal_number, int how)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, signal_number);
	ck_assert_int_eq(sigprocmask(how, &signals, NULL), 0);
}

START_TEST(a_closed_pipe_does_not_end_the_program)
{
	sigset_t before, after;

	ck_assert_ptr_ne(signal(SIGPIPE, SIG_DFL), SIG_ERR);
	sigprocmask(SIG_BLOCK, NULL, &before);
	close(pipe_fds[0]);
	sp_log_error("nobody reads this");
	ck_assert(!is_pending(SIGPIPE));
	sigprocmask(SIG_BLOCK, NULL, &after);
	ck_assert_int_eq(sigismember(&after, SIGPIPE), sigismember(&before, SIGPIPE));
	ck_assert_int_eq(sigismember(&after, SIGTTOU), sigismember(&before, SIGTTOU));
}
END_TEST

START_TEST(a_closed_pipe_leaves_nothing_pending_for_a_program_that_blocks_it)
{
	set_blocked(SIGPIPE, SIG_BLOCK);
	close(pipe_fds[0]);
	sp_log_error("nobody reads this");
	ck_assert(!is_pending(SIGPIPE));
	set_blocked(SIGPIPE, SIG_UNBLOCK);
}
END_TEST

static volatile sig_atomic_t signals_seen;

static void count_signal(int signal_number)
{
	(void)signal_number;
	signals_seen = signals_seen + 1;
}

START_TEST(a_signal_of_the_program_is_left_to_it)
{
	signals_seen = 0;
	ck_assert_ptr_ne(signal(SIGPIPE, count_signal), SIG_ERR);
	set_blocked(SIGPIPE, SIG_BLOCK);
	raise(SIGPIPE);
	close(pipe_fds[0]);
	sp_log_error("nobody reads this");
	ck_assert(is_pending(SIGPIPE));
	ck_assert_int_eq(signals_seen, 0);
	set_blocked(SIGPIPE, SIG_UNBLOCK);
	ck_assert_int_eq(signals_seen, 1);
	ck_assert_ptr_ne(signal(SIGPIPE, SIG_DFL), SIG_ERR);
}
END_TEST

START_TEST(a_file_size_limit_does_not_end_the_program)
{
	char path[] = "/tmp/spanprof-test-log-XXXXXX";
	int fd = mkstemp(path), status;
	sigset_t pending;
	pid_t child;

	ck_assert_int_ge(fd, 0);
	unlink(path);
	child = fork(); /* the limit could not be raised again */
	if (child == 0) {
		const struct rlimit limit = {4, 4};

		signal(SIGXFSZ, SIG_DFL);
		if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
			_exit(2);
		sp_log_init(fd, false, false);
		sp_log_error("does not fit");
		/* No assertion here: Check, too, writes to a file. */
		_exit(sigpending(&pending) == 0 && !sigismember(&pending, SIGXFSZ) ? 0
										   : 3);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	close(fd);
}
END_TEST

START_TEST(a_reader_that_does_not_read_delays_only_shortly)
{
	struct timespec begin, end;
	char block[4096] = {0};
	double waited_s;

	ck_assert_int_eq(fcntl(pipe_fds[1], F_SETFL, O_NONBLOCK), 0);
	while (write(pipe_fds[1], block, sizeof(block)) > 0) {
	}
	ck_assert_int_eq(fcntl(pipe_fds[1], F_SETFL, 0), 0);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	sp_log_error("no room");
	clock_gettime(CLOCK_MONOTONIC, &end);
	waited_s = (double)(end.tv_sec - begin.tv_sec) +
		   (double)(end.tv_nsec - begin.tv_nsec) * 1e-9;
	ck_assert_double_lt(waited_s, 2.0);
}
END_TEST

START_TEST(a_child_has_its_own_pid)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		sp_log_error("child");
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	snprintf(prefix, sizeof(prefix), "spanprof[%d]: ", (int)child);
	assert_text("child");
}
END_TEST

static Suite *log_suite(void)
{
	Suite *suite = suite_create("log");
	TCase *tcase = tcase_create("log");

	tcase_add_checked_fixture(tcase, setup_pipe, close_pipe);
	tcase_add_test(tcase, a_line_has_a_prefix_and_an_end);
	tcase_add_test(tcase, levels_are_heard_as_asked);
	tcase_add_test(tcase, without_a_descriptor_nothing_is_told);
	tcase_add_test(tcase, another_file_in_its_place_is_not_written_to);
	tcase_add_test(tcase, control_characters_are_escaped);
	tcase_add_test(tcase, a_line_that_is_too_long_is_cut_and_says_so);
	tcase_add_test(tcase, errno_is_kept);
	tcase_add_test(tcase, a_closed_pipe_does_not_end_the_program);
	tcase_add_test(tcase,
		       a_closed_pipe_leaves_nothing_pending_for_a_program_that_blocks_it);
	tcase_add_test(tcase, a_signal_of_the_program_is_left_to_it);
	tcase_add_test(tcase, a_file_size_limit_does_not_end_the_program);
	tcase_add_test(tcase, a_reader_that_does_not_read_delays_only_shortly);
	tcase_add_test(tcase, a_child_has_its_own_pid);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(log_suite());
	int failed_count;

	srunner_run_all(runner, CK_NORMAL);
	failed_count = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed_count == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
