/*
 * Sources of spans and labels: samples taken while a program says that it is in a span,
 * or has a name, carry that, and others do not. Which of both is right is seen in
 * their stacks.
 */
#include "heap_profile.h"
#include "label_shares.h"
#include "real_program.h"
#include "victim_profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static struct victim *run(const char *const *argv, const char *const *environment)
{
	struct victim_setup setup = {
		.argv = argv, .environment = environment, .timeout_s = 120};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	victim_assert_clean(victim);
	return victim;
}

/* What is asked of the profiles of one pattern. */
struct question {
	const char *pattern;
	const struct label_rule *rule;
	const char *what;
};
#define QUESTIONS_MAX 6
#define RUNS_MAX 20

/* Runs it as often as it takes for samples enough to answer all questions, which it does
 * of all runs together. The last run. */
static struct victim *run_and_ask(const char *const *argv, const char *const *environment,
				  const struct question *questions, size_t count)
{
	struct label_shares shares[QUESTIONS_MAX] = {0};
	struct victim *victim = NULL;
	bool is_enough = false;

	for (int runs = 0; runs < RUNS_MAX && !is_enough; runs++) {
		victim_free(victim);
		victim = run(argv, environment);
		is_enough = true;
		for (size_t i = 0; i < count; i++) {
			label_shares_add_victim(victim, questions[i].pattern,
						questions[i].rule, &shares[i]);
			is_enough &= label_shares_are_enough(&shares[i]);
		}
	}
	for (size_t i = 0; i < count; i++)
		label_shares_assert(&shares[i], questions[i].what);
	return victim;
}

static bool is_found(const struct victim *victim, const char *source)
{
	const char *found = strstr(victim->agent_lines, "; found: ");

	return found && strstr(found, source);
}

/* --- what libraries publish --- */

static bool has_otel_work(const struct profile *profile, const label_sample *sample,
			  const void *context)
{
	(void)context;
	return profile_sample_has(profile, sample, "work_otel") ||
	       profile_sample_has(profile, sample, "work_both") ||
	       profile_sample_has(profile, sample, "warm_up");
}

static bool has_label_work(const struct profile *profile, const label_sample *sample,
			   const void *context)
{
	(void)context;
	return profile_sample_has(profile, sample, "work_labels") ||
	       profile_sample_has(profile, sample, "work_both");
}

static bool is_in_otel_span(const struct profile *profile, const label_sample *sample,
			    const void *context)
{
	const char *name = label_text(profile, sample, "span_name");
	const char *trace = label_text(profile, sample, "trace_id");
	const char *span = label_text(profile, sample, "span_id");

	(void)context;
	return name && trace && span && strcmp(name, "otel span") == 0 &&
	       strcmp(trace, "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf") == 0 &&
	       strcmp(span, "b0b1b2b3b4b5b6b7") == 0;
}

static bool has_custom_labels(const struct profile *profile, const label_sample *sample,
			      const void *context)
{
	const char *route = label_text(profile, sample, "route");
	const char *tenant = label_text(profile, sample, "tenant");

	(void)context;
	ck_assert_ptr_null(label_text(profile, sample, "secret"));
	return route && tenant && strcmp(route, "/cart") == 0 &&
	       strcmp(tenant, "acme") == 0;
}

static bool has_otel_attributes(const struct profile *profile, const label_sample *sample,
				const void *context)
{
	const char *route = label_text(profile, sample, "otel.route");
	const char *tenant = label_text(profile, sample, "otel.tenant");

	(void)context;
	ck_assert_ptr_null(label_text(profile, sample, "unasked"));
	return route && tenant && strcmp(route, "/cart") == 0 &&
	       strcmp(tenant, "acme") == 0;
}

/* What their keys are called is looked for when the first is met. */
static bool is_warm(const struct profile *profile, const label_sample *sample,
		    const void *context)
{
	(void)context;
	return !profile_sample_has(profile, sample, "warm_up");
}

static const struct label_rule attributes_rule = {is_warm, has_otel_work,
						  has_otel_attributes, NULL};
static const struct label_rule otel_rule = {NULL, has_otel_work, is_in_otel_span, NULL};
static const struct label_rule custom_labels_rule = {NULL, has_label_work,
						     has_custom_labels, NULL};

/* A program, and the library that it opens, if it is not "-". */
static const struct {
	const char *program, *library;
} writers[] = {
	{"span_writer_own", "-"},
	{"span_writer_linked", "-"},
	{"span_writer", "lib_span_writer.so"},
	{"span_writer", "lib_span_writer_descriptors.so"},
};
#define WRITERS (sizeof(writers) / sizeof(writers[0]))

static const char *library_of(int which, char library[PATH_MAX])
{
	if (strcmp(writers[which].library, "-") == 0)
		return "-";
	return victim_program_path(writers[which].library, library);
}

static struct victim *run_writer(int which, const char *const *settings)
{
	char library[PATH_MAX];

	return run(NAMES(writers[which].program, "300", library_of(which, library)),
		   settings);
}

/* One of its attributes never has a name. */
static void check_nameless_are_told(const struct victim *victim)
{
	struct profile *cpu = victim_read_profile(victim->profiles, "*.cpu.pb.gz");

	ck_assert(profile_has_comment(cpu, "samples with attributes of "
					   "otel_thread_ctx_v1 whose keys had no names"));
	profile_free(cpu);
}

START_TEST(what_libraries_publish_is_on_samples)
{
	static const struct question questions[QUESTIONS_MAX] = {
		{"*.cpu.pb.gz", &otel_rule, "otel, cpu"},
		{"*.heap.pb.gz", &otel_rule, "otel, heap"},
		{"*.cpu.pb.gz", &attributes_rule, "attributes, cpu"},
		{"*.heap.pb.gz", &attributes_rule, "attributes, heap"},
		{"*.cpu.pb.gz", &custom_labels_rule, "custom-labels, cpu"},
		{"*.heap.pb.gz", &custom_labels_rule, "custom-labels, heap"},
	};
	char library[PATH_MAX];
	struct victim *victim = run_and_ask(
		NAMES(writers[_i].program, "9000", library_of(_i, library)),
		NAMES("SPANPROF_CPU_HZ=1000", "SPANPROF_HEAP_RATE=1", "SPANPROF_SPANS=id",
		      "SPANPROF_RECORD_LABELS=tenant,route,nobody,otel.tenant,"
		      "otel.route"),
		questions, QUESTIONS_MAX);

	check_nameless_are_told(victim);
	ck_assert(is_found(victim, "otel"));
	ck_assert(is_found(victim, "custom-labels"));
	victim_free(victim);
}
END_TEST

static bool has_any(const struct profile *profile, const label_sample *sample,
		    const void *key)
{
	return label_text(profile, sample, key) != NULL;
}

/* Samples that have a label of that key. */
static int64_t count_labelled(const struct victim *victim, const char *key)
{
	const struct label_rule rule = {NULL, has_any, has_any, key};
	struct label_shares shares = {0};
	char path[PATH_MAX];

	label_shares_add(victim_profile(victim, 0, path), &rule, &shares);
	return shares.in;
}

START_TEST(sources_can_be_switched_off)
{
	struct victim *victim = run_writer(
		_i, NAMES("SPANPROF_CPU_HZ=1000", "SPANPROF_RECORD_LABELS=route",
			  "SPANPROF_SOURCES=-otel,-custom-labels,-thread-names"));

	ck_assert_int_eq(count_labelled(victim, "span_name"), 0);
	ck_assert_int_eq(count_labelled(victim, "route"), 0);
	ck_assert_int_eq(count_labelled(victim, "thread"), 0);
	ck_assert_int_eq(count_labelled(victim, "process_title"), 0);
	ck_assert(!is_found(victim, ""));
	victim_free(victim);
}
END_TEST

START_TEST(labels_are_not_kept_unless_asked_for)
{
	struct victim *victim = run_writer(_i, NAMES("SPANPROF_CPU_HZ=1000"));

	ck_assert_int_eq(count_labelled(victim, "route"), 0);
	ck_assert_int_eq(count_labelled(victim, "otel.route"), 0);
	ck_assert_int_gt(count_labelled(victim, "span_name"), 0);
	ck_assert_int_gt(count_labelled(victim, "thread"), 0);
	/* It has no name but that of its program, and no title. */
	ck_assert(!is_found(victim, "thread-names"));
	ck_assert(!is_found(victim, "process-title"));
	victim_free(victim);
}
END_TEST

START_TEST(labels_of_another_version_are_not_read)
{
	char library[PATH_MAX];
	struct victim *victim;
	int64_t samples;

	victim_program_path("lib_span_writer_later.so", library);
	victim = run(NAMES("span_writer", "2000", library),
		     NAMES("SPANPROF_CPU_HZ=1000", "SPANPROF_RECORD_LABELS=route"));
	samples = count_labelled(victim, "route");
	ck_assert_msg(samples == 0, "%lld samples", (long long)samples);
	ck_assert_int_gt(count_labelled(victim, "span_name"), 0);
	victim_free(victim);
}
END_TEST

START_TEST(broken_labels_do_no_harm)
{
	struct victim *victim = run(NAMES("span_writer_own", "1000", "-", "broken"),
				    NAMES("SPANPROF_CPU_HZ=1000", "SPANPROF_HEAP_RATE=1",
					  "SPANPROF_RECORD_LABELS=route,otel.route"));
	struct heap_profile *heap = heap_profile_of(victim, "heap");

	ck_assert_int_gt(count_labelled(victim, "thread"), 0);
	/* What can be read of them counts. */
	ck_assert_int_gt(count_labelled(victim, "otel.route"), 0);
	heap_profile_free(heap);
	victim_free(victim);
}
END_TEST

/* --- names, on programs as they come --- */

/* Perl names its process and thread by an assignment. */
#define PERL_PROGRAM                                                                     \
	"my @l = map { $_ * 7919 % 10007 } 1 .. 4000;\n"                                 \
	"sub cpu { (times)[0] + (times)[1] }\n"                                          \
	"sub turn { my ($n, $do) = @_; $0 = $n; my $e = cpu() + 0.25;\n"                 \
	"  $do->() while cpu() < $e }\n"                                                 \
	"my $end = cpu() + 6;\n"                                                         \
	"while (cpu() < $end) {\n"                                                       \
	"  turn('perl: sorting', sub {\n"                                                \
	"    my ($s) = sort { my $r = [$a, $b]; $r->[0] <=> $r->[1] } @l });\n"          \
	"  turn('perl: reading', sub {\n"                                                \
	"    for (1 .. 20000) { my $r = [$_, 1]; 'abcabd' =~ /(ab+d)/ } });\n"           \
	"}\n"

START_TEST(name_and_title_of_perl_are_on_samples)
{
	static const struct label_of_function title = {"Perl_pp_sort", "process_title",
						       "perl: sorting"};
	static const struct label_of_function thread = {"Perl_pp_sort", "thread",
							"perl: sorting"};
	const struct label_rule title_rule = {NULL, label_has_function, label_has_value,
					      &title};
	const struct label_rule thread_rule = {NULL, label_has_function, label_has_value,
					       &thread};
	const struct question questions[] = {
		{"*.cpu.pb.gz", &title_rule, "process-title, cpu"},
		{"*.heap.pb.gz", &title_rule, "process-title, heap"},
		{"*.cpu.pb.gz", &thread_rule, "thread-names, cpu"},
		{"*.heap.pb.gz", &thread_rule, "thread-names, heap"},
	};
	struct victim *victim;

	if (!real_program_has_commands(NAMES("perl")))
		return;
	victim = run_and_ask(NAMES("/usr/bin/perl", "-e", PERL_PROGRAM),
			     NAMES("SPANPROF_CPU_HZ=1000", "SPANPROF_HEAP_RATE=1",
				   "SPANPROF_SOURCES=process-title"),
			     questions, sizeof(questions) / sizeof(questions[0]));
	ck_assert(is_found(victim, "thread-names, process-title"));
	victim_free(victim);
}
END_TEST

static bool is_io_thread(const struct profile *profile, const label_sample *sample,
			 const void *context)
{
	(void)context;
	return profile_sample_has(profile, sample, "IOThreadMain");
}

static bool has_io_name(const struct profile *profile, const label_sample *sample,
			const void *context)
{
	const char *name = label_text(profile, sample, "thread");

	(void)context;
	return name && strncmp(name, "io_thd_", 7) == 0;
}

START_TEST(threads_of_redis_have_their_names)
{
	static const struct label_rule rule = {NULL, is_io_thread, has_io_name, NULL};
	static const struct question questions[] = {
		{"redis-server.*.cpu.pb.gz", &rule, "thread-names of redis, cpu"},
		{"redis-server.*.heap.pb.gz", &rule, "thread-names of redis, heap"},
	};
	struct victim *victim;

	if (!real_program_has_commands(
		    NAMES("redis-server", "redis-cli", "redis-benchmark")))
		return;
	victim = run_and_ask(
		NAMES("/bin/bash", "-c",
		      "preload=$LD_PRELOAD; unset LD_PRELOAD\n"
		      "LD_PRELOAD=$preload redis-server --port 0 --unixsocket "
		      "$PWD/s --save '' --dir $PWD --io-threads 3 "
		      "--io-threads-do-reads yes >log 2>&1 &\n"
		      "for i in $(seq 100); do redis-cli -s s ping >pong "
		      "2>/dev/null; grep -q PONG pong && break; sleep 0.1; done\n"
		      "end=$(($(date +%s) + 8))\n"
		      "while [ $(date +%s) -lt $end ]; do redis-benchmark -s s -t "
		      "set,get -n 20000 -r 10000 -q >>bench; done\n"
		      "redis-cli -s s shutdown nosave; wait $!"),
		NAMES("SPANPROF_CPU_HZ=1000", "SPANPROF_HEAP_RATE=1"), questions,
		sizeof(questions) / sizeof(questions[0]));
	victim_free(victim);
}
END_TEST

/* python3 does the one thing under the one name, the other under the other. */
#define PYTHON_TURNS                                                                     \
	"import ctypes, threading, time, zlib\n"                                         \
	"data = bytes(1 << 20)\n"                                                        \
	"def turn(work, seconds):\n"                                                     \
	"    end = time.process_time() + seconds\n"                                      \
	"    while time.process_time() < end: work(data)\n"

static const struct label_of_function crc32_thread = {"crc32_z", "thread", "crc32"};
static const struct label_of_function adler32_thread = {"adler32_z", "thread", "adler32"};

/* What the interpreter does between them goes on under either name. */
static bool is_of_either(const struct profile *profile, const label_sample *sample,
			 const void *context)
{
	(void)context;
	return profile_sample_has(profile, sample, "crc32_z") ||
	       profile_sample_has(profile, sample, "adler32_z");
}

START_TEST(thread_that_is_named_by_its_number_has_that_name_at_once)
{
	const struct label_rule rule = {is_of_either, label_has_function, label_has_value,
					&crc32_thread};
	struct victim *victim;

	if (!real_program_has_commands(NAMES("python3")))
		return;
	victim = run(NAMES("/usr/bin/python3", "-c",
			   PYTHON_TURNS
			   "name = ctypes.CDLL(None).pthread_setname_np\n"
			   "self = ctypes.c_ulong(threading.get_ident())\n"
			   "end = time.process_time() + 6\n"
			   "while time.process_time() < end:\n"
			   "    for work in (zlib.crc32, zlib.adler32):\n"
			   "        assert name(self, work.__name__.encode()) == 0\n"
			   "        turn(work, 0.1)\n"),
		     NAMES("SPANPROF_CPU_HZ=1000"));
	label_shares_check(victim, "*.cpu.pb.gz", &rule, "pthread_setname_np()");
	victim_free(victim);
}
END_TEST

/* By a system call that nobody sees, as any process may. */
START_TEST(thread_that_is_named_behind_our_back_has_that_name_soon)
{
	const struct label_rule rule = {is_of_either, label_has_function, label_has_value,
					&adler32_thread};
	struct victim *victim;

	if (!real_program_has_commands(NAMES("python3")))
		return;
	victim = run(NAMES("/usr/bin/python3", "-c",
			   PYTHON_TURNS
			   "turn(zlib.crc32, 3)\n"
			   "with open('/proc/self/comm', 'w') as f: f.write('adler32')\n"
			   "time.sleep(3)\n"
			   "turn(zlib.adler32, 3)\n"),
		     NAMES("SPANPROF_CPU_HZ=1000"));
	label_shares_check(victim, "*.cpu.pb.gz", &rule, "/proc/self/comm");
	victim_free(victim);
}
END_TEST

/* --- the environment --- */

static bool is_of_python(const struct profile *profile, const label_sample *sample,
			 const void *context)
{
	(void)context;
	return !profile_sample_has(profile, sample, "sqlite3_step");
}

static bool is_in_process_span(const struct profile *profile, const label_sample *sample,
			       const void *context)
{
	const char *name = label_text(profile, sample, "span_name");
	const char *trace = label_text(profile, sample, "trace_id");

	(void)context;
	/* Also of the spans within. */
	ck_assert(trace && strcmp(trace, "4bf92f3577b34da6a3ce929d0e0e4736") == 0);
	return name && strcmp(name, "shop") == 0;
}

START_TEST(environment_makes_a_span_around_the_process)
{
	static const struct label_rule rule = {NULL, is_of_python, is_in_process_span,
					       NULL};
	static const struct question questions[] = {
		{"*.cpu.pb.gz", &rule, "environment, cpu"},
		{"*.heap.pb.gz", &rule, "environment, heap"},
	};
	struct victim *victim;

	if (!real_program_has_commands(NAMES("python3")))
		return;
	victim = run_and_ask(
		NAMES("/usr/bin/python3", "-c",
		      "import sqlite3, time\n"
		      "c = sqlite3.connect(':memory:')\n"
		      /* Until the library is known stacks end there. */
		      "time.sleep(1)\n"
		      "c.execute('create table t(a, b)')\n"
		      "c.executemany('insert into t values(?, ?)', ((i, str(i)) for i in "
		      "range(20000)))\n"
		      "end = time.process_time() + 6\n"
		      "while time.process_time() < end:\n"
		      "    c.execute('select count(*) from t x, (select 1 union select "
		      "2) where b like \"%9%\"').fetchone()\n"
		      "    sum(i * i for i in range(60000))\n"),
		NAMES("SPANPROF_CPU_HZ=1000", "SPANPROF_HEAP_RATE=1",
		      "SPANPROF_SPANS=id,sqlite3_step", "SPANPROF_SPAN_CPU=off",
		      "OTEL_SERVICE_NAME=shop",
		      "TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
		      "01"),
		questions, sizeof(questions) / sizeof(questions[0]));
	ck_assert(is_found(victim, "environment"));
	victim_free(victim);
}
END_TEST

/* --- named functions --- */

START_TEST(memory_of_sqlite_statements_of_python_is_of_their_spans)
{
	static const struct label_of_function step = {"sqlite3_step", "span_name",
						      "sqlite3_step"};
	static const struct label_rule rule = {NULL, label_has_function, label_has_value,
					       &step};
	struct victim *victim;

	if (!real_program_has_commands(NAMES("python3")))
		return;
	victim = run(NAMES("/usr/bin/python3", "-c",
			   "import sqlite3, time\n"
			   "c = sqlite3.connect(':memory:')\n"
			   /* Until the library is known stacks end there. */
			   "time.sleep(1)\n"
			   "c.execute('create table t(a, b)')\n"
			   "c.executemany('insert into t values(?, ?)', ((i, 'x' * 200) "
			   "for i in range(20000)))\n"
			   "print(len([bytearray(1000) for i in range(20000)]))\n"),
		     NAMES("SPANPROF_HEAP_RATE=1", "SPANPROF_SPANS=sqlite3_step"));
	label_shares_check(victim, "*.heap.pb.gz", &rule, "sqlite3_step, heap");
	victim_free(victim);
}
END_TEST

/* --- the list --- */

static const char *const names[] = {"api",	     "environment", "otel",
				    "custom-labels", "functions",   "thread-names",
				    "process-title"};
#define SOURCE_NAMES (sizeof(names) / sizeof(names[0]))

START_TEST(wrong_source_is_told_with_the_nearest)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"busy", "10", NULL},
		.environment =
			(const char *const[]){"SPANPROF_SOURCES=otel,thread-name", NULL},
	};
	struct victim *victim = victim_run(&setup);
	const char *line = strstr(victim->agent_lines,
				  "SPANPROF_SOURCES: \"thread-name\" is unknown (did "
				  "you mean \"thread-names\"?); the program runs "
				  "unprofiled\n");

	victim_assert_success(victim);
	ck_assert_msg(line != NULL, "said: %s", victim->agent_lines);
	ck_assert_ptr_eq(strchr(victim->agent_lines, '\n'), strchr(line, '\n'));
	ck_assert_uint_eq(victim_count(victim->profiles, "*"), 0);
	victim_free(victim);
}
END_TEST

START_TEST(each_source_can_be_named)
{
	char setting[64];
	struct victim *victim;

	snprintf(setting, sizeof(setting), "SPANPROF_SOURCES=%s,-%s", names[_i],
		 names[(_i + 1) % (int)SOURCE_NAMES]);
	victim = run(NAMES("busy", "10"), NAMES(setting));
	ck_assert_uint_eq(victim_count(victim->profiles, "*.cpu.pb.gz"), 1);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, what_libraries_publish_is_on_samples, 0, WRITERS);
	tcase_add_loop_test(tcase, sources_can_be_switched_off, 0, WRITERS);
	tcase_add_loop_test(tcase, labels_are_not_kept_unless_asked_for, 0, WRITERS);
	tcase_add_test(tcase, labels_of_another_version_are_not_read);
	tcase_add_test(tcase, broken_labels_do_no_harm);
	tcase_add_test(tcase, name_and_title_of_perl_are_on_samples);
	tcase_add_test(tcase, threads_of_redis_have_their_names);
	tcase_add_test(tcase, thread_that_is_named_by_its_number_has_that_name_at_once);
	tcase_add_test(tcase, thread_that_is_named_behind_our_back_has_that_name_soon);
	tcase_add_test(tcase, environment_makes_a_span_around_the_process);
	tcase_add_test(tcase, memory_of_sqlite_statements_of_python_is_of_their_spans);
	tcase_add_test(tcase, wrong_source_is_told_with_the_nearest);
	tcase_add_loop_test(tcase, each_source_can_be_named, 0, SOURCE_NAMES);
}

int main(void)
{
	return victim_main("span_sources", add);
}
