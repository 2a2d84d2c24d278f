/* The options: what is told of mistakes, however long they are. */
#include "test_options_fixture.h"

#define UNPROFILED "; the program runs unprofiled"
static const char *const refusals[][2] = {
	{"SPANPROF=hzz", "unknown option \"hzz\" in SPANPROF (did you mean \"cpu:hz\"?)"},
	{"SPANPROF=cpu:hzz=9",
	 "unknown option \"cpu:hzz\" in SPANPROF (did you mean \"cpu:hz\"?)"},
	{"SPANPROF=cpi", "unknown option \"cpi\" in SPANPROF (did you mean \"cpu\"?)"},
	{"SPANPROF=otu=/tmp",
	 "unknown option \"otu\" in SPANPROF (did you mean \"out\"?)"},
	{"SPANPROF=recording_sise=1M", "unknown option \"recording_sise\" in SPANPROF "
				       "(did you mean \"recording-size\"?)"},
	{"SPANPROF=Cpu", "unknown option \"Cpu\" in SPANPROF (did you mean \"cpu\"?)"},
	{"SPANPROF=cpu ,quiet",
	 "unknown option \"cpu \" in SPANPROF (did you mean \"cpu\"?)"},
	{"SPANPROF=cpu,hepa:rate=1",
	 "unknown option \"hepa:rate\" in SPANPROF (did you mean \"heap:rate\"?)"},
	{"SPANPROF=cpi:hz=9",
	 "unknown option \"cpi:hz\" in SPANPROF (did you mean \"cpu:hz\"?)"},
	{"SPANPROF=heep", "unknown option \"heep\" in SPANPROF (did you mean \"heap\"?)"},
	{"SPANPROF==3", "unknown option \"\" in SPANPROF (did you mean \"cpu\"?)"},
	{"SPANPROF_HZ=99",
	 "unknown variable SPANPROF_HZ (did you mean SPANPROF_CPU_HZ?)"},
	{"SPANPROF_CPU_HERTZ=99",
	 "unknown variable SPANPROF_CPU_HERTZ (did you mean SPANPROF_CPU_HZ?)"},
	{"SPANPROF_XYZ=", "unknown variable SPANPROF_XYZ (did you mean SPANPROF_CPU?)"},
	{"SPANPROF_=1", "unknown variable SPANPROF_ (did you mean SPANPROF_CPU?)"},
	{"SPANPROF_cpu=1", "unknown variable SPANPROF_cpu (did you mean SPANPROF_CPU?)"},
	{"SPANPROF=depth", "depth in SPANPROF needs a value, as in depth=512"},
	{"SPANPROF=out=", "out in SPANPROF needs a value, as in out=."},
	{"SPANPROF=quiet=", "quiet in SPANPROF needs a value, as in quiet=no"},
	{"SPANPROF=quiet=maybe", "quiet in SPANPROF: \"maybe\" is neither yes nor no"},
	{"SPANPROF_DISABLE=2", "SPANPROF_DISABLE: \"2\" is neither yes nor no"},
	{"SPANPROF=cpu=2", "cpu in SPANPROF: \"2\" is neither yes nor no"},
	{"SPANPROF_CPU_HZ=0",
	 "SPANPROF_CPU_HZ: \"0\" is not from 1 to 10000 (the nearest is 1)"},
	{"SPANPROF_CPU_HZ=10001",
	 "SPANPROF_CPU_HZ: \"10001\" is not from 1 to 10000 (the nearest is 10000)"},
	{"SPANPROF=cpu:hz=18446744073709551715",
	 "cpu:hz in SPANPROF: \"18446744073709551715\" is not from 1 to 10000 (the "
	 "nearest "
	 "is 10000)"},
	{"SPANPROF_CPU_HZ=-1", "SPANPROF_CPU_HZ: \"-1\" is not a number from 1 to 10000"},
	{"SPANPROF_CPU_HZ= 9", "SPANPROF_CPU_HZ: \" 9\" is not a number from 1 to 10000"},
	{"SPANPROF_CPU_HZ=99x",
	 "SPANPROF_CPU_HZ: \"99x\" is not a number from 1 to 10000"},
	{"SPANPROF_CPU_HZ=1K", "SPANPROF_CPU_HZ: \"1K\" is not a number from 1 to 10000"},
	{"SPANPROF_DEPTH=1025",
	 "SPANPROF_DEPTH: \"1025\" is not from 1 to 1024 (the nearest is 1024)"},
	{"SPANPROF_RECORDING_SIZE=1023K", "SPANPROF_RECORDING_SIZE: \"1023K\" is not "
					  "from 1M to 4G or auto (the nearest is 1M)"},
	{"SPANPROF_RECORDING_SIZE=99999999999G",
	 "SPANPROF_RECORDING_SIZE: \"99999999999G\" is not from 1M to 4G or auto (the "
	 "nearest is "
	 "4G)"},
	{"SPANPROF_RECORDING_SIZE=64MB", "SPANPROF_RECORDING_SIZE: \"64MB\" is not a "
					 "size in bytes, such as 64M, from 1M to "
					 "4G or auto"},
	{"SPANPROF_SIGNAL=27",
	 "SPANPROF_SIGNAL: \"27\" is not from 34 to 64 or auto (the nearest is 34)"},
	{"SPANPROF_SIGNAL=SIGPROF",
	 "SPANPROF_SIGNAL: \"SIGPROF\" is not a number from 34 to 64 or auto"},
	{"SPANPROF_UNWINDER=libunwid",
	 "SPANPROF_UNWINDER: \"libunwid\" is unknown (did you mean \"libunwind\"?)"},
	{"SPANPROF=unwinder=table",
	 "unwinder in SPANPROF: \"table\" is unknown (did you mean \"tables\"?)"},
	{"SPANPROF_SPAN_CPU=exat",
	 "SPANPROF_SPAN_CPU: \"exat\" is unknown (did you mean \"exact\"?)"},
	{"SPANPROF=span:sampler=1.1",
	 "span:sampler in SPANPROF: \"1.1\" is neither always nor a number from 0 to 1"},
	{"SPANPROF_SPAN_SAMPLER=.",
	 "SPANPROF_SPAN_SAMPLER: \".\" is neither always nor a number from 0 to 1"},
	{"SPANPROF_HEAP_SNAPSHOT_INTERVAL=2h",
	 "SPANPROF_HEAP_SNAPSHOT_INTERVAL: \"2h\" is not "
	 "from 0ns to 3600s (the nearest is 3600s)"},
	{"SPANPROF_SPAN=id",
	 "unknown variable SPANPROF_SPAN (did you mean SPANPROF_SPANS?)"},
	{"SPANPROF=spans", "spans in SPANPROF needs a value, as in spans=none"},
	{"SPANPROF_FILE=a/b", "SPANPROF_FILE: \"a/b\" must not contain a slash (the "
			      "directory is SPANPROF_OUT)"},
	{"SPANPROF=file=/b",
	 "file in SPANPROF: \"/b\" must not contain a slash (the directory is out=DIR)"},
	{"SPANPROF_FILE=%x",
	 "SPANPROF_FILE: \"%x\" has a % that is not one of %e %p %t %h %%"},
	{"SPANPROF_FILE=%e.%",
	 "SPANPROF_FILE: \"%e.%\" has a % that is not one of %e %p %t %h %%"},
	{"SPANPROF=out=/a\\",
	 "out in SPANPROF: \"/a\" is longer than 4095 bytes or ends in a lone backslash"},
};

START_TEST(a_mistake_is_named_with_the_nearest_right_one)
{
	char message[512];

	snprintf(message, sizeof(message), "%s" UNPROFILED, refusals[_i][1]);
	assert_refused(refusals[_i][0], message);
}
END_TEST

START_TEST(the_first_mistake_is_told)
{
	ck_assert_int_eq(parse("SPANPROF=depth=0,hzz=1", "SPANPROF_BAD=1", NULL),
			 -EINVAL);
	ck_assert_str_eq(error,
			 "depth in SPANPROF: \"0\" is not from 1 to 1024 (the nearest "
			 "is 1)" UNPROFILED);
}
END_TEST

static char *long_variable(const char *start, size_t value_bytes)
{
	char *variable = malloc(strlen(start) + value_bytes + 1);

	ck_assert_ptr_nonnull(variable);
	strcpy(variable, start);
	memset(variable + strlen(start), 'x', value_bytes);
	variable[strlen(start) + value_bytes] = '\0';
	return variable;
}

START_TEST(a_path_may_be_as_long_as_the_kernel_takes)
{
	static const char *const starts[] = {
		"SPANPROF_OUT=", "SPANPROF=out=", "SPANPROF_RECORDING_DIR=",
		"SPANPROF=recording-dir="};
	char *variable;

	variable = long_variable(starts[_i], PATH_MAX - 1);
	assert_accepted(variable);
	ck_assert_uint_eq(strlen(_i < 2 ? options.out_dir : options.recording_dir),
			  PATH_MAX - 1);
	free(variable);

	variable = long_variable(starts[_i], PATH_MAX);
	ck_assert_int_eq(parse(variable, NULL, NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, _i % 2 == 0
						    ? "is too long: 4096 bytes, at most "
						      "4095"
						    : "is longer than 4095 bytes"));
	free(variable);
}
END_TEST

START_TEST(a_file_pattern_that_is_too_long_is_refused)
{
	char *variable = long_variable("SPANPROF_FILE=", NAME_MAX - 1);

	assert_accepted(variable);
	free(variable);
	variable = long_variable("SPANPROF_FILE=", NAME_MAX);
	ck_assert_int_eq(parse(variable, NULL, NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, "is too long: 255 bytes, at most 254"));
	free(variable);
}
END_TEST

START_TEST(a_huge_mistake_gives_a_short_line)
{
	char *variable = long_variable("SPANPROF=", 100000);

	ck_assert_int_eq(parse(variable, NULL, NULL), -EINVAL);
	ck_assert_uint_lt(strlen(error), 200);
	ck_assert_ptr_nonnull(strstr(error, UNPROFILED));
	free(variable);
	variable = long_variable("SPANPROF_", 100000);
	ck_assert_int_eq(parse(variable, NULL, NULL), -EINVAL);
	ck_assert_uint_lt(strlen(error), 200);
	free(variable);
}
END_TEST

START_TEST(an_error_buffer_of_any_size_is_kept_within)
{
	char *environment[] = {(char *)"SPANPROF=hzz", NULL};
	char small[16];

	for (size_t size_bytes = 0; size_bytes <= 8; size_bytes++) {
		memset(small, '#', sizeof(small));
		ck_assert_int_eq(
			sp_options_parse(&options, environment, small, size_bytes),
			-EINVAL);
		ck_assert_int_eq(small[size_bytes], '#');
		if (size_bytes > 0)
			ck_assert_uint_eq(strlen(small), size_bytes - 1);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options_mistakes");
	TCase *tcase = tcase_create("mistakes");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup_defaults, NULL);
	tcase_add_loop_test(tcase, a_mistake_is_named_with_the_nearest_right_one, 0,
			    SP_ARRAY_COUNT(refusals));
	tcase_add_test(tcase, the_first_mistake_is_told);
	tcase_add_loop_test(tcase, a_path_may_be_as_long_as_the_kernel_takes, 0, 4);
	tcase_add_test(tcase, a_file_pattern_that_is_too_long_is_refused);
	tcase_add_test(tcase, a_huge_mistake_gives_a_short_line);
	tcase_add_test(tcase, an_error_buffer_of_any_size_is_kept_within);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
