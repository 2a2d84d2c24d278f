/* Which processes are there, and which are over. */
#include "sp_process_identity.h"

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child;
static bool has_told; /* it wrote a byte */

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
	has_told = read(ready[0], &byte, 1) == 1;
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

static void await_main_thread_end(void)
{
	while (!is_shown_as_zombie(getpid()))
		usleep(1000);
}

static void *await_zombie_and_sleep(void *ready)
{
	await_main_thread_end();
	if (write(*(int *)ready, "x", 1) == 1)
		pause();
	return NULL;
}

static void leave_to(void *(*body)(void *), int ready)
{
	static int descriptor;
	pthread_t thread;

	descriptor = ready;
	if (pthread_create(&thread, NULL, body, &descriptor) == 0)
		pthread_exit(NULL);
}

static void leave_to_second_thread(int ready)
{
	leave_to(await_zombie_and_sleep, ready);
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

/* What a descriptor is open for, as the kernel names it. */
static bool is_below_a_thread(int fd)
{
	char link[64], path[PATH_MAX];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/task/%d/fd/%d", (int)gettid(), fd);
	length = readlink(link, path, sizeof(path) - 1);
	path[length > 0 ? length : 0] = '\0';
	return strstr(path, "/task/") != NULL;
}

static bool can_read(int fd, uint64_t address)
{
	char byte;

	return pread(fd, &byte, 1, (off_t)address) == 1;
}

static bool can_read_all(void)
{
	static const char variable;
	int maps = sp_process_open("maps"), mem = sp_process_open("mem");
	int program = sp_process_open("exe");
	char statm[64];
	bool can;

	can = can_read(maps, 0) && can_read(mem, (uint64_t)(uintptr_t)&variable) &&
	      can_read(program, 0) &&
	      sp_process_read_open(sp_process_open("statm"), statm, sizeof(statm)) &&
	      strtoul(statm, NULL, 10) > 0;
	close(maps);
	close(mem);
	close(program);
	return can;
}

/* What was opened before stays, and what is opened now is there. */
static int maps_before, memory_before;

static void *read_without_main_thread(void *ready)
{
	static const char variable;

	await_main_thread_end();
	if (can_read(maps_before, 0) &&
	    can_read(memory_before, (uint64_t)(uintptr_t)&variable) && can_read_all() &&
	    is_below_a_thread(sp_process_open("maps")) &&
	    sp_process_open("no_such_file") == -ENOENT &&
	    write(*(int *)ready, "x", 1) == 1)
		pause();
	_exit(1);
}

static void read_in_second_thread(int ready)
{
	maps_before = sp_process_open("maps");
	memory_before = sp_process_open("mem");
	leave_to(read_without_main_thread, ready);
}

START_TEST(own_process_is_told_of_below_its_main_thread)
{
	int maps = sp_process_open("maps");

	ck_assert_int_ge(maps, 0);
	ck_assert(!is_below_a_thread(maps));
	close(maps);
	ck_assert(can_read_all());
	ck_assert_int_eq(sp_process_open("no_such_file"), -ENOENT);
}
END_TEST

START_TEST(own_process_is_told_of_when_its_main_thread_is_over)
{
	start(read_in_second_thread);
	ck_assert(has_told);
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
	tcase_add_test(tc, own_process_is_told_of_below_its_main_thread);
	tcase_add_test(tc, own_process_is_told_of_when_its_main_thread_is_over);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
