/* Numbers, sizes and durations, and how far words are apart. */
#include "sp_compiler.h"
#include "sp_options_value.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

START_TEST(durations_take_units)
{
	static const struct {
		const char *text;
		uint64_t duration_ns;
	} durations[] = {
		{"3", UINT64_C(3000000000)},
		{"250ms", 250000000},
		{"7us", 7000},
		{"9ns", 9},
		{"2S", UINT64_C(2000000000)},
		{"1m", UINT64_C(60000000000)},
		{"1h", UINT64_C(3600000000000)},
	};
	uint64_t duration_ns;

	for (size_t i = 0; i < SP_ARRAY_COUNT(durations); i++) {
		ck_assert_int_eq(sp_value_duration(durations[i].text, &duration_ns), 0);
		ck_assert_uint_eq(duration_ns, durations[i].duration_ns);
	}
	duration_ns = 5;
	ck_assert_int_eq(sp_value_duration("3 s", &duration_ns), -EINVAL);
	ck_assert_int_eq(sp_value_duration("ms", &duration_ns), -EINVAL);
	ck_assert_int_eq(sp_value_duration("", &duration_ns), -EINVAL);
	ck_assert_uint_eq(duration_ns, 5);
	ck_assert_int_eq(sp_value_duration("9999999999h", &duration_ns), -ERANGE);
	ck_assert_uint_eq(duration_ns, UINT64_MAX);
}
END_TEST

START_TEST(probabilities_are_parts_of_one)
{
	static const struct {
		const char *text;
		uint64_t millionths;
	} values[] = {
		{"always", 1000000},   {"1", 1000000},
		{"1.000000", 1000000}, {"0", 0},
		{"0.5", 500000},       {".25", 250000},
		{"0.0000019", 1},      {"00.1", 100000},
	};
	static const char *const wrong[] = {
		"",	".",	"1.000001", "2",    "-0.5",
		"0.5x", "1e-1", " 0.5",	    "0..5", "99999999999999999999",
		"never"};
	uint64_t millionths;

	for (size_t i = 0; i < SP_ARRAY_COUNT(values); i++) {
		ck_assert_int_eq(sp_value_probability(values[i].text, &millionths), 0);
		ck_assert_uint_eq(millionths, values[i].millionths);
	}
	millionths = 7;
	for (size_t i = 0; i < SP_ARRAY_COUNT(wrong); i++)
		ck_assert_int_eq(sp_value_probability(wrong[i], &millionths), -EINVAL);
	ck_assert_uint_eq(millionths, 7);
}
END_TEST

START_TEST(the_largest_number_fits_and_the_next_does_not)
{
	uint64_t number = 0;

	ck_assert_int_eq(sp_value_number("18446744073709551615", &number), 0);
	ck_assert_uint_eq(number, UINT64_MAX);
	ck_assert_int_eq(sp_value_number("18446744073709551616", &number), -ERANGE);
	ck_assert_int_eq(sp_value_number("99999999999999999999999999", &number), -ERANGE);
	ck_assert_int_eq(sp_value_size("16777216G", &number), 0);
	ck_assert_uint_eq(number, UINT64_C(16777216) << 30);
	ck_assert_int_eq(sp_value_size("17179869184G", &number), -ERANGE);
}
END_TEST

static unsigned int distance(const char *one, const char *other)
{
	return sp_word_distance(one, strlen(one), other, strlen(other));
}

START_TEST(words_are_as_far_apart_as_one_has_to_type)
{
	ck_assert_uint_eq(distance("out", "out"), 0);
	ck_assert_uint_eq(distance("", "out"), 3);
	ck_assert_uint_eq(distance("ot", "out"), 1);
	ck_assert_uint_eq(distance("oout", "out"), 1);
	ck_assert_uint_eq(distance("oat", "out"), 1);
	ck_assert_uint_eq(distance("otu", "out"), 1); /* swapped */
	ck_assert_uint_eq(distance("kitten", "sitting"), 3);
	ck_assert_uint_eq(distance("CPU-HZ", "cpu:hz"), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options_value");
	TCase *tcase = tcase_create("values");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, durations_take_units);
	tcase_add_test(tcase, probabilities_are_parts_of_one);
	tcase_add_test(tcase, the_largest_number_fits_and_the_next_does_not);
	tcase_add_test(tcase, words_are_as_far_apart_as_one_has_to_type);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
