/*
 * See run_signals.h. Whoever started us knows our number only: what is sent to it is for
 * the program, and whether that stops is what a shell wants to see of us. Keys of the
 * terminal reach both; then the program alone decides, and we follow. Invariant: nothing
 * that the program would survive stops or ends us.
 */
#include "run_signals.h"

#include "sp_compiler.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t program;

/* What the terminal sends, for a key or a read from the background, reaches the program
 * by itself. */
static void forward(int signo, siginfo_t *info, void *context)
{
	bool is_of_terminal = (signo == SIGINT || signo == SIGQUIT || signo == SIGTSTP ||
			       signo == SIGTTIN) &&
			      info->si_code > 0;

	(void)context;
	if (program > 0 && !is_of_terminal)
		kill(program, signo);
}

/* "17 (any name) T ...": the name may have brackets of its own. Where nobody tells, it
 * may be. */
static bool may_be_stopped(pid_t child)
{
	char path[64], text[512];
	const char *end;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)child);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	end = strrchr(text, ')');
	return end == NULL || end[1] != ' ' || end[2] == 'T';
}

/* Whoever continues us may have continued it, too: once is enough. Nothing but system
 * calls is interrupted while there is a program. */
static void go_on(int signo)
{
	int saved_errno = errno;

	if (program > 0 && may_be_stopped(program))
		kill(program, signo);
	errno = saved_errno;
}

#define FORWARD                                                                          \
	{                                                                                \
		.sa_sigaction = forward, .sa_flags = SA_RESTART | SA_SIGINFO             \
	}

static const struct {
	int signo;
	struct sigaction action;
} taken[] = {
	{SIGTERM, FORWARD},
	{SIGHUP, FORWARD},
	{SIGINT, FORWARD},
	{SIGQUIT, FORWARD},
	{SIGUSR1, FORWARD},
	{SIGUSR2, FORWARD},
	{SIGTSTP, FORWARD},
	{SIGTTIN, FORWARD},
	{SIGCONT, {.sa_handler = go_on, .sa_flags = SA_RESTART}},
	/* We may say something from the background, and to nobody any more. */
	{SIGTTOU, {.sa_handler = SIG_IGN}},
	{SIGPIPE, {.sa_handler = SIG_IGN}},
	/* A limit on file sizes is an error for us. */
	{SIGXFSZ, {.sa_handler = SIG_IGN}},
	/* Were it ignored, how the program ends would be lost. */
	{SIGCHLD, {.sa_handler = SIG_DFL}},
};
_Static_assert(SP_ARRAY_COUNT(taken) <= SP_RUN_SIGNALS_MAX, "room for all actions");

/* None is forwarded before there is a program to have it. */
void sp_run_signals_take(struct sp_run_inherited *inherited)
{
	sigset_t held;

	sigemptyset(&held);
	for (size_t i = 0; i < SP_ARRAY_COUNT(taken); i++)
		sigaddset(&held, taken[i].signo);
	sigprocmask(SIG_BLOCK, &held, &inherited->mask);
	for (size_t i = 0; i < SP_ARRAY_COUNT(taken); i++)
		sigaction(taken[i].signo, &taken[i].action, &inherited->actions[i]);
}

void sp_run_signals_give_back(const struct sp_run_inherited *inherited)
{
	for (size_t i = 0; i < SP_ARRAY_COUNT(taken); i++)
		sigaction(taken[i].signo, &inherited->actions[i], NULL);
	sigprocmask(SIG_SETMASK, &inherited->mask, NULL);
}

/* As the program was. A process group that nobody would continue is not stopped by all
 * of these signals: then we wait on. */
static void stop_by(int signo)
{
	const struct sigaction by_default = {.sa_handler = SIG_DFL};
	struct sigaction ours;
	sigset_t stops, before;

	sigemptyset(&stops);
	sigaddset(&stops, signo);
	sigaction(signo, &by_default, &ours);
	sigprocmask(SIG_UNBLOCK, &stops, &before);
	raise(signo);
	sigprocmask(SIG_SETMASK, &before, NULL);
	sigaction(signo, &ours, NULL);
}

int sp_run_signals_wait(pid_t child, const struct sp_run_inherited *inherited)
{
	int status = 0;

	program = child;
	sigprocmask(SIG_SETMASK, &inherited->mask, NULL);
	for (;;) {
		pid_t changed = waitpid(child, &status, WUNTRACED);

		if (changed == child && WIFSTOPPED(status)) {
			/* It may go on by now. */
			if (may_be_stopped(child))
				stop_by(WSTOPSIG(status));
		} else if (changed == child || errno != EINTR) {
			break;
		}
	}
	program = 0;
	return status;
}
