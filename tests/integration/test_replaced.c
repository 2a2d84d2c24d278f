/*
 * A program whose file is replaced or removed while it runs keeps its own names: those
 * of another build would be wrong without a sign of it.
 */
#include "cpu_profile.h"
#include "victim.h"

static const struct {
	const char *program;
	bool is_replaced; /* else removed */
} cases[] = {
	{"replaced", true},
	{"replaced", false},
	{"replaced_no_id", true},
	{"replaced_no_id", false},
};

START_TEST(program_keeps_its_names)
{
	char program[PATH_MAX], other[PATH_MAX];
	struct victim_setup setup = {
		.argv = (const char *const[]){
			"sh", "-c",
			"cp $0 prog && cp $1 other && exec ./prog ${2:+other}",
			victim_program_path(cases[_i].program, program),
			victim_program_path("busy", other),
			cases[_i].is_replaced ? "replace" : NULL, NULL}};
	struct victim *victim = victim_run(&setup);
	struct victim_files profiles;
	struct cpu_profile *profile;

	victim_assert_success(victim);
	victim_list(victim->profiles, "prog.*.cpu.pb.gz", &profiles);
	ck_assert_uint_eq(profiles.count, 1);
	profile = cpu_profile_read(profiles.paths[0]);
	ck_assert_msg((double)cpu_profile_with_ns(profile, "work_to_the_end") >
			      0.9 * (double)cpu_profile_program_ns(profile),
		      "work_to_the_end() has %.0f of %.0f ns",
		      (double)cpu_profile_with_ns(profile, "work_to_the_end"),
		      (double)cpu_profile_program_ns(profile));
	cpu_profile_free(profile);
	victim_files_free(&profiles);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, program_keeps_its_names, 0,
			    sizeof(cases) / sizeof(cases[0]));
}

int main(void)
{
	return victim_main("replaced", add);
}
