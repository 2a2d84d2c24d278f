/*
 * Everyday tools under the agent: same output, same status, a profile of use.
 * Each script puts its input together first, the same in both runs.
 */
#include "real_program.h"

static void run(const char *command, const char *script, const char *pattern,
		const char *const *name_parts)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES(command)))
		return;
	victim = real_program_compare(script);
	real_program_assert_largest(victim, pattern, 1, name_parts);
	victim_free(victim);
}

START_TEST(xz_runs_unchanged)
{
	run("xz",
	    "LD_PRELOAD= seq 1 400000 >numbers; xz -T2 -k -6 numbers && xz -dc "
	    "numbers.xz | "
	    "cksum; xz --list --robot numbers.xz | cut -f 1-5 | tail -1",
	    "xz.*.cpu.pb.gz", NAMES("lzma"));
}
END_TEST

START_TEST(sqlite_runs_unchanged)
{
	run("sqlite3",
	    "sqlite3 test.db \"create table t (a integer primary key, b text); with "
	    "recursive "
	    "n(i) as (select 1 union all select i + 1 from n where i < 400000) insert "
	    "into t "
	    "select i, hex(i * 7919) from n; create index tb on t (b); select count(*), "
	    "max(b), sum(length(b)) from t where b like '3%'; select b, a from t order "
	    "by b "
	    "desc limit 5;\"",
	    "sqlite3.*.cpu.pb.gz", NAMES("sqlite3_"));
}
END_TEST

START_TEST(perl_runs_unchanged)
{
	run("perl",
	    "perl -e 'my %h; for my $i (1 .. 600000) { $h{$i % 9973} .= chr(65 + $i % "
	    "26) } "
	    "my $n = 0; for (values %h) { $n++ while /A[B-Y]*Z/g } print \"$n\\n\"; "
	    "exit 3'; echo $?",
	    "perl.*.cpu.pb.gz", NAMES("Perl_runops_standard", "perl_run"));
}
END_TEST

START_TEST(git_runs_unchanged)
{
	run("git",
	    "export GIT_AUTHOR_DATE='2001-01-01 00:00 +0000' "
	    "GIT_COMMITTER_DATE='2001-01-01 "
	    "00:00 +0000' HOME=$PWD; git init -q -b main r && cd r && git config "
	    "user.name a "
	    "&& git config user.email a@b && (export LD_PRELOAD=; for i in $(seq 300); "
	    "do seq "
	    "$i $((i * 40)) >f$i; done) && git add . && git commit -q -m first && "
	    "(export "
	    "LD_PRELOAD=; for i in $(seq 100); do echo $i >>f$i; done) && git commit -q "
	    "-a -m "
	    "second && git log --stat | tail -1 && git repack -q -a -d --depth=50 && git "
	    "fsck --full && git rev-parse HEAD",
	    "git.*.cpu.pb.gz", NAMES("__libc_start_main"));
}
END_TEST

START_TEST(bash_runs_unchanged)
{
	run("bash",
	    "bash -c 'declare -A a; for ((i = 0; i < 60000; i++)); do a[$((i % "
	    "500))]=$i; "
	    "[[ ${a[$((i % 7))]} == *9 ]] && ((n++)); done; echo $n ${#a[@]}; (exit 4); "
	    "echo "
	    "$?; trap \"echo bye\" EXIT; exit 7'; echo $?",
	    "bash.*.cpu.pb.gz", NAMES("execute_command"));
}
END_TEST

START_TEST(openssl_runs_unchanged)
{
	run("openssl",
	    "LD_PRELOAD= head -c 300000000 /dev/zero >zeros; openssl dgst -sha512 zeros; "
	    "openssl dgst -md5 zeros",
	    "openssl.*.cpu.pb.gz", NAMES("BIO_read"));
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, xz_runs_unchanged);
	tcase_add_test(tcase, sqlite_runs_unchanged);
	tcase_add_test(tcase, perl_runs_unchanged);
	tcase_add_test(tcase, git_runs_unchanged);
	tcase_add_test(tcase, bash_runs_unchanged);
	tcase_add_test(tcase, openssl_runs_unchanged);
}

int main(void)
{
	return victim_main("real_tools", add);
}
