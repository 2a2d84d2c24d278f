/*
 * A database and its client as they come: what the server's processes call themselves,
 * and the client's calls of its library as spans.
 */
#include "label_shares.h"
#include "real_program.h"
#include "victim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * postgres refuses to run as root: its own user then, in a folder of its own. What the
 * script does with the database comes between begin and end; $preload is the agent.
 */
#define SCRIPT_BEGIN                                                                     \
	"preload=$LD_PRELOAD; unset LD_PRELOAD\n"                                        \
	"chmod 711 .; mkdir pg; user=\n"                                                 \
	"if [ $(id -u) = 0 ]; then chown postgres pg $XDG_RUNTIME_DIR; user='setpriv "   \
	"--reuid=postgres --regid=postgres --clear-groups'; fi\n"                        \
	"mkdir -p $SPANPROF_OUT; chmod 777 $SPANPROF_OUT\n"                              \
	"cd pg; PATH=$(echo /usr/lib/postgresql/*/bin | cut -d' ' -f1):$PATH\n"          \
	"export PGHOST=$PWD PGUSER=tester PGDATABASE=postgres LC_ALL=C\n"                \
	"$user initdb -D data -U tester -A trust >log 2>&1 || exit 1\n"                  \
	"$user env $server postgres -D data -k $PWD -c listen_addresses= -c fsync=off "  \
	">log2 2>&1 &\n"                                                                 \
	"for i in $(seq 100); do psql -Atc 'select 1' >one 2>/dev/null && break; sleep " \
	"0.1; done\n"
#define SCRIPT_END "$user pg_ctl -D data -m fast stop >log5; wait $!\n"

static bool has_postgres(void)
{
	if (system("ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1") == 0 &&
	    (getuid() != 0 || system("id postgres >/dev/null 2>&1 && setpriv --version "
				     ">/dev/null 2>&1") == 0))
		return true;
	printf("no postgres: skipped\n");
	return false;
}

static struct victim *run(const char *script)
{
	struct victim_setup setup = {
		.argv = NAMES("/bin/bash", "-c", script),
		.environment = NAMES("SPANPROF_CPU_HZ=1000", "SPANPROF_HEAP_RATE=1"),
		.timeout_s = 180,
	};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	return victim;
}

static bool is_analyzing(const struct profile *profile, const label_sample *sample,
			 const void *context)
{
	(void)context;
	return profile_sample_has(profile, sample, "analyze_rel");
}

static bool is_titled(const struct profile *profile, const label_sample *sample,
		      const void *context)
{
	const char *title = label_text(profile, sample, "process_title");

	(void)context;
	return title && strstr(title, "tester postgres [local] ANALYZE");
}

START_TEST(titles_of_postgres_are_on_samples)
{
	static const struct label_rule rule = {NULL, is_analyzing, is_titled, NULL};
	struct victim *victim;

	if (!has_postgres())
		return;
	victim = run(
		"server=\"LD_PRELOAD=$LD_PRELOAD "
		"SPANPROF_SOURCES=process-title\"\n" SCRIPT_BEGIN
		"psql -qc 'create table t as select i as a, md5(i::text) as b from "
		"generate_series(1, 60000) i'\n"
		"for i in $(seq 30); do echo 'analyze t; analyze t; analyze t; select "
		"count(md5(b || a)) from t, generate_series(1, 2);'; done >work\n"
		"psql -qXf work >rows || exit 1\n" SCRIPT_END);
	label_shares_check(victim, "postgres.*.cpu.pb.gz", &rule,
			   "process-title of postgres, cpu");
	label_shares_check(victim, "postgres.*.heap.pb.gz", &rule,
			   "process-title of postgres, heap");
	victim_free(victim);
}
END_TEST

/* PQexec() itself is not in all of them: it ends in a jump to what waits for the result,
 * by PQgetResult(). Where it fetches in parts, psql calls that at no other place. */
static bool is_executing(const struct profile *profile, const label_sample *sample,
			 const void *context)
{
	(void)context;
	return profile_sample_has(profile, sample, "PQexec") ||
	       profile_sample_has(profile, sample, "PQsendQuery") ||
	       profile_sample_has(profile, sample, "PQgetResult");
}

static bool is_in_span(const struct profile *profile, const label_sample *sample,
		       const void *context)
{
	const char *name = label_text(profile, sample, "span_name");

	(void)context;
	return name && strcmp(name, "PQexec") == 0;
}

static bool has_statement(const struct profile *profile, const label_sample *sample,
			  const void *context)
{
	const char *statement = label_text(profile, sample, "db.statement");

	(void)context;
	return statement &&
	       strcmp(statement, "FETCH FORWARD 2000 FROM _psql_cursor") == 0;
}

START_TEST(queries_of_psql_are_spans)
{
	static const struct label_rule rule = {NULL, is_executing, is_in_span, NULL};
	static const struct label_rule statement_rule = {NULL, is_executing,
							 has_statement, NULL};
	struct victim *victim;

	if (!has_postgres())
		return;
	/* Rows are fetched in parts, each by one PQexec(), and written in between. */
	victim =
		run("server=\n" SCRIPT_BEGIN
		    "LD_PRELOAD=$preload SPANPROF_SPANS='PQexec*' SPANPROF_SPAN_CPU=off "
		    "SPANPROF_RECORD_LABELS=db.statement "
		    "psql -qXAt -v FETCH_COUNT=2000 -c 'select i, i, i, i, i, "
		    "i, i, i, i, i, i, i, i, i, i, i from generate_series(1, 9000000) i' "
		    ">rows || exit 1\n"
		    "wc -l <rows; rm rows\n" SCRIPT_END);
	ck_assert_ptr_nonnull(strstr(victim->output, "9000000"));
	label_shares_check(victim, "psql.*.cpu.pb.gz", &rule, "PQexec of psql, cpu");
	label_shares_check(victim, "psql.*.heap.pb.gz", &rule, "PQexec of psql, heap");
	label_shares_check(victim, "psql.*.cpu.pb.gz", &statement_rule,
			   "statements of psql, cpu");
	label_shares_check(victim, "psql.*.heap.pb.gz", &statement_rule,
			   "statements of psql, heap");
	ck_assert_ptr_nonnull(strstr(victim->agent_lines, "; found: functions"));
	ck_assert_uint_eq(victim_count(victim->profiles, "psql.*.spans.pb.gz"), 1);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, titles_of_postgres_are_on_samples);
	tcase_add_test(tcase, queries_of_psql_are_spans);
}

int main(void)
{
	return victim_main("span_postgres", add);
}
