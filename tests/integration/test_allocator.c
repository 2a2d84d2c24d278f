/*
 * SPANPROF_ALLOCATOR=jemalloc: programs run as without us, what the profile counts is
 * what it counts with the system's allocator, and where jemalloc cannot serve, one line
 * says so.
 */
#include "heap_profile.h"
#include "real_program.h"
#include "victim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define JEMALLOC "SPANPROF_ALLOCATOR=jemalloc"
#define SYSTEM "SPANPROF_ALLOCATOR=system"
#define EVERY_BLOCK "SPANPROF_HEAP_RATE=1"
#define DEFAULT_RATE "SPANPROF_HEAP_RATE=524288"
/* How the agent ends the line that refuses. */
#define REFUSED "; its allocator stays\n"
/* What 100 bytes take of a jemalloc; of the C library's allocator it is 104. */
#define JEMALLOC_USABLE 112
#define SYSTEM_USABLE 104

static struct victim *run(const char *const *argv, const char *setting, const char *rate,
			  void (*before_exec)(void *))
{
	struct victim_setup setup = {
		.argv = argv,
		.environment = (const char *const[]){setting, rate, NULL},
		.before_exec = before_exec,
	};

	return victim_run(&setup);
}

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static size_t count_lines(const char *text, const char *part)
{
	size_t lines = 0;

	for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
		const char *end = strchr(line, '\n');
		const char *found = strstr(line, part);

		lines += found && found < end;
	}
	return lines;
}

START_TEST(blocks_are_aligned_as_without_us)
{
	struct victim *system =
		run(ARGV("allocator", "align"), SYSTEM, DEFAULT_RATE, NULL);
	struct victim *jemalloc =
		run(ARGV("allocator", "align"), JEMALLOC, DEFAULT_RATE, NULL);

	victim_assert_success(system);
	victim_assert_success(jemalloc);
	ck_assert_int_eq(victim_number(system->output, "usable"), SYSTEM_USABLE);
	ck_assert_int_eq(victim_number(jemalloc->output, "usable"), JEMALLOC_USABLE);
	victim_assert_clean(jemalloc);
	victim_free(system);
	victim_free(jemalloc);
}
END_TEST

static const char *const rates[] = {DEFAULT_RATE, "SPANPROF_HEAP_RATE=1000", EVERY_BLOCK};
#define RATES ((int)(sizeof(rates) / sizeof(rates[0])))

START_TEST(family_is_as_without_us)
{
	struct victim *bare = victim_run_bare("heap_family", "");
	struct victim *jemalloc = run(ARGV("heap_family", ""), JEMALLOC, rates[_i], NULL);

	victim_assert_success(bare);
	victim_assert_same(bare, jemalloc);
	victim_assert_clean(jemalloc);
	victim_free(bare);
	victim_free(jemalloc);
}
END_TEST

static const char *const modes[][2] = {
	{"foreign", ""}, {"forks", "30"}, {"threads", "400"}, {"reuse", "3000"},
	{"ends", "400"}, {"idle", ""},	  {"late", "1000"},
};

START_TEST(place_is_as_without_us)
{
	const char *const *argv = ARGV("allocator", modes[_i][0], modes[_i][1]);
	struct victim *bare = victim_run_bare("allocator", modes[_i][0], modes[_i][1]);

	victim_assert_success(bare);
	for (int i = 0; i < RATES; i++) {
		struct victim *jemalloc = run(argv, JEMALLOC, rates[i], NULL);

		victim_assert_same(bare, jemalloc);
		victim_assert_clean(jemalloc);
		victim_free(jemalloc);
	}
	victim_free(bare);
}
END_TEST

static const char *const ways[] = {"fork",	 "fork_at_once", "_Fork",  "vfork",
				   "clone_exit", "spawn",	 "system", "daemon"};

START_TEST(child_is_born_as_without_us)
{
	struct victim *victim =
		run(ARGV("forker", ways[_i], "30", "4"), JEMALLOC, DEFAULT_RATE, NULL);

	victim_assert_success(victim);
	ck_assert_uint_eq(count_lines(victim->agent_lines, "cannot"), 0);
	victim_free(victim);
}
END_TEST

/* What ends a child there writes its profiles, with jemalloc's locks held. */
START_TEST(handler_that_interrupted_jemalloc_ends_the_child)
{
	const char *const *argv = ARGV("fork_corners", "exit_in_malloc");
	struct victim *bare = victim_run_bare("fork_corners", "exit_in_malloc");
	struct victim *jemalloc = run(argv, JEMALLOC, DEFAULT_RATE, NULL);

	victim_assert_success(bare);
	victim_assert_same(bare, jemalloc);
	victim_assert_clean(jemalloc);
	victim_free(bare);
	victim_free(jemalloc);
}
END_TEST

/* Calls of the program that the profile counts beyond those the program tells of:
 * what the C library allocates for itself. */
static double calls_beyond(const struct victim *victim)
{
	struct heap_profile *profile = heap_profile_of(victim, "heap");
	double beyond = heap_profile_account(profile).allocations -
			(double)victim_number(victim->output, "allocations");

	heap_profile_free(profile);
	return beyond;
}

static const char *const sizes[] = {"100", "1000", "100000"};

/* Threads that come then make do without jemalloc, which would crash. */
START_TEST(no_memory_is_survived_and_counted)
{
	const char *const *argv = ARGV("allocator", "short", sizes[_i]);
	struct victim *system = run(argv, SYSTEM, DEFAULT_RATE, NULL);
	struct victim *jemalloc = run(argv, JEMALLOC, DEFAULT_RATE, NULL);

	victim_assert_success(system);
	victim_assert_success(jemalloc);
	ck_assert_msg(victim_number(jemalloc->output, "allocations") >
			      victim_number(system->output, "allocations") / 2,
		      "%s and %s", jemalloc->output, system->output);
	/* A call may be counted before it fails. */
	ck_assert_msg(
		calls_beyond(jemalloc) - calls_beyond(system) <=
				(double)victim_number(jemalloc->output, "failures") &&
			calls_beyond(system) - calls_beyond(jemalloc) <=
				(double)victim_number(system->output, "failures"),
		"%.0f of %s and %.0f of %s", calls_beyond(jemalloc), jemalloc->output,
		calls_beyond(system), system->output);
	victim_assert_clean(jemalloc);
	victim_free(system);
	victim_free(jemalloc);
}
END_TEST

static struct heap_account account_of(const char *setting, const char *rate)
{
	struct victim *victim = run(ARGV("allocator", "align"), setting, rate, NULL);
	struct heap_profile *profile = heap_profile_of(victim, "heap");
	struct heap_account account = heap_profile_account(profile);

	victim_assert_success(victim);
	heap_profile_free(profile);
	victim_free(victim);
	return account;
}

START_TEST(counts_are_those_of_the_system_allocator)
{
	struct heap_account system = account_of(SYSTEM, rates[_i]);
	struct heap_account jemalloc = account_of(JEMALLOC, rates[_i]);

	ck_assert_msg(system.bytes == jemalloc.bytes, "%.0f and %.0f bytes", system.bytes,
		      jemalloc.bytes);
	ck_assert_msg(system.allocations == jemalloc.allocations,
		      "%.0f and %.0f allocations", system.allocations,
		      jemalloc.allocations);
	ck_assert_msg(system.frees == jemalloc.frees, "%.0f and %.0f frees", system.frees,
		      jemalloc.frees);
	/* Where every block is sampled there is nothing to estimate. */
	if (strcmp(rates[_i], EVERY_BLOCK) == 0)
		ck_assert_msg(jemalloc.estimate_bytes == jemalloc.bytes,
			      "%.0f of %.0f bytes", jemalloc.estimate_bytes,
			      jemalloc.bytes);
}
END_TEST

/* Of blocks that lie between others, sampled and not, on many threads. */
START_TEST(every_sampled_block_is_seen_to_go)
{
	struct victim *victim = run(ARGV("heap_crowd", "20"), JEMALLOC, rates[_i], NULL);
	struct heap_profile *profile = heap_profile_of(victim, "heap");
	struct heap_sums values = heap_profile_with(profile, "crowd_member");

	victim_assert_success(victim);
	victim_assert_clean(victim);
	ck_assert_int_eq(values.inuse_objects, 0);
	ck_assert_int_eq(values.inuse_bytes, 0);
	/* At the default rate there may be no sample. */
	if (strcmp(rates[_i], DEFAULT_RATE) != 0)
		ck_assert_int_gt(values.alloc_objects, 100);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* Of blocks whose memory was that of smaller and larger ones a moment ago, on other
 * threads: none of them is told by what was noted of its address before. */
START_TEST(handed_blocks_are_seen_to_go)
{
	struct victim *victim =
		run(ARGV("heap_handed", "20000"), JEMALLOC, rates[_i], NULL);
	struct heap_profile *profile = heap_profile_of(victim, "heap");
	struct heap_sums fresh = heap_profile_with(profile, "handed_new");
	struct heap_sums resized = heap_profile_with(profile, "handed_resized");

	victim_assert_success(victim);
	victim_assert_clean(victim);
	ck_assert_int_eq(fresh.inuse_objects, 0);
	ck_assert_int_eq(resized.inuse_objects, 0);
	ck_assert_int_gt(fresh.alloc_objects, 1000);
	ck_assert_int_gt(resized.alloc_objects, 1000);
	ck_assert(heap_profile_loss(profile, HEAP_LOSS_STALE) == 0);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* --- where it cannot serve --- */

static void limit_address_space(void *unused)
{
	const struct rlimit limit = {1 << 30, 1 << 30};

	(void)unused;
	setrlimit(RLIMIT_AS, &limit);
}

static void check_refused(const struct victim *bare, const struct victim *victim,
			  const char *reason)
{
	victim_assert_same(bare, victim);
	ck_assert_msg(count_lines(victim->agent_lines, REFUSED) == 1 &&
			      strstr(victim->agent_lines, reason),
		      "said: %s", victim->agent_lines);
}

START_TEST(limited_address_space_refuses)
{
	struct victim *bare = victim_run_bare("heap_family", "");
	struct victim *victim =
		run(ARGV("heap_family", ""), JEMALLOC, DEFAULT_RATE, limit_address_space);
	struct victim *usable = run(ARGV("allocator", "align"), JEMALLOC, DEFAULT_RATE,
				    limit_address_space);

	check_refused(bare, victim, "ulimit -v");
	ck_assert_int_eq(victim_number(usable->output, "usable"), SYSTEM_USABLE);
	victim_free(bare);
	victim_free(victim);
	victim_free(usable);
}
END_TEST

START_TEST(allocator_of_the_program_refuses)
{
	struct victim *bare = victim_run_bare("heap_own");
	struct victim *victim = run(ARGV("heap_own"), JEMALLOC, DEFAULT_RATE, NULL);

	check_refused(bare, victim, "it has an allocator of its own");
	victim_free(bare);
	victim_free(victim);
}
END_TEST

START_TEST(allocator_of_a_library_refuses)
{
	struct victim *bare, *victim;

	if (!victim_has_command("redis-server"))
		return;
	bare = victim_run_bare("redis-server", "--version");
	victim = run(ARGV("redis-server", "--version"), JEMALLOC, DEFAULT_RATE, NULL);
	/* Debian's redis-server is linked with a jemalloc; others may not be. */
	if (strstr(bare->output, "malloc=jemalloc"))
		check_refused(bare, victim, "a library brings another allocator");
	victim_free(bare);
	victim_free(victim);
}
END_TEST

/* Whoever stands in front of free() alone would never see it called. */
START_TEST(tracer_of_free_refuses)
{
	char tracer[PATH_MAX], bare_preload[PATH_MAX + 16], preload[2 * PATH_MAX + 32];
	struct victim_setup setup = {
		.argv = ARGV("heap_family", ""),
		.environment = (const char *const[]){bare_preload, NULL},
		.is_bare = true,
	};
	struct victim *bare, *victim;

	victim_program_path("lib_heap_tracer_free.so", tracer);
	snprintf(bare_preload, sizeof(bare_preload), "LD_PRELOAD=%s", tracer);
	bare = victim_run(&setup);
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s:%s", victim_agent_path(),
		 tracer);
	setup.environment = (const char *const[]){preload, JEMALLOC, NULL};
	setup.is_bare = false;
	setup.is_agent_preloaded_by_caller = true;
	victim = victim_run(&setup);
	check_refused(bare, victim, "a library brings another allocator");
	victim_free(bare);
	victim_free(victim);
}
END_TEST

/* QEMU 7 takes 25 GB for the addresses that jemalloc reserves. */
START_TEST(emulator_is_not_made_to_take_memory)
{
	char program[PATH_MAX], preload[PATH_MAX + 16];
	const struct victim_setup setup = {
		.argv = ARGV("qemu-x86_64", "-E", preload, "-E", JEMALLOC, program,
			     "align"),
		.environment = (const char *const[]){DEFAULT_RATE, NULL},
		.timeout_s = 20,
		.is_bare = true,
	};
	struct victim *victim;

	if (!victim_has_command("qemu-x86_64"))
		return;
	victim_program_path("allocator", program);
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", victim_agent_path());
	victim = victim_run(&setup);
	victim_assert_success(victim);
	/* Others may have no such records; then jemalloc serves. */
	if (victim_number(victim->output, "usable") == SYSTEM_USABLE)
		ck_assert_uint_eq(count_lines(victim->agent_lines, REFUSED), 1);
	victim_free(victim);
}
END_TEST

static const char *const silent[] = {
	"SPANPROF=off,allocator=jemalloc",
	"SPANPROF=allocator=system",
	"SPANPROF_ALLOCATOR=",
};

START_TEST(nothing_is_served_or_said_unasked)
{
	struct victim *victim =
		run(ARGV("allocator", "align"), silent[_i], "SPANPROF_QUIET=yes", NULL);

	victim_assert_success(victim);
	ck_assert_int_eq(victim_number(victim->output, "usable"), SYSTEM_USABLE);
	ck_assert_str_eq(victim->agent_lines, "");
	victim_free(victim);
}
END_TEST

/* An allocator is asked for apart from profiles; a mistake elsewhere undoes both. */
static const struct {
	const char *setting, *other;
	int usable;
} combined[] = {
	{"SPANPROF=heap,allocator=jemalloc", "A=", JEMALLOC_USABLE},
	{"SPANPROF=cpu=no,heap=no,allocator=jemalloc", "A=", JEMALLOC_USABLE},
	{JEMALLOC, "SPANPROF=allocator=system", JEMALLOC_USABLE},
	{JEMALLOC, "SPANPROF_CPU_HZ=many", SYSTEM_USABLE},
	/* What another jemalloc is told is not for ours, nor does ours complain. */
	{JEMALLOC, "MALLOC_CONF=no_such_option:1,narenas:0", JEMALLOC_USABLE},
};

START_TEST(option_is_read_with_the_others)
{
	struct victim *victim = run(ARGV("allocator", "align"), combined[_i].setting,
				    combined[_i].other, NULL);

	victim_assert_success(victim);
	ck_assert_int_eq(victim_number(victim->output, "usable"), combined[_i].usable);
	ck_assert_str_eq(victim->errors, "");
	victim_free(victim);
}
END_TEST

/* --- real programs --- */

static const struct {
	const char *command;
	const char *script;
	const char *pattern; /* of the profiles of which one holds much */
	double bytes_min;
} programs[] = {
	{"python3",
	 "/usr/bin/python3 -c 'import json, threading\n"
	 "lengths = []\n"
	 "def work(): lengths.append(len(json.dumps([str(i) * 20 for i in "
	 "range(200000)])))\n"
	 "ts = [threading.Thread(target=work) for i in range(3)]\n"
	 "for t in ts: t.start()\n"
	 "for t in ts: t.join()\n"
	 "print(lengths)'",
	 "python3*.heap.pb.gz", 50e6},
	{"perl",
	 "perl -e 'my %h; $h{$_} = $_ x 10 for 1 .. 300000; print scalar(keys %h)'",
	 "perl*.heap.pb.gz", 20e6},
	{"sqlite3",
	 "sqlite3 :memory: 'create table t(a); with recursive c(x) as (select 1 union "
	 "all select x + 1 from c where x < 200000) insert into t select x || x from c; "
	 "create index i on t(a); select count(*), sum(a) from t;'",
	 "sqlite3*.heap.pb.gz", 5e6},
	{"g++",
	 "echo '#include <map>\n#include <regex>\nint main() { std::map<int, "
	 "std::regex> m; return m.size(); }' >a.cc && g++ -O1 -c a.cc && nm a.o | wc -l",
	 "cc1plus*.heap.pb.gz", 20e6},
	{"node",
	 "node -e 'let a = []; for (let i = 0; i < 3e5; i++) a.push({i, s: \"x\" + i}); "
	 "console.log(JSON.stringify(a).length)'",
	 "node*.heap.pb.gz", 1e6},
	{"java", "java -version", "java*.heap.pb.gz", 1e6},
};

/* Within three standard errors of what was counted, for each process. */
static void check_estimates(const struct victim *victim, const char *pattern,
			    double bytes_min)
{
	struct victim_files files;
	double most_bytes = 0;

	victim_list(victim->profiles, pattern, &files);
	ck_assert_uint_ge(files.count, 1);
	for (size_t i = 0; i < files.count; i++) {
		struct heap_profile *profile = heap_profile_read(files.paths[i], "heap");
		struct heap_account account = heap_profile_account(profile);
		double off_bytes = account.estimate_bytes - account.bytes;

		if (account.bytes > most_bytes)
			most_bytes = account.bytes;
		if (off_bytes < 0)
			off_bytes = -off_bytes;
		ck_assert_msg(off_bytes <= 4 * account.standard_error_bytes + 1,
			      "%s: %.0f instead of %.0f bytes, standard error %.0f",
			      files.paths[i], account.estimate_bytes, account.bytes,
			      account.standard_error_bytes);
		heap_profile_free(profile);
	}
	ck_assert_msg(most_bytes >= bytes_min, "%s: %.0f bytes at most", pattern,
		      most_bytes);
	victim_files_free(&files);
}

START_TEST(real_program_is_as_without_us)
{
	struct victim *victim;
	char *script;

	if (!real_program_has_commands(NAMES(programs[_i].command)))
		return;
	if (asprintf(&script,
		     "export " JEMALLOC " SPANPROF_HEAP_RATE=32768 SPANPROF_VERBOSE=yes\n"
		     "%s",
		     programs[_i].script) < 0)
		ck_abort();
	victim = real_program_compare(script);
	ck_assert_uint_ge(count_lines(victim->agent_lines, "jemalloc serves"), 1);
	check_estimates(victim, programs[_i].pattern, programs[_i].bytes_min);
	free(script);
	victim_free(victim);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static void add(TCase *tcase)
{
	tcase_add_test(tcase, blocks_are_aligned_as_without_us);
	tcase_add_loop_test(tcase, family_is_as_without_us, 0, RATES);
	tcase_add_loop_test(tcase, place_is_as_without_us, 0, COUNT(modes));
	tcase_add_loop_test(tcase, child_is_born_as_without_us, 0, COUNT(ways));
	tcase_add_test(tcase, handler_that_interrupted_jemalloc_ends_the_child);
	tcase_add_loop_test(tcase, no_memory_is_survived_and_counted, 0, COUNT(sizes));
	tcase_add_loop_test(tcase, counts_are_those_of_the_system_allocator, 0, RATES);
	tcase_add_loop_test(tcase, every_sampled_block_is_seen_to_go, 0, RATES);
	tcase_add_loop_test(tcase, handed_blocks_are_seen_to_go, 0, RATES);
	tcase_add_test(tcase, limited_address_space_refuses);
	tcase_add_test(tcase, allocator_of_the_program_refuses);
	tcase_add_test(tcase, allocator_of_a_library_refuses);
	tcase_add_test(tcase, tracer_of_free_refuses);
	tcase_add_test(tcase, emulator_is_not_made_to_take_memory);
	tcase_add_loop_test(tcase, nothing_is_served_or_said_unasked, 0, COUNT(silent));
	tcase_add_loop_test(tcase, option_is_read_with_the_others, 0, COUNT(combined));
	tcase_add_loop_test(tcase, real_program_is_as_without_us, 0, COUNT(programs));
}

int main(void)
{
	return victim_main("allocator", add);
}
