/*
 * spanprof run: runs a program with the agent and waits for it, so that one that ends
 * where no code of the agent's runs (a kill, Go's own exit) has its profiles at its end,
 * too. Its recordings lie in a folder of their own meanwhile. The program is our child;
 * signals that are meant for it go to it, and we end as it did. Context: command;
 * invariant: a recording is removed only once its profiles are written.
 */
#include "run_signals.h"
#include "sp_cli.h"
#include "sp_options.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* As shells have it. */
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND 127

/* In front of what is preloaded anyway. */
static int preload(const char *agent)
{
	const char *others = getenv("LD_PRELOAD");
	size_t bytes = strlen(agent) + (others ? strlen(others) : 0) + 2;
	char *value = malloc(bytes);
	int result;

	if (value == NULL)
		return -1;
	snprintf(value, bytes, "%s%s%s", agent, others && *others ? ":" : "",
		 others ? others : "");
	result = setenv("LD_PRELOAD", value, 1);
	free(value);
	return result;
}

/* Where the agent would put them. Its children may be other users', as in /dev/shm. */
static bool make_folder(const struct sp_options *options, char folder[PATH_MAX])
{
	const char *places[] = {options->recording_dir, getenv("XDG_RUNTIME_DIR"),
				"/dev/shm", options->out_dir};

	for (size_t i = 0; i < SP_ARRAY_COUNT(places); i++) {
		if (places[i] == NULL || *places[i] == '\0' ||
		    snprintf(folder, PATH_MAX, "%s/spanprof.run.%d", places[i],
			     (int)getpid()) >= PATH_MAX ||
		    mkdir(folder, 0700) != 0)
			continue;
		if (chmod(folder, 01777) == 0)
			return true;
		rmdir(folder);
	}
	return false;
}

static _Noreturn void run_program(char **argv, const char *agent, const char *folder,
				  const struct sp_run_inherited *inherited)
{
	int err;

	sp_run_signals_give_back(inherited);
	if (preload(agent) != 0 ||
	    (*folder != '\0' && setenv("SPANPROF_RECORDING_DIR", folder, 1) != 0)) {
		sp_cli_complain("cannot set the environment: %s", strerror(errno));
		_exit(SP_EXIT_FAILED);
	}
	execvp(argv[0], argv);
	err = errno;
	sp_cli_complain("cannot run %s: %s", argv[0], strerror(err));
	_exit(err == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

/* What is left of programs that still run stays, and is told. */
static void recover_from(char *folder, struct sp_options *options)
{
	char command[] = "recover", remove[] = "--remove", out[] = "-o",
	     file[] = "--file";
	char *argv[] = {command,	  remove, out,
			options->out_dir, file,	  options->file_pattern,
			folder,		  NULL};

	if (rmdir(folder) == 0)
		return;
	/* The output is the program's. */
	fflush(stdout);
	if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return;
	optind = 0;
	sp_cmd_recover.run((int)SP_ARRAY_COUNT(argv) - 1, argv);
	/* Whether anybody reads it does not change how the program ended. */
	fflush(stdout);
	clearerr(stdout);
	if (rmdir(folder) != 0)
		sp_cli_complain("recordings stay in %s for \"spanprof recover\"", folder);
}

/* As the program did, but for a core of ours. */
static int end_like(int status)
{
	sigset_t ended;
	int signo;

	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	signo = WTERMSIG(status);
	/* Whom the kernel pipes a core to has it whatever the limit. */
	prctl(PR_SET_DUMPABLE, 0);
	signal(signo, SIG_DFL);
	sigemptyset(&ended);
	sigaddset(&ended, signo);
	raise(signo);
	sigprocmask(SIG_UNBLOCK, &ended, NULL);
	return 128 + signo;
}

static int run_run(int argc, char **argv)
{
	struct sp_run_inherited inherited;
	struct sp_options options;
	char agent[PATH_MAX], folder[PATH_MAX] = "";
	int first = argc > 1 && strcmp(argv[1], "--") == 0 ? 2 : 1;
	pid_t child;
	int status;

	if (argc > 1 && first == 1 && argv[1][0] == '-')
		return sp_cli_usage(&sp_cmd_run, "option %s is unknown", argv[1]);
	if (first >= argc)
		return sp_cli_usage(&sp_cmd_run, "no PROGRAM to run");
	if (sp_cli_find_agent(agent) != SP_EXIT_OK)
		return SP_EXIT_FAILED;
	/* What is mistaken there the agent tells. */
	sp_options_init(&options);
	if (sp_options_parse(&options, environ, NULL, 0) != 0)
		sp_options_init(&options);
	if (!make_folder(&options, folder)) {
		folder[0] = '\0';
		sp_cli_complain("no folder for recordings can be made; what is left of "
				"a program that is killed stays where it is");
	}
	sp_run_signals_take(&inherited);
	child = fork();
	if (child == 0)
		run_program(argv + first, agent, folder, &inherited);
	if (child < 0) {
		sp_cli_complain("cannot run %s: %s", argv[first], strerror(errno));
		status = SP_EXIT_FAILED << 8;
	} else {
		status = sp_run_signals_wait(child, &inherited);
	}
	if (folder[0] != '\0')
		recover_from(folder, &options);
	return end_like(status);
}

const struct sp_command sp_cmd_run = {
	.name = "run",
	.arguments = "[--] PROGRAM [ARGUMENT...]",
	.summary = "Run a program and write its profiles, however it ends",
	.details =
		"As LD_PRELOAD=$(spanprof path) PROGRAM, with the options of the\n"
		"environment; where the program, or a child of its, was killed, or is "
		"of\n"
		"Go and C and ends by itself, its profiles are recovered at its end.\n"
		"\n"
		"SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2 and SIGTSTP are "
		"passed on\n"
		"to it. When it stops, so does the command, and SIGCONT continues both.\n"
		"\n"
		"Exit status: that of the program; 126 or 127 where it cannot be run.\n",
	.run = run_run,
};
