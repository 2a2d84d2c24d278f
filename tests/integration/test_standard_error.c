/*
 * What we say goes to the standard error that the program was started with and nowhere
 * else, and nobody who reads that to its end waits for us.
 */
#include "victim.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TRIES 20

static void start_without_standard_error(void *context)
{
	(void)context;
	close(STDERR_FILENO);
}

/* Our thread then runs only where the program waits for it. */
static void stay_on_one_core(void *context)
{
	cpu_set_t cores, one;

	(void)context;
	if (sched_getaffinity(0, sizeof(cores), &cores) != 0)
		_exit(126);
	CPU_ZERO(&one);
	for (size_t core = 0; core < CPU_SETSIZE && CPU_COUNT(&one) == 0; core++)
		if (CPU_ISSET(core, &cores))
			CPU_SET(core, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static const struct {
	const char *mode;
	void (*before_exec)(void *context);
} data[] = {
	{"data", stay_on_one_core},
	{"data", NULL},
	{"data", start_without_standard_error},
	{"data_in_child", NULL},
	{"data_in_child", start_without_standard_error},
};

static void assert_data_unspoilt(const struct victim *victim)
{
	char path[PATH_MAX], found[256] = "";
	FILE *file;

	snprintf(path, sizeof(path), "%s/data", victim->folder);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_gt(fread(found, 1, sizeof(found) - 1, file), 0);
	fclose(file);
	ck_assert_str_eq(found, "begin\nend\n");
}

START_TEST(data_in_its_place_stay_the_programs)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"standard_error", data[_i].mode, NULL},
		.before_exec = data[_i].before_exec,
	};

	for (int i = 0; i < 8; i++) {
		struct victim *victim = victim_run(&setup);

		victim_assert_success(victim);
		victim_assert_clean(victim);
		assert_data_unspoilt(victim);
		ck_assert_uint_ge(victim_count(victim->profiles, "*.cpu.pb.gz"), 1);
		victim_free(victim);
	}
}
END_TEST

/* A core that others keep busy may not come to our thread in time. */
START_TEST(line_is_said_though_it_is_closed_at_once)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"standard_error", "data", NULL},
		.before_exec = stay_on_one_core,
	};
	int said = 0;

	for (int i = 0; i < TRIES && said < 3; i++) {
		struct victim *victim = victim_run(&setup);

		victim_assert_success(victim);
		said += strstr(victim->agent_lines, "wrote ") != NULL;
		victim_free(victim);
	}
	ck_assert_int_eq(said, 3);
}
END_TEST

static void write_to_pipe(void *context)
{
	const int *ends = context;

	dup2(ends[1], STDERR_FILENO);
}

/* The write end is the victim's alone. */
static struct victim *start_with_pipe(const char *mode, int *read_end)
{
	int ends[2];
	const struct victim_setup setup = {
		.argv = (const char *const[]){"standard_error", mode, NULL},
		.before_exec = write_to_pipe,
		.context = ends,
		.kill_signal = SIGKILL,
		.kill_after_ms = 20000,
	};
	struct victim *victim;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	victim = victim_start(&setup);
	close(ends[1]);
	*read_end = ends[0];
	return victim;
}

START_TEST(reader_of_a_pipe_waits_no_longer_than_the_program_says)
{
	int read_end;
	struct victim *victim = start_with_pipe("background", &read_end);
	struct pollfd ready = {.fd = read_end, .events = POLLIN};

	ck_assert_int_eq(poll(&ready, 1, 10000), 1);
	ck_assert_int_eq(ready.revents & POLLIN, 0);
	ck_assert_int_ne(ready.revents & POLLHUP, 0);
	/* It is still there, and so are we. */
	ck_assert_int_eq(kill(victim->pid, 0), 0);
	ck_assert_uint_eq(victim_count(victim->recordings, "*.spanprof"), 1);
	kill(victim->pid, SIGKILL);
	victim_finish(victim);
	close(read_end);
	victim_free(victim);
}
END_TEST

START_TEST(line_is_said_where_the_program_keeps_the_pipe)
{
	char said[4096] = "";
	size_t filled = 0;
	ssize_t bytes;
	int read_end;
	struct victim *victim = start_with_pipe("aside", &read_end);

	while ((bytes = read(read_end, said + filled, sizeof(said) - 1 - filled)) > 0)
		filled += (size_t)bytes;
	victim_finish(victim);
	victim_assert_success(victim);
	ck_assert_msg(strstr(said, "wrote ") != NULL, "said: %s", said);
	close(read_end);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, data_in_its_place_stay_the_programs, 0,
			    sizeof(data) / sizeof(data[0]));
	tcase_add_test(tcase, line_is_said_though_it_is_closed_at_once);
	tcase_add_test(tcase, reader_of_a_pipe_waits_no_longer_than_the_program_says);
	tcase_add_test(tcase, line_is_said_where_the_program_keeps_the_pipe);
}

int main(void)
{
	return victim_main("standard_error", add);
}
