/*
 * What all profiles say of the process they are of.
 */
#include "profile_comments.h"

#include "run_suite.h"

#include <check.h>
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

int main(void)
{
	TCase *tc = tcase_create("profile_comments");

	tcase_add_test(tc, arguments_are_parted_by_spaces);
	tcase_add_test(tc, script_among_the_arguments_stays_on_one_line);
	return run_suite("profile_comments", tc);
}
