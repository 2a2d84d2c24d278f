/*
 * Texts among the arguments of well-known functions, and what their libraries say of the
 * objects they are called for, as labels of samples: on Debian's libraries where a
 * program calls them here, else on functions of the same names. Every block is recorded,
 * as most of these calls are short.
 */
#include "profile_decode.h"
#include "real_program.h"
#include "victim.h"
#include "victim_profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS                                                                             \
	"SPANPROF_RECORD_LABELS=db.statement,url.full,server.address,file.path,process." \
	"command"

static struct victim *run(const char *const *argv, const char *spans, const char *keys)
{
	struct victim_setup setup = {
		.argv = argv,
		.environment = NAMES(spans, keys, "SPANPROF_HEAP_RATE=1"),
		.timeout_s = 120,
	};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	return victim;
}

static const char *text_of(const struct profile *profile,
			   const Perftools__Profiles__Sample *sample, const char *key)
{
	const Perftools__Profiles__Label *label =
		profile_sample_label(profile, sample, key);

	return label ? profile_string(profile, label->str) : NULL;
}

struct seen {
	int64_t as_wanted, otherwise;
	char other[128]; /* one of those */
};

static void look_at(const char *path, const char *function, const char *key,
		    const char *wanted, struct seen *seen)
{
	char error[256] = "";
	struct profile *profile = profile_decode_file(path, error, sizeof(error));

	ck_assert_msg(profile != NULL, "%s: %s", path, error);
	for (size_t i = 0; i < profile->message->n_sample; i++) {
		const Perftools__Profiles__Sample *sample = profile->message->sample[i];
		const char *name = text_of(profile, sample, "span_name");
		const char *text = text_of(profile, sample, key);

		if (!name || strcmp(name, function) != 0)
			continue;
		if (text && wanted ? strcmp(text, wanted) == 0 : text == wanted) {
			seen->as_wanted += sample->value[0];
			continue;
		}
		seen->otherwise += sample->value[0];
		snprintf(seen->other, sizeof(seen->other), "%s", text ? text : "nothing");
	}
	profile_free(profile);
}

/* In all profiles of that kind of programs of that name. wanted: NULL: no such label. */
static struct seen look(const struct victim *victim, const char *program,
			const char *kind, const char *function, const char *key,
			const char *wanted)
{
	struct seen seen = {0, 0, ""};
	struct victim_files files;
	char pattern[64];

	snprintf(pattern, sizeof(pattern), "%s*.%s.pb.gz", program, kind);
	victim_list(victim->profiles, pattern, &files);
	ck_assert_msg(files.count > 0, "no %s; said: %s", pattern, victim->agent_lines);
	for (size_t i = 0; i < files.count; i++)
		look_at(files.paths[i], function, key, wanted, &seen);
	victim_files_free(&files);
	return seen;
}

/* Some samples of the function's spans have that text, and if is_all others none. */
static void assert_text_in(const struct victim *victim, const char *program,
			   const char *kind, const char *function, const char *key,
			   const char *wanted, bool is_all)
{
	struct seen seen = look(victim, program, kind, function, key, wanted);

	ck_assert_msg(seen.as_wanted > 0 && (!is_all || seen.otherwise == 0),
		      "%s: %lld samples with %s %s, %lld others, such as %s", function,
		      (long long)seen.as_wanted, key, wanted ? wanted : "(none)",
		      (long long)seen.otherwise, seen.other);
}

static void assert_text(const struct victim *victim, const char *program,
			const char *function, const char *key, const char *wanted,
			bool is_all)
{
	assert_text_in(victim, program, "heap", function, key, wanted, is_all);
}

/* --- functions by those names --- */

static const char *const statements[] = {
	"sqlite3_prepare",     "sqlite3_prepare_v3", "sqlite3_exec",
	"sqlite3_get_table",   "PQexecParams",	     "PQexecPrepared",
	"PQprepare",	       "PQsendQuery",	     "PQsendQueryParams",
	"PQsendQueryPrepared", "PQsendPrepare",	     "mysql_query",
	"mysql_real_query",    "mysql_send_query",   "mysql_stmt_prepare",
	"SQLExecDirect",       "SQLPrepare",
};

#define WELL_KNOWN                                                                       \
	"SPANPROF_SPANS=sqlite3_*,PQ*,mysql_*,SQL*,redisCommand,fopen,popen,getaddrinfo"

START_TEST(argument_of_each_function_is_its_label)
{
	struct victim *victim = run(NAMES("span_labels"), WELL_KNOWN, KEYS);
	char wanted[64];

	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
		snprintf(wanted, sizeof(wanted), "of %s and more", statements[i]);
		assert_text(victim, "span_labels", statements[i], "db.statement", wanted,
			    true);
	}
	assert_text(victim, "span_labels", "fopen", "file.path", "/dev/null", false);
	assert_text(victim, "span_labels", "popen", "process.command", "exit 0", true);
	assert_text(victim, "span_labels", "getaddrinfo", "server.address", "127.0.0.1",
		    true);
	victim_free(victim);
}
END_TEST

/* What is asked sleeps for 1 s, before the call. */
START_TEST(time_to_find_the_label_is_none_of_the_spans)
{
	struct victim *victim =
		run(NAMES("span_labels"), "SPANPROF_SPANS=SSL_connect", KEYS);
	struct profile *profile;

	assert_text(victim, "span_labels", "SSL_connect", "server.address", "a.server",
		    true);
	profile = victim_read_profile(victim->profiles, "*.spans.pb.gz");
	ck_assert_int_eq(profile_sum_leaf(profile, "spans", "SSL_connect"), 1);
	ck_assert_int_lt(profile_sum_leaf(profile, "wall", "SSL_connect"), 1000000000);
	profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(long_and_broken_texts_are_cut)
{
	struct victim *victim = run(NAMES("span_labels"), WELL_KNOWN, KEYS);

	/* 64 bytes at most, and no part of a character. */
	assert_text(victim, "span_labels", "redisCommand", "db.statement",
		    "select 'abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz a",
		    true);
	assert_text(victim, "span_labels", "sqlite3_prepare_v2", "db.statement",
		    "negative: to its end", false);
	assert_text(victim, "span_labels", "PQexec", "db.statement", "of PQexec and more",
		    false);
	assert_text(victim, "span_labels", "PQexec", "db.statement", NULL, false);
	victim_free(victim);
}
END_TEST

static const char *const other_keys[] = {"SPANPROF_RECORD_LABELS=url.full",
					 "SPANPROF_RECORD_LABELS"};

START_TEST(texts_are_not_read_unless_asked_for)
{
	struct victim *victim = run(NAMES("span_labels"), WELL_KNOWN, other_keys[_i]);

	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
		assert_text(victim, "span_labels", statements[i], "db.statement", NULL,
			    true);
	assert_text(victim, "span_labels", "popen", "process.command", NULL, true);
	victim_free(victim);
}
END_TEST

/* --- Debian's libraries --- */

START_TEST(statements_of_python_are_labels)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("python3")))
		return;
	victim = run(NAMES("/usr/bin/python3", "-c",
			   "import sqlite3\n"
			   "c = sqlite3.connect(':memory:')\n"
			   "c.execute('create table t(a, b)')\n"
			   "c.execute('select * from t where a = ?', (1,)).fetchall()\n"),
		     "SPANPROF_SPANS=sqlite3_prepare_v*", KEYS);
	assert_text(victim, "python3", "sqlite3_prepare_v2", "db.statement",
		    "select * from t where a = ?", false);
	victim_free(victim);
}
END_TEST

/* A server of this machine, by its name: both ends of its connections are looked at. */
#define SERVER                                                                           \
	"import http.server, os, ssl, sys\n"                                             \
	"class handler(http.server.BaseHTTPRequestHandler):\n"                           \
	"    def do_GET(self):\n"                                                        \
	"        self.send_response(200)\n"                                              \
	"        times = 2000 if self.path == '/large' else 1\n"                         \
	"        self.send_header('Content-Length', str(times * 100000))\n"              \
	"        self.end_headers()\n"                                                   \
	"        for i in range(times):\n"                                               \
	"            self.wfile.write(b'x' * 100000)\n"                                  \
	"    def do_PUT(self):\n"                                                        \
	"        left = int(self.headers['Content-Length'])\n"                           \
	"        while left > 0:\n"                                                      \
	"            left -= len(self.rfile.read(min(left, 1000000)))\n"                 \
	"        self.send_response(200)\n"                                              \
	"        self.send_header('Content-Length', '0')\n"                              \
	"        self.end_headers()\n"                                                   \
	"server = http.server.HTTPServer(('127.0.0.1', 0), handler)\n"                   \
	"if len(sys.argv) > 1:\n"                                                        \
	"    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"                        \
	"    context.load_cert_chain('cert', 'key')\n"                                   \
	"    server.socket = context.wrap_socket(server.socket, server_side=True)\n"     \
	"open('port.new', 'w').write(str(server.server_port))\n"                         \
	"os.rename('port.new', 'port')\n"                                                \
	"server.handle_request()\n"

#define WITH_SERVER                                                                      \
	"preload=$LD_PRELOAD; unset LD_PRELOAD\n"                                        \
	"printf '%s' \"$server\" >server.py\n"                                           \
	"openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2 "       \
	"-subj /CN=localhost -addext subjectAltName=DNS:localhost >log 2>&1 || exit 1\n" \
	"/usr/bin/python3 server.py $secure >log2 2>&1 &\n"                              \
	"for i in $(seq 200); do [ -e port ] && break; sleep 0.05; done\n"               \
	"export LD_PRELOAD=$preload\n"

static struct victim *run_client(const char *command, const char *spans)
{
	char *script = NULL;
	struct victim *victim;

	ck_assert_int_gt(
		asprintf(&script, "server=$(cat <<'END'\n" SERVER "END\n)\n%s", command),
		0);
	victim = run(NAMES("/bin/bash", "-c", script), spans, KEYS);
	free(script);
	return victim;
}

START_TEST(address_that_curl_asks_for_is_a_label)
{
	struct victim *victim;
	char url[64];

	if (!real_program_has_commands(NAMES("python3", "curl", "openssl")))
		return;
	victim = run_client("secure=\n" WITH_SERVER
			    "curl -s http://127.0.0.1:$(cat port)/page | wc -c\n"
			    "echo port=$(cat port)",
			    "SPANPROF_SPANS=curl_easy_perform");
	ck_assert_ptr_nonnull(strstr(victim->output, "100000"));
	snprintf(url, sizeof(url), "http://127.0.0.1:%lld/page",
		 victim_number(victim->output, "port"));
	assert_text(victim, "curl", "curl_easy_perform", "url.full", url, true);
	victim_free(victim);
}
END_TEST

START_TEST(server_that_tls_speaks_to_is_a_label)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("python3", "curl", "openssl")))
		return;
	victim = run_client("secure=yes\n" WITH_SERVER
			    "curl -s --cacert cert https://localhost:$(cat port)/page | "
			    "wc -c\n",
			    "SPANPROF_SPANS=SSL_connect,SSL_read,SSL_write");
	ck_assert_ptr_nonnull(strstr(victim->output, "100000"));
	assert_text(victim, "curl", "SSL_connect", "server.address", "localhost", true);
	victim_free(victim);
}
END_TEST

static const struct {
	const char *function, *request;
} transfers[] = {
	{"SSL_read", "/large | wc -c"},
	{"SSL_write", "/ -T body -H Expect: -w '%{size_upload}'"},
};

/* Neither allocates much, but both take CPU time. */
START_TEST(server_that_much_is_sent_to_or_from_is_a_label)
{
	struct victim *victim;
	char command[1024];

	if (!real_program_has_commands(NAMES("python3", "curl", "openssl")))
		return;
	snprintf(command, sizeof(command),
		 "secure=yes\n%sLD_PRELOAD= truncate -s 200000000 body\n"
		 "SPANPROF_CPU_HZ=1000 curl -s --cacert cert "
		 "https://localhost:$(cat port)%s\nrm body\n",
		 WITH_SERVER, transfers[_i].request);
	victim = run_client(command, "SPANPROF_SPANS=SSL_read,SSL_write");
	ck_assert_ptr_nonnull(strstr(victim->output, "200000000"));
	assert_text_in(victim, "curl", "cpu", transfers[_i].function, "server.address",
		       "localhost", true);
	victim_free(victim);
}
END_TEST

#define CLIENT                                                                           \
	"/usr/bin/python3 -c \"\n"                                                       \
	"import socket, ssl\n"                                                           \
	"context = ssl.create_default_context(cafile='cert')\n"                          \
	"plain = socket.create_connection(('127.0.0.1', int(open('port').read())))\n"    \
	"tls = context.wrap_socket(plain, server_hostname='localhost')\n"                \
	"tls.sendall(b'GET / HTTP/1.0\\\\r\\\\n\\\\r\\\\n')\n"                           \
	"count = 0\n"                                                                    \
	"while True:\n"                                                                  \
	"    data = tls.recv(65536)\n"                                                   \
	"    if not data: break\n"                                                       \
	"    count += len(data)\n"                                                       \
	"print(count >= 100000)\"\n"

START_TEST(server_that_python_speaks_to_is_a_label)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("python3", "openssl")))
		return;
	victim = run_client("secure=yes\n" WITH_SERVER CLIENT,
			    "SPANPROF_SPANS=SSL_do_handshake,SSL_read*,SSL_write*");
	ck_assert_ptr_nonnull(strstr(victim->output, "True"));
	assert_text(victim, "python3", "SSL_do_handshake", "server.address", "localhost",
		    true);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, argument_of_each_function_is_its_label);
	tcase_add_test(tcase, time_to_find_the_label_is_none_of_the_spans);
	tcase_add_test(tcase, long_and_broken_texts_are_cut);
	tcase_add_loop_test(tcase, texts_are_not_read_unless_asked_for, 0,
			    sizeof(other_keys) / sizeof(other_keys[0]));
	tcase_add_test(tcase, statements_of_python_are_labels);
	tcase_add_test(tcase, address_that_curl_asks_for_is_a_label);
	tcase_add_test(tcase, server_that_tls_speaks_to_is_a_label);
	tcase_add_loop_test(tcase, server_that_much_is_sent_to_or_from_is_a_label, 0,
			    sizeof(transfers) / sizeof(transfers[0]));
	tcase_add_test(tcase, server_that_python_speaks_to_is_a_label);
}

int main(void)
{
	return victim_main("span_texts", add);
}
