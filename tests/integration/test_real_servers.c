/*
 * Servers under the agent: threads, a process for each connection or worker,
 * dropped privileges, ends by signal. What their clients see is compared.
 */
#include "real_program.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The client runs without the agent: LD_PRELOAD is taken away once the server runs. */
#define WITHOUT_AGENT "preload=$LD_PRELOAD; unset LD_PRELOAD\n"

START_TEST(redis_runs_unchanged)
{
	struct victim *victim;

	if (!real_program_has_commands(
		    NAMES("redis-server", "redis-cli", "redis-benchmark")))
		return;
	victim = real_program_compare(
		WITHOUT_AGENT
		"LD_PRELOAD=$preload redis-server --port 0 --unixsocket $PWD/s --save '' "
		"--dir "
		"$PWD >log 2>&1 &\n"
		"for i in $(seq 100); do redis-cli -s s ping >pong 2>/dev/null; grep -q "
		"PONG pong "
		"&& break; sleep 0.1; done\n"
		"redis-benchmark -s s -t set,get,lpush,zadd -P 16 -n 200000 -r 10000 -q "
		">bench\n"
		"redis-cli -s s set a 1; redis-cli -s s incrby a 41; redis-cli -s s eval "
		"'return "
		"redis.call(\"get\", \"a\") .. \"!\"' 0\n"
		"redis-cli -s s eval 'for i = 1, 400000 do redis.call(\"set\", \"k\" .. "
		"i, i) "
		"end return redis.call(\"get\", \"k399999\")' 0\n"
		"redis-cli -s s set big $(head -c 20000 /dev/zero | tr '\\0' x)\n"
		"redis-cli -s s bgsave; while redis-cli -s s info persistence | grep -q "
		"bgsave_in_progress:1; do sleep 0.1; done; stat -c %s dump.rdb\n"
		"redis-cli -s s shutdown nosave; wait $!; echo $?");
	real_program_assert_largest(victim, "redis-server.*.cpu.pb.gz", 1,
				    NAMES("aeMain", "processCommand"));
	/* The child that wrote the dump. */
	ck_assert_uint_ge(victim_count(victim->profiles, "redis*.cpu.pb.gz"), 2);
	victim_free(victim);
}
END_TEST

START_TEST(nginx_runs_unchanged)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("nginx", "curl")))
		return;
	victim = real_program_compare(
		WITHOUT_AGENT
		"mkdir -p w logs; chmod 755 . w; seq 1 20000 >w/numbers\n"
		"cat >c <<'EOF'\n"
		"daemon off; worker_processes 2; pid nginx.pid; error_log logs/error;\n"
		"events { worker_connections 64; }\n"
		"http { access_log off; client_body_temp_path b; proxy_temp_path p;\n"
		" fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; gzip on;\n"
		" gzip_types *; gzip_comp_level 9;\n"
		" server { listen unix:s.sock; root w; } }\n"
		"EOF\n"
		"LD_PRELOAD=$preload nginx -p $PWD -c $PWD/c >log 2>&1 &\n"
		"for i in $(seq 100); do [ -S s.sock ] && break; sleep 0.1; done\n"
		"for i in $(seq 150); do curl -s --compressed --unix-socket s.sock "
		"http://x/numbers; done | cksum\n"
		"curl -s -o /dev/null -w '%{http_code}\\n' --unix-socket s.sock "
		"http://x/none\n"
		"kill -HUP $!; sleep 0.5\n"
		"curl -s --unix-socket s.sock http://x/numbers | tail -1\n"
		"kill -QUIT $!; wait $!; echo $?");
	/* Master, and each worker of both generations. */
	real_program_assert_largest(victim, "nginx*.cpu.pb.gz", 3, NAMES("deflate"));
	victim_free(victim);
}
END_TEST

/* postgres refuses to run as root: its own user then, in a folder of its own. */
START_TEST(postgres_runs_unchanged)
{
	struct victim *victim;

	if (system("ls /usr/lib/postgresql/*/bin/pgbench >/dev/null 2>&1") != 0 ||
	    (getuid() == 0 && system("id postgres >/dev/null 2>&1 && setpriv --version "
				     ">/dev/null 2>&1") != 0)) {
		printf("no postgres: skipped\n");
		return;
	}
	victim = real_program_compare(
		WITHOUT_AGENT
		"chmod 711 .; mkdir pg; user=\n"
		"if [ $(id -u) = 0 ]; then chown postgres pg $XDG_RUNTIME_DIR; "
		"user='setpriv "
		"--reuid=postgres --regid=postgres --clear-groups'; fi\n"
		"cd pg; PATH=$(echo /usr/lib/postgresql/*/bin | cut -d' ' -f1):$PATH\n"
		"export PGHOST=$PWD PGUSER=tester PGDATABASE=postgres LC_ALL=C\n"
		"$user env LD_PRELOAD=$preload initdb -D data -U tester -A trust >log "
		"2>&1; echo "
		"$?\n"
		"$user env LD_PRELOAD=$preload postgres -D data -k $PWD -c "
		"listen_addresses= -c "
		"fsync=off >log2 2>&1 &\n"
		"for i in $(seq 100); do psql -Atc 'select 1' >one 2>/dev/null && break; "
		"sleep 0.1; "
		"done; cat one\n"
		"pgbench -i -q -s 2 >log3 2>&1; echo $?\n"
		"pgbench -S -c 4 -j 2 -T 3 >log4 2>&1; echo $?\n"
		"psql -Atc 'select count(*), sum(aid) from pgbench_accounts' -c 'select "
		"md5(string_agg(i::text, chr(44))) from generate_series(1, 300000) i' -c "
		"'select "
		"1/0' 2>&1\n"
		"$user pg_ctl -D data -m fast stop >log5; wait $!; echo $?; grep -c "
		"PANIC log2; true");
	/* initdb's own children, the postmaster and a process for each connection. */
	real_program_assert_largest(victim, "postgres.*.cpu.pb.gz", 8,
				    NAMES("PostgresMain"));
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, redis_runs_unchanged);
	tcase_add_test(tcase, nginx_runs_unchanged);
	tcase_add_test(tcase, postgres_runs_unchanged);
}

int main(void)
{
	return victim_main("real_servers", add);
}
