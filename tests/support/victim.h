/*
 * Runs a program, bare or under the agent, in a fresh folder of its own and
 * keeps all that can be seen from outside: what it printed, how it ended, what
 * it cost, which profiles and recordings it left. Used from Check tests: what
 * must not fail here (a fork, a temporary folder) is asserted.
 *
 * Paths come from the environment that tests/integration/CMakeLists.txt sets:
 * SPANPROF_TEST_AGENT, SPANPROF_TEST_CLI, SPANPROF_TEST_PROGRAMS.
 */
#ifndef VICTIM_H
#define VICTIM_H

#include <check.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

struct victim_setup {
	const char *const *argv; /* a name without slash: one of ours, else from PATH */
	const char *const *environment; /* "NAME=value" adds, "NAME" removes; NULL ends */
	const char *input;		/* standard input; NULL: /dev/null */
	const char *folder;		/* working folder; NULL: the fresh one */
	unsigned timeout_s;		/* then SIGKILL and is_timed_out; 0: 60 s */
	int kill_signal;		/* sent to it after kill_after_ms; 0: none */
	unsigned kill_after_ms;
	bool is_bare;			    /* without the agent */
	bool is_agent_preloaded_by_caller;  /* environment brings its own LD_PRELOAD */
	void (*before_exec)(void *context); /* in the child, last thing before exec */
	void *context;
};

struct victim {
	char folder[256];     /* fresh, removed by victim_free() */
	char profiles[300];   /* SPANPROF_OUT: folder/profiles */
	char recordings[256]; /* XDG_RUNTIME_DIR: a fresh folder on tmpfs */
	int pid;
	int status; /* as of wait4 */
	bool is_timed_out;
	char *output;	     /* NUL-terminated */
	char *errors;	     /* standard error without the agent's lines */
	char *agent_lines;   /* those lines: "spanprof[PID]: ..." */
	struct rusage usage; /* with its waited-for children */
	double wall_s;
};

/* Runs to the end. */
struct victim *victim_run(const struct victim_setup *setup);
/* Runs argv (NULL-terminated list) with nothing special, under the agent or bare. */
#define victim_run_agent(...)                                                            \
	victim_run_list(false, (const char *const[]){__VA_ARGS__, NULL})
#define victim_run_bare(...)                                                             \
	victim_run_list(true, (const char *const[]){__VA_ARGS__, NULL})
struct victim *victim_run_list(bool is_bare, const char *const *argv);

/*
 * Runs it bare, which must succeed, then under the agent, and asserts that nobody can
 * tell but by the profile: the same output, errors and status, no recording left. The
 * run under the agent; NULL when the bare one says by its status, 77, that it is not
 * permitted here.
 */
struct victim *victim_run_both(const struct victim_setup *setup);

/* Starts without waiting; victim_finish() waits. Output is readable after that only. */
struct victim *victim_start(const struct victim_setup *setup);
void victim_finish(struct victim *victim);

/* Removes its folders and memory. NULL is nothing. */
void victim_free(struct victim *victim);

/* Asserts exit status 0, showing standard error otherwise. */
void victim_assert_success(const struct victim *victim);
/* Asserts that output, errors and status of both runs are the same. */
void victim_assert_same(const struct victim *bare, const struct victim *agent);
/* Asserts that no recording is left: what a cleanly ended program owes. */
void victim_assert_clean(const struct victim *victim);

/* Files of a folder whose names match a glob pattern, sorted. */
struct victim_files {
	size_t count;
	char **paths;
};
void victim_list(const char *folder, const char *pattern, struct victim_files *files);
void victim_files_free(struct victim_files *files);
size_t victim_count(const char *folder, const char *pattern);
/* Polls until at least count files match; false after timeout_s. */
bool victim_wait_for_files(const char *folder, const char *pattern, size_t count,
			   unsigned timeout_s);
/* Polls until none matches any more; false after timeout_s. */
bool victim_wait_for_none(const char *folder, const char *pattern, unsigned timeout_s);
/* Makes an empty file in the victim's folder, which tells it something. */
void victim_make_file(const struct victim *victim, const char *name);

/* The id of the agent's thread in the victim, as soon as it is there; asserts that. */
int victim_own_thread(const struct victim *victim);

/*
 * Path of the CPU profile of that process (0: the victim itself) into path;
 * asserts that there is exactly one and that it is not empty.
 */
const char *victim_profile(const struct victim *victim, int pid, char path[PATH_MAX]);

/*
 * The number after "name=" in the text; asserts that it is there. The victims
 * print what they know as such pairs.
 */
long long victim_number(const char *text, const char *name);

/* user + system time, in nanoseconds. */
int64_t victim_cpu_ns(const struct rusage *usage);

/* Where the pieces under test are; ends the test program when not set. */
const char *victim_agent_path(void);
const char *victim_cli_path(void);
const char *victim_program_path(const char *name, char path[PATH_MAX]);
/* Whether PATH (or /usr/sbin, /sbin) has that command. */
bool victim_has_command(const char *name);

/* Runs the CLI; 0 or its exit status. Its output goes to this test's own. */
int victim_cli(const char *const *arguments);

/*
 * Main of each test file: runs one suite with the tests that add() puts in.
 * Exits 77 when the agent has not been built. What failing tests left is removed
 * unless SPANPROF_TEST_KEEP is set.
 */
int victim_main(const char *name, void (*add)(TCase *tcase));

#endif
