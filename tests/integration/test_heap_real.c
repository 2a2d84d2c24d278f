/*
 * Real programs with heap profiles: they run as without us, and the total of each
 * profile is what was counted exactly: to the byte when every block is sampled, else
 * within three of the standard errors that the profile itself tells.
 */
#include "heap_profile.h"
#include "real_program.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The client runs without the agent: LD_PRELOAD is taken away once the server runs. */
#define WITHOUT_AGENT "preload=$LD_PRELOAD; unset LD_PRELOAD\n"

/* Sums over all processes of a run. */
struct run {
	double exact_bytes, estimate_bytes, variance;
	double largest_exact_bytes;
	int profiles;
};

static bool is_to_one(double value, double other)
{
	return fabs(value - other) <= 1;
}

static void add_profile(struct run *run, const char *path, bool is_every_block)
{
	struct heap_profile *profile = heap_profile_read(path, "heap");
	struct heap_account account = heap_profile_account(profile);
	struct heap_sums total = heap_profile_total(profile);

	run->profiles++;
	run->exact_bytes += account.bytes;
	run->estimate_bytes += account.estimate_bytes;
	run->variance += account.standard_error_bytes * account.standard_error_bytes;
	run->largest_exact_bytes = fmax(run->largest_exact_bytes, account.bytes);
	ck_assert_msg(is_to_one((double)total.alloc_bytes, account.estimate_bytes),
		      "%s: lines add up to %lld bytes, it tells %.0f", path,
		      (long long)total.alloc_bytes, account.estimate_bytes);
	ck_assert_int_le(total.inuse_bytes, total.alloc_bytes);
	if (is_every_block && (account.estimate_bytes != account.bytes ||
			       (double)total.alloc_objects != account.allocations)) {
		heap_profile_show(profile);
		ck_abort_msg("%s: %.0f bytes of %.0f, %lld objects of %.0f", path,
			     account.estimate_bytes, account.bytes,
			     (long long)total.alloc_objects, account.allocations);
	}
	heap_profile_free(profile);
}

static struct run judge(const struct victim *victim, const char *pattern, size_t count,
			bool is_every_block)
{
	struct run run = {0};
	struct victim_files files;

	victim_list(victim->profiles, pattern, &files);
	ck_assert_msg(files.count >= count, "%zu profiles %s; the agent said: %s",
		      files.count, pattern, victim->agent_lines);
	for (size_t i = 0; i < files.count; i++)
		add_profile(&run, files.paths[i], is_every_block);
	printf("%s: %d profiles, %.1f MB, estimate %.4f of it, standard error %.4f\n",
	       pattern, run.profiles, run.exact_bytes / 1e6,
	       run.estimate_bytes / run.exact_bytes,
	       sqrt(run.variance) / run.exact_bytes);
	victim_files_free(&files);
	return run;
}

static double distance(const struct run *run)
{
	double bytes = run->estimate_bytes - run->exact_bytes;

	return bytes == 0 ? 0 : fabs(bytes) / sqrt(run->variance);
}

/*
 * Beyond three standard errors is one run in 370 that has nothing wrong with it: such
 * a one is repeated, and two of them are no chance.
 */
static void check_rate(const char *rate, const char *script, const char *pattern,
		       size_t count, double bytes_min)
{
	bool is_every_block = strcmp(rate, "1") == 0;
	struct run run;
	char *text;

	if (asprintf(&text, "export SPANPROF_HEAP_RATE=%s\n%s", rate, script) < 0)
		ck_abort();
	for (int tries = 0; tries < 2; tries++) {
		struct victim *victim = real_program_compare(text);

		run = judge(victim, pattern, count, is_every_block);
		victim_free(victim);
		if (distance(&run) <= 3)
			break;
	}
	free(text);
	ck_assert_msg(distance(&run) <= 3, "%s: %.2f standard errors away", pattern,
		      distance(&run));
	/* The work was seen, not only the start. */
	ck_assert_msg(run.largest_exact_bytes >= bytes_min, "%s: only %.0f bytes",
		      pattern, run.largest_exact_bytes);
}

/* The last only where a run is short: there is more to be seen of a bias. */
static const char *const rates[] = {"524288", "1", "16384"};
#define SERVER_RATES 2
#define TOOL_RATES 3

START_TEST(redis_allocates_as_counted)
{
	if (!real_program_has_commands(
		    NAMES("redis-server", "redis-cli", "redis-benchmark")))
		return;
	check_rate(
		rates[_i],
		WITHOUT_AGENT
		"LD_PRELOAD=$preload redis-server --port 0 --unixsocket $PWD/s --save "
		"'' --dir $PWD >log 2>&1 &\n"
		"for i in $(seq 100); do redis-cli -s s ping >pong 2>/dev/null; grep "
		"-q PONG pong && break; sleep 0.1; done\n"
		"redis-benchmark -s s -t set,lpush -P 16 -n 100000 -r 10000 -q >bench\n"
		"redis-cli -s s eval 'for i = 1, 50000 do redis.call(\"set\", \"k\" .. "
		"i, i) end return redis.call(\"get\", \"k50000\")' 0\n"
		"redis-cli -s s set big $(head -c 20000 /dev/zero | tr '\\0' x)\n"
		"redis-cli -s s bgsave; while redis-cli -s s info persistence | grep -q "
		"bgsave_in_progress:1; do sleep 0.1; done\n"
		"redis-cli -s s llen mylist\n"
		"redis-cli -s s shutdown nosave; wait $!; echo $?",
		"redis-server*.heap.pb.gz", 1, 10e6);
}
END_TEST

START_TEST(nginx_allocates_as_counted)
{
	if (!real_program_has_commands(NAMES("nginx", "curl")))
		return;
	check_rate(
		rates[_i],
		WITHOUT_AGENT
		"mkdir -p w logs; chmod 755 . w; seq 1 20000 >w/numbers\n"
		"cat >c <<'EOF'\n"
		"daemon off; worker_processes 2; pid nginx.pid; error_log logs/error;\n"
		"events { worker_connections 64; }\n"
		"http { access_log off; client_body_temp_path b; proxy_temp_path p;\n"
		" fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; gzip on;\n"
		" gzip_types *; gzip_comp_level 1;\n"
		" server { listen unix:s.sock; root w; } }\n"
		"EOF\n"
		"LD_PRELOAD=$preload nginx -p $PWD -c $PWD/c >log 2>&1 &\n"
		"for i in $(seq 100); do [ -S s.sock ] && break; sleep 0.1; done\n"
		"for i in $(seq 100); do curl -s --compressed --unix-socket s.sock "
		"http://x/numbers; done | cksum\n"
		"curl -s -o /dev/null -w '%{http_code}\\n' --unix-socket s.sock "
		"http://x/none\n"
		"kill -QUIT $!; wait $!; echo $?",
		"nginx*.heap.pb.gz", 3, 10e6);
}
END_TEST

/* postgres refuses to run as root: its own user then, in a folder of its own. */
START_TEST(postgres_allocates_as_counted)
{
	if (system("ls /usr/lib/postgresql/*/bin/pgbench >/dev/null 2>&1") != 0 ||
	    (getuid() == 0 && system("id postgres >/dev/null 2>&1 && setpriv --version "
				     ">/dev/null 2>&1") != 0)) {
		printf("no postgres: skipped\n");
		return;
	}
	check_rate(
		rates[_i],
		WITHOUT_AGENT
		"chmod 711 .; mkdir pg; user=\n"
		"if [ $(id -u) = 0 ]; then chown postgres pg $XDG_RUNTIME_DIR; "
		"user='setpriv --reuid=postgres --regid=postgres --clear-groups'; fi\n"
		"cd pg; PATH=$(echo /usr/lib/postgresql/*/bin | cut -d' ' -f1):$PATH\n"
		"export PGHOST=$PWD PGUSER=tester PGDATABASE=postgres LC_ALL=C\n"
		"$user env LD_PRELOAD=$preload initdb -D data -U tester -A trust >log "
		"2>&1; echo $?\n"
		"$user env LD_PRELOAD=$preload postgres -D data -k $PWD -c "
		"listen_addresses= -c fsync=off >log2 2>&1 &\n"
		"for i in $(seq 100); do psql -Atc 'select 1' >one 2>/dev/null && break; "
		"sleep 0.1; done; cat one\n"
		"pgbench -i -q -s 1 >log3 2>&1; echo $?\n"
		"pgbench -c 4 -j 2 -t 100 >log4 2>&1; echo $?\n"
		"psql -Atc 'select count(*), sum(aid) from pgbench_accounts' -c 'select "
		"md5(string_agg(i::text, chr(44))) from generate_series(1, 100000) i' "
		"2>&1\n"
		"$user pg_ctl -D data -m fast stop >log5; wait $!; echo $?; grep -c "
		"PANIC log2; true",
		"postgres.*.heap.pb.gz", 8, 1e6);
}
END_TEST

START_TEST(python_allocates_as_counted)
{
	if (!real_program_has_commands(NAMES("python3")))
		return;
	check_rate(
		rates[_i],
		"export PYTHONMALLOC=malloc\n"
		"/usr/bin/python3 -c \"\n"
		"import json, threading\n"
		"def work(n):\n"
		"    d = {str(i): [i, i * 2, {'k': 'v' * (i % 10)}] for i in range(n)}\n"
		"    s = json.dumps(d, sort_keys=True)\n"
		"    return len(s), sum(len(x) for x in json.loads(s))\n"
		"r = []\n"
		"ts = [threading.Thread(target=lambda: r.append(work(2000))) for _ in "
		"range(3)]\n"
		"[t.start() for t in ts]; [t.join() for t in ts]\n"
		"print(sorted(r), work(5000))\"",
		"python3*.heap.pb.gz", 1, 10e6);
}
END_TEST

START_TEST(node_allocates_as_counted)
{
	if (!real_program_has_commands(NAMES("node")))
		return;
	check_rate(rates[_i],
		   "cat >t.js <<'EOF'\n"
		   "const { Worker, isMainThread, parentPort } = "
		   "require('worker_threads');\n"
		   "function work(n) { let o = {}; for (let i = 0; i < n; i++) "
		   "o['k' + i % 5000] = (o['k' + i % 5000] || 0) + i % 7;\n"
		   "  return JSON.stringify(o).length; }\n"
		   "if (isMainThread) {\n"
		   "  const w = new Worker(__filename);\n"
		   "  w.on('message', m => { console.log('worker', m); });\n"
		   "  w.on('exit', () => {\n"
		   "    let n = 0; for (let i = 0; i < 300; i++) n += "
		   "Buffer.alloc(100000 + i, 'abc').length;\n"
		   "    console.log(n, "
		   "require('zlib').gzipSync(Buffer.alloc(500000)).length > 100); });\n"
		   "} else parentPort.postMessage(work(100000));\n"
		   "EOF\n"
		   "node t.js; echo $?",
		   "node*.heap.pb.gz", 1, 30e6);
}
END_TEST

START_TEST(java_allocates_as_counted)
{
	if (!real_program_has_commands(NAMES("java")))
		return;
	/* As much of the virtual machine's own memory as that takes. */
	check_rate(rates[_i],
		   "java -Xmx64m --list-modules | cksum; java -Xmx64m Nothing; echo $?",
		   "java*.heap.pb.gz", 1, 1e6);
}
END_TEST

START_TEST(compiler_allocates_as_counted)
{
	if (!real_program_has_commands(NAMES("g++", "as", "ld")))
		return;
	check_rate(rates[_i],
		   "cat >t.cc <<'EOF'\n"
		   "#include <algorithm>\n#include <iostream>\n#include <map>\n"
		   "int main() { std::map<std::string, int> m;\n"
		   "  for (int i = 0; i < 1000; i++) m[std::to_string(i)] = i;\n"
		   "  std::cout << m.size() << '\\n'; return 3; }\n"
		   "EOF\n"
		   "g++ -O1 -frandom-seed=1 -Wl,--build-id=none t.cc -o t && cksum t && "
		   "./t; echo $?",
		   /* Not of the shell, which read no rate. */
		   "[!b]*.heap.pb.gz", 6, 10e6);
}
END_TEST

START_TEST(sqlite_allocates_as_counted)
{
	if (!real_program_has_commands(NAMES("sqlite3")))
		return;
	check_rate(
		rates[_i],
		"sqlite3 test.db \"create table t (a integer primary key, b text); "
		"with recursive n(i) as (select 1 union all select i + 1 from n where i "
		"< 50000) insert into t select i, hex(i * 7919) from n; create index tb "
		"on t (b); select count(*), max(b), sum(length(b)) from t where b like "
		"'3%'; select b, a from t order by b desc limit 5;\"",
		"sqlite3*.heap.pb.gz", 1, 10e6);
}
END_TEST

/* Each calls malloc(); redis-server's symbol tables have that in an unusual place. */
static const char *const covered[] = {"redis-server", "sqlite3", "git", "xz"};

START_TEST(coverage_is_not_doubted)
{
	struct heap_profile *profile;
	char pattern[64], script[64];
	struct victim_files files;
	struct victim *victim;

	if (!real_program_has_commands(NAMES(covered[_i])))
		return;
	snprintf(script, sizeof(script), "%s --version", covered[_i]);
	snprintf(pattern, sizeof(pattern), "%s.*.heap.pb.gz", covered[_i]);
	victim = real_program_compare(script);
	victim_list(victim->profiles, pattern, &files);
	ck_assert_uint_eq(files.count, 1);
	profile = heap_profile_read(files.paths[0], "heap");
	ck_assert_ptr_null(heap_profile_comment(profile, "perhaps not covered"));
	ck_assert_ptr_null(heap_profile_comment(profile, "not covered"));
	heap_profile_free(profile);
	victim_files_free(&files);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, redis_allocates_as_counted, 0, SERVER_RATES);
	tcase_add_loop_test(tcase, nginx_allocates_as_counted, 0, SERVER_RATES);
	tcase_add_loop_test(tcase, postgres_allocates_as_counted, 0, SERVER_RATES);
	tcase_add_loop_test(tcase, python_allocates_as_counted, 0, TOOL_RATES);
	tcase_add_loop_test(tcase, node_allocates_as_counted, 0, TOOL_RATES);
	tcase_add_loop_test(tcase, java_allocates_as_counted, 0, SERVER_RATES);
	tcase_add_loop_test(tcase, compiler_allocates_as_counted, 0, TOOL_RATES);
	tcase_add_loop_test(tcase, sqlite_allocates_as_counted, 0, TOOL_RATES);
	tcase_add_loop_test(tcase, coverage_is_not_doubted, 0,
			    sizeof(covered) / sizeof(covered[0]));
}

int main(void)
{
	return victim_main("heap_real", add);
}
