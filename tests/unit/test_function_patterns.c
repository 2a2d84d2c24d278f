/*
 * Which names of functions are followed.
 */
#include "function_patterns.h"
#include "sp_compiler.h"

#include <check.h>
#include <stdlib.h>

START_TEST(star_stands_for_any_letters)
{
	ck_assert(sp_function_matches("sqlite3_step", "sqlite3_step"));
	ck_assert(!sp_function_matches("sqlite3_step", "sqlite3_step64"));
	ck_assert(!sp_function_matches("sqlite3_step", "sqlite3_ste"));
	ck_assert(sp_function_matches("PQ*", "PQexec"));
	ck_assert(sp_function_matches("a,PQ*", "PQ"));
	ck_assert(!sp_function_matches("PQ*", "PPQ"));
	ck_assert(sp_function_matches("*_step", "sqlite3_step"));
	ck_assert(sp_function_matches("*a*b*c", "xaxbxbxc"));
	ck_assert(!sp_function_matches("*a*b*c", "xaxcxbx"));
	ck_assert(sp_function_matches("**", "x"));
	ck_assert(!sp_function_matches("", "x"));
	ck_assert(!sp_function_matches(",,", "x"));
}
END_TEST

START_TEST(patterns_that_match_are_known_by_their_numbers)
{
	ck_assert_uint_eq(sp_function_patterns_for("a,PQ*,*exec,PQexek", "PQexec"), 6);
	ck_assert_uint_eq(sp_function_patterns_for("a,,b", "b"), 4);
	ck_assert_uint_eq(sp_function_patterns_for("a,b", "c"), 0);
	ck_assert_uint_eq(sp_function_patterns_for("exit", "exit"), 1);
}
END_TEST

/* Asked for by name or by a pattern. */
static const char *const refused[] = {
	"setjmp",
	"__sigsetjmp",
	"vfork",
	"longjmp",
	"swapcontext",
	"jump_fcontext",
	"_Unwind_Resume",
	"__cxa_throw",
	"__tls_get_addr",
	"_Ux86_64_getcontext",
	"unw_getcontext",
	"_ZGVdN4v_sin",
	"_ZGVcN4vv_pow",
	"_ZGVeM8v_exp",
	"_Z3addDv8_fS_",
	"_Z3addDv4_dS_",
	"_ZN5Eigen8internal4pmulIDv4_dEET_RKS3_S5_",
	"_Z5widenDv4_iDv32_c",
	"_Z3addDv16_DF16_S_",
	"_Z3addDv16_DF16b",
	"_Z3addDv16_Dh",
	"_Z3addDv4_DF64_",
};

START_TEST(what_does_not_survive_a_frame_is_refused)
{
	ck_assert_msg(sp_function_is_refused(refused[_i]), "%s", refused[_i]);
	ck_assert(!sp_function_matches(refused[_i], refused[_i]));
	ck_assert(!sp_function_matches("*", refused[_i]));
}
END_TEST

static const char *const followed[] = {
	"malloc_info",	   "sin",	    "_ZGVbN2v_sin",
	"_ZGVZ3onevE3two", "_Z3addDv4_fS_", "_Z3addDv2_dS_",
	"_Z3addDv16_c",	   "_Z3fooDv",	    "_Z3fooDv99999999999999999999",
	"_ZNSt6DvDvDvE",   "_Z3fooi",	    "addDv8_f",
	"_Z3addDv8_DF16_", "_Z3addDF16_",   "_Z3addDv4_DF32_",
};

START_TEST(everything_else_is_followed)
{
	ck_assert_msg(!sp_function_is_refused(followed[_i]), "%s", followed[_i]);
	ck_assert(sp_function_matches("*", followed[_i]));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("function_patterns");
	TCase *tc = tcase_create("function_patterns");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, star_stands_for_any_letters);
	tcase_add_test(tc, patterns_that_match_are_known_by_their_numbers);
	tcase_add_loop_test(tc, what_does_not_survive_a_frame_is_refused, 0,
			    SP_ARRAY_COUNT(refused));
	tcase_add_loop_test(tc, everything_else_is_followed, 0, SP_ARRAY_COUNT(followed));
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
