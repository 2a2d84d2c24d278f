/*
 * Calls of library functions as spans (SPANPROF_SPANS=function,...): what they return
 * is what they return without us, and samples are in the span if and only if the
 * function is in their stack.
 */
#include "profile_decode.h"
#include "real_program.h"
#include "victim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAMPLES_MIN 1000
#define SHARE_MIN 0.99

/* Of lib_functions, by the "results" of the victim: of the module, of programs. */
#define RESULT_CALLS (9 + 201)
#define RESULT_CALLS_OF_PROGRAM (RESULT_CALLS + 1)
/* By its "leave". */
#define LEAVE_CALLS (4 + 2)

static struct victim *run_agent(const char *spans, const char *const *argv, bool is_both)
{
	struct victim_setup setup = {
		.argv = argv,
		.environment = (const char *const[]){spans, "SPANPROF_CPU_HZ=1000",
						     "SPANPROF_SPAN_CPU=off", NULL},
		.timeout_s = 120,
	};

	return is_both ? victim_run_both(&setup) : victim_run(&setup);
}

static struct victim *run_with(const char *spans, const char *const *argv)
{
	return run_agent(spans, argv, true);
}

/* What takes long is run once. */
static struct victim *run_long(const char *spans, const char *const *argv)
{
	struct victim *victim = run_agent(spans, argv, false);

	victim_assert_success(victim);
	return victim;
}

/* From "…, 210 spans, …" of the line at the end. */
static long spans_told(const struct victim *victim)
{
	const char *word = strstr(victim->agent_lines, " spans,");

	ck_assert_msg(word != NULL, "no spans in: %s", victim->agent_lines);
	while (word > victim->agent_lines && word[-1] >= '0' && word[-1] <= '9')
		word--;
	return atol(word);
}

struct shares {
	int64_t in, in_labelled, out, out_unlabelled;
};

static bool is_of_program(const struct profile *profile,
			  const Perftools__Profiles__Sample *sample)
{
	return !profile_sample_has(profile, sample, "[spanprof]") &&
	       !profile_sample_has(profile, sample, "[unsampled]");
}

static void count_sample(const struct profile *profile,
			 const Perftools__Profiles__Sample *sample, const char *function,
			 struct shares *shares)
{
	const Perftools__Profiles__Label *label =
		profile_sample_label(profile, sample, "span_name");
	int64_t count = sample->value[0];

	if (profile_sample_has(profile, sample, function)) {
		shares->in += count;
		if (label && strcmp(profile_string(profile, label->str), function) == 0)
			shares->in_labelled += count;
	} else {
		shares->out += count;
		if (!label)
			shares->out_unlabelled += count;
	}
}

/* Samples with the function in their stack carry it, others no span. */
static void assert_shares(const struct victim *victim, const char *path,
			  const char *function)
{
	struct shares shares = {0};
	char error[256] = "";
	struct profile *profile = profile_decode_file(path, error, sizeof(error));

	ck_assert_msg(profile != NULL, "%s: %s", path, error);
	for (size_t i = 0; i < profile->message->n_sample; i++)
		if (is_of_program(profile, profile->message->sample[i]))
			count_sample(profile, profile->message->sample[i], function,
				     &shares);
	profile_free(profile);
	printf("%s: %lld of %lld samples within, %lld of %lld outside; %ld spans\n",
	       function, (long long)shares.in_labelled, (long long)shares.in,
	       (long long)shares.out_unlabelled, (long long)shares.out,
	       spans_told(victim));
	ck_assert_int_ge(shares.in + shares.out, SAMPLES_MIN);
	ck_assert_int_ge(shares.in, SAMPLES_MIN / 4);
	ck_assert_int_ge(shares.out, SAMPLES_MIN / 4);
	ck_assert_double_ge((double)shares.in_labelled, SHARE_MIN * (double)shares.in);
	ck_assert_double_ge((double)shares.out_unlabelled,
			    SHARE_MIN * (double)shares.out);
}

static const char *const kinds[] = {"span_functions_lazy", "span_functions_now",
				    "span_functions_noplt", "span_functions_fixed"};

static bool has_victims(void)
{
	char path[PATH_MAX];

	if (access(victim_program_path(kinds[0], path), X_OK) == 0)
		return true;
	printf("no C++ compiler: skipped\n");
	return false;
}

START_TEST(results_are_the_same)
{
	struct victim *victim;

	if (!has_victims())
		return;
	victim = run_with("SPANPROF_SPANS=fn_*", NAMES(kinds[_i], "results"));
	ck_assert_int_eq(spans_told(victim), RESULT_CALLS_OF_PROGRAM);
	victim_free(victim);
}
END_TEST

START_TEST(what_leaves_calls_otherwise_goes_on)
{
	if (has_victims())
		victim_free(run_with("SPANPROF_SPANS=fn_call",
				     NAMES(kinds[_i], "leave", "20")));
}
END_TEST

START_TEST(spans_end_however_a_call_is_left)
{
	char path[PATH_MAX];
	struct victim *victim;

	if (!has_victims())
		return;
	victim = run_long("SPANPROF_SPANS=fn_call", NAMES(kinds[_i], "leave", "1200"));
	ck_assert_int_eq(spans_told(victim), LEAVE_CALLS);
	assert_shares(victim, victim_profile(victim, 0, path), "fn_call");
	victim_free(victim);
}
END_TEST

/* Its calls are seen from the first on, as it is run by what dlsym() found. */
START_TEST(modules_opened_later_are_followed)
{
	char module[PATH_MAX];
	struct victim *victim;

	if (!has_victims())
		return;
	victim_program_path("lib_span_functions.so", module);
	victim = run_with("SPANPROF_SPANS=fn_*",
			  NAMES("span_open", "now", module, "1", "results"));
	ck_assert_int_eq(spans_told(victim), RESULT_CALLS);
	victim_free(victim);
}
END_TEST

/* Slots that wait for their first call are not known before that. */
START_TEST(lazy_modules_are_followed_from_the_second_call)
{
	char module[PATH_MAX];
	struct victim *victim;

	if (!has_victims())
		return;
	victim_program_path("lib_span_functions.so", module);
	victim = run_with("SPANPROF_SPANS=fn_*",
			  NAMES("span_open", "lazy", module, "2", "results"));
	ck_assert_int_ge(spans_told(victim), RESULT_CALLS);
	ck_assert_int_le(spans_told(victim), 2 * RESULT_CALLS - 9);
	victim_free(victim);
}
END_TEST

START_TEST(functions_found_by_name_are_followed)
{
	char library[PATH_MAX];
	struct victim *victim;

	if (!has_victims())
		return;
	victim_program_path("lib_functions.so", library);
	victim = run_with("SPANPROF_SPANS=fn_*",
			  NAMES("span_open", "find", library, "1000"));
	ck_assert_int_eq(spans_told(victim), 1000);
	victim_free(victim);
}
END_TEST

START_TEST(functions_found_by_version_are_followed)
{
	struct victim *victim =
		run_with("SPANPROF_SPANS=a64l",
			 NAMES("span_open", "version", "libc.so.6", "1000"));

	ck_assert_int_eq(spans_told(victim), 2 * 1000);
	victim_free(victim);
}
END_TEST

/* Each call is one of the library in front and of the one that this finds. */
START_TEST(functions_found_behind_an_interposer_are_followed)
{
	struct victim *victim =
		run_with("SPANPROF_SPANS=a64l", NAMES("span_interposed", "1000"));

	ck_assert_int_eq(spans_told(victim), 2 * 1000);
	victim_free(victim);
}
END_TEST

static void assert_told(const char *spans, const char *words)
{
	struct victim *victim = run_with(spans, NAMES("busy", "100"));

	ck_assert_msg(strstr(victim->agent_lines, words) != NULL, "said: %s",
		      victim->agent_lines);
	victim_free(victim);
}

START_TEST(what_cannot_be_a_span_is_told)
{
	assert_told("SPANPROF_SPANS=setjmp", "calls of setjmp() cannot be spans");
	/* It is ours. */
	assert_told("SPANPROF_SPANS=malloc", "calls of malloc() cannot be spans");
}
END_TEST

static unsigned int count_words(const char *text, const char *words)
{
	unsigned int count = 0;

	for (; (text = strstr(text, words)) != NULL; text += strlen(words))
		count++;
	return count;
}

/* By the program that was started, not by its children, which look for nothing. */
START_TEST(functions_that_nobody_calls_are_told_once)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("python3", "sh", "true")))
		return;
	victim = run_with("SPANPROF_SPANS=sqlite3_step,sqlite3_stepp*,PQexek,setjmp",
			  NAMES("/usr/bin/python3", "-c",
				"import os, sqlite3, subprocess\n"
				"c = sqlite3.connect(':memory:')\n"
				"c.execute('select 1').fetchall()\n"
				"subprocess.run(['sh', '-c', 'true; /bin/true; true'])\n"
				"if os.fork() == 0:\n"
				"    os._exit(0)\n"
				"os.wait()\n"));
	ck_assert_msg(count_words(victim->agent_lines, "wrote ") >= 3, "said: %s",
		      victim->agent_lines);
	ck_assert_uint_eq(count_words(victim->agent_lines, "no calls found"), 1);
	ck_assert_msg(count_words(victim->agent_lines,
				  "; no calls found of sqlite3_stepp*, PQexek\n") == 1,
		      "said: %s", victim->agent_lines);
	victim_free(victim);
}
END_TEST

/* Perl writes its title over its environment; its child's parent is profiled all the
 * same. */
START_TEST(who_runs_a_program_is_known_by_what_it_has_mapped)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("perl", "true")))
		return;
	victim = run_with("SPANPROF_SPANS=PQexek",
			  NAMES("/usr/bin/perl", "-e",
				"$0 = 'x' x 10000;\n"
				"open(my $e, '<', '/proc/self/environ');\n"
				"exit 3 if <$e> =~ /LD_PRELOAD/;\n"
				"exit system('/bin/true');\n"));
	ck_assert_uint_eq(count_words(victim->agent_lines, "wrote "), 2);
	ck_assert_uint_eq(count_words(victim->agent_lines, "no calls found"), 1);
	victim_free(victim);
}
END_TEST

START_TEST(more_functions_than_there_is_room_for_are_told)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("python3")))
		return;
	victim = run_with("SPANPROF_SPANS=*",
			  NAMES("/usr/bin/python3", "-c", "import ssl, sqlite3"));
	ck_assert_msg(strstr(victim->agent_lines, "more than 256 functions") != NULL,
		      "said: %s", victim->agent_lines);
	victim_free(victim);
}
END_TEST

START_TEST(sqlite_statements_of_python_are_spans)
{
	char path[PATH_MAX];
	struct victim *victim;

	if (!real_program_has_commands(NAMES("python3")))
		return;
	victim = run_long(
		"SPANPROF_SPANS=sqlite3_step",
		NAMES("/usr/bin/python3", "-c",
		      "import sqlite3, time\n"
		      "c = sqlite3.connect(':memory:')\n"
		      "c.execute('create table t(a, b)')\n"
		      "c.executemany('insert into t values(?, ?)', ((i, str(i)) for i in "
		      "range(20000)))\n"
		      "n = 0\n"
		      "end = time.process_time() + 7\n"
		      "while time.process_time() < end:\n"
		      "    n = c.execute('select count(*) from t x, (select 1 union "
		      "select "
		      "2) where b like \"%9%\"').fetchone()\n"
		      "    sum(i * i for i in range(60000))\n"
		      "print(n)\n"));
	assert_shares(victim, victim_profile(victim, 0, path), "sqlite3_step");
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	const int count = (int)(sizeof(kinds) / sizeof(kinds[0]));

	tcase_add_loop_test(tcase, results_are_the_same, 0, count);
	tcase_add_loop_test(tcase, what_leaves_calls_otherwise_goes_on, 0, count);
	tcase_add_loop_test(tcase, spans_end_however_a_call_is_left, 0, count);
	tcase_add_test(tcase, modules_opened_later_are_followed);
	tcase_add_test(tcase, lazy_modules_are_followed_from_the_second_call);
	tcase_add_test(tcase, functions_found_by_name_are_followed);
	tcase_add_test(tcase, functions_found_by_version_are_followed);
	tcase_add_test(tcase, functions_found_behind_an_interposer_are_followed);
	tcase_add_test(tcase, what_cannot_be_a_span_is_told);
	tcase_add_test(tcase, functions_that_nobody_calls_are_told_once);
	tcase_add_test(tcase, who_runs_a_program_is_known_by_what_it_has_mapped);
	tcase_add_test(tcase, more_functions_than_there_is_room_for_are_told);
	tcase_add_test(tcase, sqlite_statements_of_python_are_spans);
}

int main(void)
{
	return victim_main("span_functions", add);
}
