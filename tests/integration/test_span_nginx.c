/*
 * Debian's nginx: what its master and its workers call themselves, as labels.
 */
#include "label_shares.h"
#include "real_program.h"
#include "victim.h"

#include <stdio.h>
#include <string.h>

#define SAMPLES_MIN 500
#define WORKER "nginx: worker process"
#define MASTER "nginx: master process nginx -p "

static struct victim *run(void)
{
	struct victim_setup setup = {
		.argv = NAMES("/bin/bash", "-c",
			      "preload=$LD_PRELOAD; unset LD_PRELOAD\n"
			      "mkdir -p w logs $SPANPROF_OUT; chmod 755 . w\n"
			      "chmod 777 $SPANPROF_OUT; seq 1 20000 >w/numbers\n"
			      "cat >c <<'EOF'\n"
			      "daemon off; worker_processes 2; pid nginx.pid;\n"
			      "error_log logs/error; events { worker_connections 64; }\n"
			      "http { access_log off; client_body_temp_path b;\n"
			      " proxy_temp_path p; fastcgi_temp_path f;\n"
			      " uwsgi_temp_path u; scgi_temp_path s; gzip on;\n"
			      " gzip_types *; gzip_comp_level 9;\n"
			      " server { listen unix:s.sock; root w; } }\n"
			      "EOF\n"
			      "LD_PRELOAD=$preload nginx -p $PWD -c $PWD/c >log 2>&1 &\n"
			      "for i in $(seq 100); do [ -S s.sock ] && break; sleep "
			      "0.1; done\n"
			      "curl -s --compressed --unix-socket s.sock "
			      "'http://x/numbers?[1-1800]' | wc -l\n"
			      "echo master=$!; kill -HUP $!; sleep 0.5\n"
			      /* It has a new configuration to read, by that name. */
			      "kill -QUIT $!; wait $!\n"
			      /* Workers have no standard error but the server's log of
			       * errors, which is none of ours. */
			      "cat log; ! grep spanprof logs/error"),
		.environment = NAMES("SPANPROF_CPU_HZ=1000", "SPANPROF_HEAP_RATE=1",
				     "SPANPROF_SOURCES=process-title"),
		.timeout_s = 120,
	};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	ck_assert_ptr_nonnull(strstr(victim->output, "36000000"));
	return victim;
}

static struct profile *read_profile(const char *path)
{
	char error[256] = "";
	struct profile *profile = profile_decode_file(path, error, sizeof(error));

	ck_assert_msg(profile != NULL, "%s: %s", path, error);
	return profile;
}

struct counts {
	int64_t at_work, at_work_titled; /* compressing, which only workers do */
	int64_t worker, master, untitled;
};

static void count(const char *path, struct counts *counts)
{
	struct profile *profile = read_profile(path);

	for (size_t i = 0; i < profile->message->n_sample; i++) {
		const label_sample *sample = profile->message->sample[i];
		const char *title = label_text(profile, sample, "process_title");
		bool is_worker = title && strcmp(title, WORKER) == 0;

		counts->worker += is_worker;
		counts->master += title && strncmp(title, MASTER, strlen(MASTER)) == 0;
		counts->untitled += title == NULL;
		if (!profile_sample_has(profile, sample, "deflate"))
			continue;
		counts->at_work += sample->value[0];
		counts->at_work_titled += is_worker ? sample->value[0] : 0;
	}
	profile_free(profile);
}

/* The master is one process, and all others are workers. */
static void check(const struct victim *victim, const char *kind)
{
	struct counts master = {0}, workers = {0};
	char pattern[64], number[32];
	struct victim_files files;

	snprintf(pattern, sizeof(pattern), "nginx.*.%s.pb.gz", kind);
	snprintf(number, sizeof(number), "nginx.%lld.",
		 victim_number(victim->output, "master"));
	victim_list(victim->profiles, pattern, &files);
	ck_assert_msg(files.count >= 2, "%zu %s; said: %s", files.count, pattern,
		      victim->agent_lines);
	for (size_t i = 0; i < files.count; i++)
		count(files.paths[i],
		      strstr(files.paths[i], number) ? &master : &workers);
	victim_files_free(&files);
	printf("%s: %lld of %lld samples of workers at work are titled\n", kind,
	       (long long)workers.at_work_titled, (long long)workers.at_work);
	ck_assert_int_eq(master.worker, 0);
	ck_assert_int_gt(workers.worker, 0);
	ck_assert_int_eq(workers.at_work_titled, workers.at_work);
	/* The master does next to nothing, and workers at work allocate as little. */
	if (strcmp(kind, "cpu") == 0)
		ck_assert_int_ge(workers.at_work, SAMPLES_MIN);
	else
		ck_assert_int_gt(master.master, 0);
}

/* The master says where its titles come from. */
static void check_line(const struct victim *victim)
{
	const char *line = strstr(victim->output, "/profiles/nginx.");
	const char *end = line ? strchr(line, '\n') : NULL;
	const char *found = line ? strstr(line, "; found: process-title") : NULL;

	ck_assert_msg(end && found && found < end, "%s", victim->output);
	ck_assert_ptr_null(strstr(end, "/profiles/nginx."));
}

START_TEST(titles_of_nginx_are_on_samples)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("nginx", "curl")))
		return;
	victim = run();
	check_line(victim);
	check(victim, "cpu");
	check(victim, "heap");
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, titles_of_nginx_are_on_samples);
}

int main(void)
{
	return victim_main("span_nginx", add);
}
