/* Names of profiles: the pattern, what fills it, and what does not fit. */
#include "test_options_fixture.h"

#include <unistd.h>

static char name[2 * NAME_MAX]; /* more than a file system takes */

static int file_name(const char *pattern)
{
	strcpy(options.file_pattern, pattern);
	memset(name, '#', sizeof(name));
	return sp_options_file_name(options.file_pattern, "redis-server", 4711,
				    1700000000123456789, "cpu", "pb.gz", name,
				    sizeof(name));
}

START_TEST(the_default_name_has_program_and_pid)
{
	ck_assert_int_eq(file_name("%e.%p"), 0);
	ck_assert_str_eq(name, "redis-server.4711.cpu.pb.gz");
}
END_TEST

START_TEST(every_placeholder_is_expanded)
{
	char host[256] = "", expected[1024];

	ck_assert_int_eq(gethostname(host, sizeof(host)), 0);
	snprintf(expected, sizeof(expected),
		 "100%%-redis-server-4711-1700000000123456789-%s.cpu.pb.gz", host);
	ck_assert_int_eq(file_name("100%%-%e-%p-%t-%h"), 0);
	ck_assert_str_eq(name, expected);
}
END_TEST

START_TEST(a_bad_pattern_gives_no_name)
{
	static const char *const patterns[] = {"%x", "a%", "a/b", "/a", "%e/"};

	for (size_t i = 0; i < SP_ARRAY_COUNT(patterns); i++) {
		ck_assert_int_eq(file_name(patterns[i]), -EINVAL);
		ck_assert_str_eq(name, "");
	}
}
END_TEST

START_TEST(a_program_with_an_odd_name_stays_in_its_directory)
{
	ck_assert_int_eq(sp_options_file_name(options.file_pattern, "../a\nb\x7f", 1, 2,
					      "cpu", "pb.gz", name, sizeof(name)),
			 0);
	ck_assert_str_eq(name, ".._a_b_.1.cpu.pb.gz");
	ck_assert_int_eq(sp_options_file_name(options.file_pattern, "", 1, 2, "cpu",
					      "pb.gz", name, sizeof(name)),
			 0);
	ck_assert_str_eq(name, "unknown.1.cpu.pb.gz");
}
END_TEST

START_TEST(a_name_that_does_not_fit_is_refused_whole)
{
	char program[NAME_MAX + 10], small[20];
	size_t rest_bytes = strlen(".1.cpu.pb.gz");

	memset(program, 'p', sizeof(program));
	program[NAME_MAX - rest_bytes] = '\0';
	ck_assert_int_eq(sp_options_file_name(options.file_pattern, program, 1, 2, "cpu",
					      "pb.gz", name, sizeof(name)),
			 0);
	ck_assert_uint_eq(strlen(name), NAME_MAX);
	program[NAME_MAX - rest_bytes] = 'p';
	program[NAME_MAX - rest_bytes + 1] = '\0';
	ck_assert_int_eq(sp_options_file_name(options.file_pattern, program, 1, 2, "cpu",
					      "pb.gz", name, sizeof(name)),
			 -ENAMETOOLONG);
	ck_assert_str_eq(name, "");

	/* "redis.17.cpu.pb.gz" has 18 bytes and a NUL. */
	memset(small, '#', sizeof(small));
	ck_assert_int_eq(sp_options_file_name(options.file_pattern, "redis", 17, 2, "cpu",
					      "pb.gz", small, 19),
			 0);
	ck_assert_str_eq(small, "redis.17.cpu.pb.gz");
	ck_assert_int_eq(small[19], '#');
	ck_assert_int_eq(sp_options_file_name(options.file_pattern, "redis", 17, 2, "cpu",
					      "pb.gz", small, 18),
			 -ENAMETOOLONG);
	ck_assert_int_eq(small[0], '\0');
	ck_assert_int_eq(sp_options_file_name(options.file_pattern, "redis", 17, 2, "cpu",
					      "pb.gz", small, 0),
			 -ENAMETOOLONG);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options_file_name");
	TCase *tcase = tcase_create("file names");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup_defaults, NULL);
	tcase_add_test(tcase, the_default_name_has_program_and_pid);
	tcase_add_test(tcase, every_placeholder_is_expanded);
	tcase_add_test(tcase, a_bad_pattern_gives_no_name);
	tcase_add_test(tcase, a_program_with_an_odd_name_stays_in_its_directory);
	tcase_add_test(tcase, a_name_that_does_not_fit_is_refused_whole);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
