/*
 * Running a victim. Output goes to files and not to pipes, so that nothing it
 * writes can block it; a process group of its own lets a time-out end all of it.
 * The harness itself never preloads anything: the environment is put together
 * for execve only.
 */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_DEFAULT_S 60

extern char **environ;

/* What victim_finish() has to know beyond what tests see. */
struct running {
	struct victim victim; /* first: a victim pointer is a running pointer */
	struct timespec start;
	unsigned timeout_s;
	unsigned kill_after_ms;
	int kill_signal;
	int pidfd;
};

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) +
	       (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

static const char *path_from_environment(const char *name)
{
	const char *path = getenv(name);

	/* Also asked outside tests, where Check can't assert. */
	if (path == NULL || *path == '\0') {
		fprintf(stderr, "%s is not set: run this by ctest\n", name);
		exit(2);
	}
	return path;
}

const char *victim_agent_path(void)
{
	return path_from_environment("SPANPROF_TEST_AGENT");
}

const char *victim_cli_path(void)
{
	return path_from_environment("SPANPROF_TEST_CLI");
}

const char *victim_program_path(const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s", path_from_environment("SPANPROF_TEST_PROGRAMS"),
		 name);
	return path;
}

/* Like execvp's search, with the folders of system programs at the end. */
static bool find_in_path(const char *name, char found[PATH_MAX])
{
	char *path, *folder, *rest;
	bool is_found = false;

	if (asprintf(&path, "%s:/usr/sbin:/sbin", getenv("PATH")) < 0)
		return false;
	for (rest = path; !is_found && (folder = strsep(&rest, ":")) != NULL;) {
		snprintf(found, PATH_MAX, "%s/%s", folder, name);
		is_found = access(found, X_OK) == 0;
	}
	free(path);
	return is_found;
}

bool victim_has_command(const char *name)
{
	char path[PATH_MAX];

	return find_in_path(name, path);
}

static void find_program(const char *name, char path[PATH_MAX])
{
	if (strchr(name, '/') != NULL) {
		snprintf(path, PATH_MAX, "%s", name);
		return;
	}
	victim_program_path(name, path);
	if (access(path, X_OK) != 0)
		ck_assert_msg(find_in_path(name, path), "no program %s", name);
}

static size_t name_length(const char *setting)
{
	return strcspn(setting, "=");
}

/* Replaces, adds or (without "=") removes one setting of a NULL-terminated list. */
static void change_setting(char **settings, const char *setting)
{
	size_t length = name_length(setting);
	char **at;

	for (at = settings; *at != NULL; at++) {
		if (name_length(*at) == length && strncmp(*at, setting, length) == 0)
			break;
	}
	if (setting[length] == '=') {
		if (*at == NULL)
			at[1] = NULL;
		*at = strdup(setting);
	} else {
		for (; *at != NULL; at++)
			at[0] = at[1];
	}
}

/* Ours, and what a user of the agent may have set: nothing of it reaches victims. */
static bool is_of_the_agent(const char *setting)
{
	return strncmp(setting, "SPANPROF", 8) == 0 ||
	       strncmp(setting, "LD_PRELOAD=", 11) == 0;
}

static char **build_environment(const struct victim_setup *setup,
				const struct victim *victim)
{
	char setting[PATH_MAX + 64];
	size_t count = 0, kept = 0;
	char **settings;

	while (environ[count] != NULL)
		count++;
	for (size_t i = 0; setup->environment != NULL && setup->environment[i] != NULL;
	     i++)
		count++;
	settings = calloc(count + 8, sizeof(*settings));
	ck_assert_ptr_nonnull(settings);
	for (size_t i = 0; environ[i] != NULL; i++) {
		if (!is_of_the_agent(environ[i]))
			settings[kept++] = environ[i];
	}
	/* The same in both runs: programs may print their environment. */
	snprintf(setting, sizeof(setting), "XDG_RUNTIME_DIR=%s", victim->recordings);
	change_setting(settings, setting);
	snprintf(setting, sizeof(setting), "SPANPROF_OUT=%s", victim->profiles);
	change_setting(settings, setting);
	if (!setup->is_bare && !setup->is_agent_preloaded_by_caller) {
		snprintf(setting, sizeof(setting), "LD_PRELOAD=%s", victim_agent_path());
		change_setting(settings, setting);
	}
	for (size_t i = 0; setup->environment != NULL && setup->environment[i] != NULL;
	     i++)
		change_setting(settings, setup->environment[i]);
	return settings;
}

/*
 * Two folders, on disk and on tmpfs, hold those of all victims of this program: a
 * test that fails removes nothing, but its parent does.
 */
static char all_folders[] = "/tmp/spanprof-test.XXXXXX";
static char all_recordings[] = "/dev/shm/spanprof-test.XXXXXX";

static void make_folders(struct victim *victim)
{
	snprintf(victim->folder, sizeof(victim->folder), "%s/victim.XXXXXX", all_folders);
	ck_assert_ptr_nonnull(mkdtemp(victim->folder));
	snprintf(victim->profiles, sizeof(victim->profiles), "%s/profiles",
		 victim->folder);
	ck_assert_int_eq(mkdir(victim->profiles, 0777), 0);
	snprintf(victim->recordings, sizeof(victim->recordings), "%s/victim.XXXXXX",
		 all_recordings);
	if (mkdtemp(victim->recordings) == NULL) {
		snprintf(victim->recordings, sizeof(victim->recordings), "%s/recordings",
			 victim->folder);
		ck_assert_int_eq(mkdir(victim->recordings, 0700), 0);
	}
	/* Victims that give up their privileges still have to get there. */
	ck_assert_int_eq(chmod(victim->folder, 0777), 0);
	ck_assert_int_eq(chmod(victim->profiles, 0777), 0);
	ck_assert_int_eq(chmod(victim->recordings, 0777), 0);
}

static void become_victim(const struct victim_setup *setup, const struct victim *victim,
			  const char *program, char **environment)
{
	char path[PATH_MAX];
	int fd;

	setpgid(0, 0);
	snprintf(path, sizeof(path), "%s/.input", victim->folder);
	fd = open(setup->input != NULL ? path : "/dev/null", O_RDONLY | O_CLOEXEC);
	dup2(fd, 0);
	snprintf(path, sizeof(path), "%s/.output", victim->folder);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	dup2(fd, 1);
	snprintf(path, sizeof(path), "%s/.errors", victim->folder);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	dup2(fd, 2);
	if (chdir(setup->folder != NULL ? setup->folder : victim->folder) != 0)
		_exit(126);
	if (setup->before_exec != NULL)
		setup->before_exec(setup->context);
	execve(program, (char *const *)setup->argv, environment);
	_exit(127);
}

static void write_input(const struct victim *victim, const char *input)
{
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/.input", victim->folder);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fputs(input, file);
	fclose(file);
}

struct victim *victim_start(const struct victim_setup *setup)
{
	struct running *running = calloc(1, sizeof(*running));
	struct victim *victim = &running->victim;
	char program[PATH_MAX];
	char **environment;

	ck_assert_ptr_nonnull(running);
	make_folders(victim);
	find_program(setup->argv[0], program);
	if (setup->input != NULL)
		write_input(victim, setup->input);
	running->timeout_s = setup->timeout_s ? setup->timeout_s : TIMEOUT_DEFAULT_S;
	running->kill_signal = setup->kill_signal;
	running->kill_after_ms = setup->kill_after_ms;
	environment = build_environment(setup, victim);

	clock_gettime(CLOCK_MONOTONIC, &running->start);
	victim->pid = fork();
	ck_assert_int_ge(victim->pid, 0);
	if (victim->pid == 0)
		become_victim(setup, victim, program, environment);
	setpgid(victim->pid, victim->pid);
	free(environment);
	running->pidfd = (int)syscall(SYS_pidfd_open, victim->pid, 0);
	ck_assert_int_ge(running->pidfd, 0);
	return victim;
}

static char *read_file(const char *folder, const char *name)
{
	char path[PATH_MAX];
	char *text = NULL;
	size_t bytes = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "r");
	if (file == NULL)
		return strdup("");
	/* Victims may print zero bytes: what is behind them is not compared. */
	if (getdelim(&text, &bytes, '\0', file) < 0) {
		free(text);
		text = strdup("");
	}
	fclose(file);
	return text;
}

/* Moves lines that the agent wrote from victim->errors to victim->agent_lines. */
static void split_agent_lines(struct victim *victim)
{
	size_t bytes = strlen(victim->errors) + 1;
	char *agent = calloc(bytes, 1);
	char *kept = victim->errors, *ours = agent;

	ck_assert_ptr_nonnull(agent);
	for (char *line = victim->errors; *line != '\0';) {
		size_t length = strcspn(line, "\n");
		bool is_agent_line = strncmp(line, "spanprof[", 9) == 0;
		char **to = is_agent_line ? &ours : &kept;

		length += line[length] == '\n';
		memmove(*to, line, length);
		*to += length;
		line += length;
	}
	*kept = '\0';
	victim->agent_lines = agent;
}

/* Waits for the end until deadline_s after the start; false when it has not come. */
static bool wait_for_end(const struct running *running, double deadline_s)
{
	struct pollfd end = {.fd = running->pidfd, .events = POLLIN};

	for (;;) {
		double left_s = deadline_s - seconds_since(&running->start);
		int ready = poll(&end, 1, left_s <= 0 ? 0 : (int)(left_s * 1e3) + 1);

		if (ready == 1)
			return true;
		if (ready == 0 && left_s <= 0)
			return false;
	}
}

void victim_finish(struct victim *victim)
{
	struct running *running = (struct running *)victim;

	if (running->kill_signal != 0 &&
	    !wait_for_end(running, running->kill_after_ms / 1e3))
		kill(victim->pid, running->kill_signal);
	if (!wait_for_end(running, running->timeout_s)) {
		victim->is_timed_out = true;
		kill(-victim->pid, SIGKILL);
		kill(victim->pid, SIGKILL);
	}
	ck_assert_int_eq(wait4(victim->pid, &victim->status, 0, &victim->usage),
			 victim->pid);
	victim->wall_s = seconds_since(&running->start);
	close(running->pidfd);
	victim->output = read_file(victim->folder, ".output");
	victim->errors = read_file(victim->folder, ".errors");
	split_agent_lines(victim);
}

struct victim *victim_run(const struct victim_setup *setup)
{
	struct victim *victim = victim_start(setup);

	victim_finish(victim);
	ck_assert_msg(!victim->is_timed_out, "%s did not end in %u s; its errors: %s%s",
		      setup->argv[0], ((struct running *)victim)->timeout_s,
		      victim->errors, victim->agent_lines);
	return victim;
}

struct victim *victim_run_list(bool is_bare, const char *const *argv)
{
	struct victim_setup setup = {.argv = argv, .is_bare = is_bare};

	return victim_run(&setup);
}

static int remove_entry(const char *path, const struct stat *status, int kind,
			struct FTW *walk)
{
	(void)status, (void)kind, (void)walk;
	remove(path);
	return 0;
}

static void remove_folder(const char *folder)
{
	nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void victim_free(struct victim *victim)
{
	if (victim == NULL)
		return;
	remove_folder(victim->recordings);
	remove_folder(victim->folder);
	free(victim->output);
	free(victim->errors);
	free(victim->agent_lines);
	free(victim);
}

void victim_assert_success(const struct victim *victim)
{
	ck_assert_msg(victim->status == 0, "wait status 0x%x; errors: %s%s",
		      victim->status, victim->errors, victim->agent_lines);
}

/* Tells the first line that differs: all of it may be more than Check can take. */
static void assert_same_text(const char *what, const char *bare, const char *agent)
{
	size_t line = 1, begin = 0, i = 0;

	for (; bare[i] == agent[i] && bare[i] != '\0'; i++) {
		if (bare[i] == '\n') {
			line++;
			begin = i + 1;
		}
	}
	ck_assert_msg(bare[i] == agent[i],
		      "%s differs in line %zu: \"%.*s\", \"%.*s\" under the agent", what,
		      line, (int)strcspn(bare + begin, "\n"), bare + begin,
		      (int)strcspn(agent + begin, "\n"), agent + begin);
}

void victim_assert_same(const struct victim *bare, const struct victim *agent)
{
	ck_assert_msg(bare->status == agent->status,
		      "wait status 0x%x, 0x%x under the agent; errors: %s%s",
		      bare->status, agent->status, agent->errors, agent->agent_lines);
	assert_same_text("output", bare->output, agent->output);
	assert_same_text("errors", bare->errors, agent->errors);
}

void victim_assert_clean(const struct victim *victim)
{
	struct victim_files files;

	victim_list(victim->recordings, "*", &files);
	ck_assert_msg(files.count == 0, "%zu recordings left: %s ...", files.count,
		      files.count > 0 ? files.paths[0] : "");
	victim_files_free(&files);
}

const char *victim_profile(const struct victim *victim, int pid, char path[PATH_MAX])
{
	struct victim_files files;
	char pattern[64];
	struct stat status;

	snprintf(pattern, sizeof(pattern), "*.%d.cpu.pb.gz", pid ? pid : victim->pid);
	victim_list(victim->profiles, pattern, &files);
	ck_assert_msg(files.count == 1, "%zu profiles %s; the agent said: %s",
		      files.count, pattern,
		      victim->agent_lines ? victim->agent_lines : "nothing yet");
	snprintf(path, PATH_MAX, "%s", files.paths[0]);
	victim_files_free(&files);
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_msg(status.st_size > 0, "%s is empty", path);
	return path;
}

int64_t victim_cpu_ns(const struct rusage *usage)
{
	return (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000000LL +
	       (usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1000LL;
}

long long victim_number(const char *text, const char *name)
{
	size_t length = strlen(name);
	const char *at = text;

	while ((at = strstr(at, name)) != NULL) {
		bool is_word_start = at == text || strchr(" \n\t", at[-1]) != NULL;

		if (is_word_start && at[length] == '=')
			return strtoll(at + length + 1, NULL, 0);
		at += length;
	}
	ck_abort_msg("no %s= in: %s", name, text);
	return 0;
}

int victim_cli(const char *const *arguments)
{
	const char *argv[32] = {victim_cli_path()};
	int status, pid;

	for (size_t i = 0; arguments[i] != NULL && i + 2 < 32; i++)
		argv[i + 1] = arguments[i];
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int victim_main(const char *name, void (*add)(TCase *tcase))
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	SRunner *runner;
	int failures;

	if (access(victim_agent_path(), R_OK) != 0) {
		printf("%s is not there: skipped\n", victim_agent_path());
		return 77;
	}
	if (mkdtemp(all_folders) == NULL || chmod(all_folders, 0777) != 0) {
		perror(all_folders);
		return 2;
	}
	if (mkdtemp(all_recordings) != NULL)
		chmod(all_recordings, 0777);
	/* Tests run in children that end without flushing. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* CTest has the time limit; each victim has its own. */
	tcase_set_timeout(tcase, 0);
	add(tcase);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (failures != 0 && getenv("SPANPROF_TEST_KEEP") != NULL) {
		printf("kept: %s and %s\n", all_folders, all_recordings);
	} else {
		remove_folder(all_recordings);
		remove_folder(all_folders);
	}
	return failures == 0 ? 0 : 1;
}
