/*
 * spanprof/span.h as programs use it: from C and C++, also where code is not
 * position-independent, and from another language by the exported functions.
 */
#include "real_program.h"
#include "victim_profile.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 100

static struct victim *run_api(const char *const *argv)
{
	struct victim_setup setup = {
		.argv = argv,
		.environment =
			(const char *const[]){"SPANPROF_RECORD_LABELS=parity,kind", NULL},
	};

	return victim_run_both(&setup);
}

static const char *const programs[] = {"span_example", "span_example_fixed",
				       "span_example_cpp"};

START_TEST(every_call_is_followed)
{
	char path[PATH_MAX];
	struct victim *victim;
	struct profile *profile;

	if (access(victim_program_path(programs[_i], path), X_OK) != 0)
		return;
	victim = run_api(NAMES(programs[_i], "100"));
	profile = victim_read_profile(victim->profiles, "*.spans.pb.gz");
	ck_assert_int_eq(profile_sum_leaf(profile, "spans", "round"), ROUNDS);
	ck_assert_int_eq(profile_sum_leaf(profile, "spans", "job"), ROUNDS);
	ck_assert_int_eq(profile_sum_leaf(profile, "spans", "decode"), ROUNDS);
	ck_assert_int_eq(profile_sum_leaf(profile, "spans", "notice"), ROUNDS);
	ck_assert(!profile_has_comment(profile, "misuse"));
	ck_assert(!profile_has_comment(profile, "unfinished:"));
	ck_assert(!profile_has_comment(profile, "loss:"));
	profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(other_languages_call_the_exported_functions)
{
	static const char script[] =
		"import ctypes\n"
		"class Site(ctypes.Structure):\n"
		"    _fields_ = [('name', ctypes.c_char_p), ('target', "
		"ctypes.c_char_p),\n"
		"                ('file', ctypes.c_char_p), ('line', ctypes.c_uint32),\n"
		"                ('id', ctypes.c_uint32)]\n"
		"site = Site(b'from python', None, None, 0, 0)\n"
		"process = ctypes.CDLL(None)\n"
		"if hasattr(process, 'spanprof_v1_create'):\n"
		"    create = process.spanprof_v1_create\n"
		"    create.restype = ctypes.c_uint64\n"
		"    create.argtypes = [ctypes.POINTER(Site), ctypes.c_uint64]\n"
		"    handles = [ctypes.c_uint64]\n"
		"    for name in ('enter', 'exit', 'close'):\n"
		"        getattr(process, 'spanprof_v1_' + name).argtypes = handles\n"
		"    for i in range(100):\n"
		"        span = create(ctypes.byref(site), 2**64 - 1)\n"
		"        process.spanprof_v1_enter(span)\n"
		"        process.spanprof_v1_exit(span)\n"
		"        process.spanprof_v1_close(span)\n"
		"print('done')\n";
	struct victim *victim;
	struct profile *profile;

	if (!real_program_has_commands(NAMES("python3")))
		return;
	victim = run_api(NAMES("/usr/bin/python3", "-c", script));
	profile = victim_read_profile(victim->profiles, "*.spans.pb.gz");
	ck_assert_int_eq(profile_sum_leaf(profile, "spans", "from python"), ROUNDS);
	ck_assert(!profile_has_comment(profile, "misuse"));
	profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, every_call_is_followed, 0,
			    (int)(sizeof(programs) / sizeof(programs[0])));
	tcase_add_test(tcase, other_languages_call_the_exported_functions);
}

int main(void)
{
	return victim_main("span_api", add);
}
