/*
 * What all profiles say of the process they are of.
 */
#include "profile_comments.h"

#include "run_suite.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static struct sp_recording_header header;
static struct sp_profile_comments comments;

static const char *command_comment(const char *arguments, size_t bytes)
{
	memset(&header, 0, sizeof(header));
	memcpy(header.command_line, arguments, bytes);
	sp_comments_begin(&comments, "cpu", &header);
	ck_assert_str_eq(comments.lines[0], "kind: cpu");
	return comments.lines[1];
}

START_TEST(arguments_are_parted_by_spaces)
{
	static const char arguments[] = "prog\0one\0two";

	ck_assert_str_eq(command_comment(arguments, sizeof(arguments)),
			 "command: prog one two");
}
END_TEST

START_TEST(script_among_the_arguments_stays_on_one_line)
{
	static const char arguments[] = "sh\0-c\0a\n\tkind: heap\r\n\x1b[1m\x7f\xc3\xa9";

	ck_assert_str_eq(command_comment(arguments, sizeof(arguments)),
			 "command: sh -c a  kind: heap   [1m \xc3\xa9");
}
END_TEST

/* The first line that begins so. */
static const char *comment(const char *begin)
{
	for (unsigned int i = 0; i < comments.count; i++)
		if (strncmp(comments.lines[i], begin, strlen(begin)) == 0)
			return comments.lines[i];
	ck_abort_msg("no comment that begins with %s", begin);
	return NULL;
}

static void begin_process(bool are_clocks_final)
{
	memset(&header, 0, sizeof(header));
	header.pid = 7;
	atomic_store(&header.process_user_ns, 1500000000);
	atomic_store(&header.process_system_ns, 20000000);
	atomic_store(&header.are_clocks_final, are_clocks_final);
	header.earlier_cpu_ns = 24000000;
	sp_comments_begin(&comments, "cpu", &header);
}

START_TEST(times_of_the_kernel_are_all_of_them_at_an_end)
{
	begin_process(true);
	ck_assert_str_eq(comment("process: "),
			 "process: 7, user 1.500 s, system 0.020 s (the kernel's)");
}
END_TEST

/* Killed, or looked at while it runs: the profile's total may be more. */
START_TEST(times_that_were_read_before_the_end_are_said_to_be)
{
	begin_process(false);
	ck_assert_str_eq(
		comment("process: "),
		"process: 7, user 1.500 s, system 0.020 s (the kernel's, as last "
		"read; it ran on since)");
}
END_TEST

/* A large program's loader takes as long as what may have been there before it. */
START_TEST(time_that_is_not_shown_may_be_the_loaders)
{
	begin_process(true);
	ck_assert_str_eq(
		comment("not shown: "),
		"not shown: 0.024 s of CPU time from before the profiler's start, "
		"an earlier program's (exec) or the loader's");
}
END_TEST

START_TEST(cost_of_the_agent_is_a_part_of_the_cpu_time)
{
	struct sp_text line;

	begin_process(true);
	sp_comment_begin_cost(&line, &comments, 4711, 1000000);
	ck_assert_str_eq(comment("cost of"),
			 "cost of looking: agent thread 0.47 % of CPU time");
}
END_TEST

START_TEST(cost_is_unknown_where_cpu_time_is)
{
	struct sp_text line;

	begin_process(false);
	sp_comment_begin_cost(&line, &comments, 0, 0);
	ck_assert_str_eq(comment("cost of"), "cost of looking: agent thread unknown");
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("profile_comments");

	tcase_add_test(tc, arguments_are_parted_by_spaces);
	tcase_add_test(tc, script_among_the_arguments_stays_on_one_line);
	tcase_add_test(tc, times_of_the_kernel_are_all_of_them_at_an_end);
	tcase_add_test(tc, times_that_were_read_before_the_end_are_said_to_be);
	tcase_add_test(tc, time_that_is_not_shown_may_be_the_loaders);
	tcase_add_test(tc, cost_of_the_agent_is_a_part_of_the_cpu_time);
	tcase_add_test(tc, cost_is_unknown_where_cpu_time_is);
	return run_suite("profile_comments", tc);
}
