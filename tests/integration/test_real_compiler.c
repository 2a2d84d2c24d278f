/*
 * The compiler driver: a tree of processes by vfork and exec, each with a profile,
 * and the same object code as without us.
 */
#include "cpu_profile.h"
#include "real_program.h"

START_TEST(compiler_runs_unchanged_and_each_part_has_a_profile)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("g++", "as", "ld")))
		return;
	/* Fixed names and no random seeds: the program file is the same bit by bit. */
	victim = real_program_compare(
		"cat >t.cc <<'EOF'\n"
		"#include <algorithm>\n#include <iostream>\n#include <map>\n#include "
		"<regex>\n"
		"int main() { std::map<std::string, int> m; std::regex r(\"a(b|c)*d\");\n"
		"  for (int i = 0; i < 1000; i++) m[std::to_string(i)] = i;\n"
		"  std::cout << m.size() << std::regex_match(\"abcbd\", r) << '\\n'; "
		"return 3; }\n"
		"EOF\n"
		"g++ -O1 -frandom-seed=1 -Wl,--build-id=none t.cc -o t && cksum t && "
		"./t; "
		"echo $?; g++ -c missing.cc; echo $?");
	real_program_assert_largest(victim, "cc1plus.*.cpu.pb.gz", 1, NAMES("toplev"));
	ck_assert_uint_ge(victim_count(victim->profiles, "as.*.cpu.pb.gz"), 1);
	ck_assert_uint_ge(victim_count(victim->profiles, "*g++*.cpu.pb.gz"), 1);
	ck_assert_uint_ge(victim_count(victim->profiles, "collect2.*.cpu.pb.gz"), 1);
	ck_assert_uint_ge(victim_count(victim->profiles, "*ld*.cpu.pb.gz"), 1);
	ck_assert_uint_ge(victim_count(victim->profiles, "t.*.cpu.pb.gz"), 1);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, compiler_runs_unchanged_and_each_part_has_a_profile);
}

int main(void)
{
	return victim_main("real_compiler", add);
}
