/*
 * Blocks and ignores signals, starts itself again by exec, fork, posix_spawn and
 * system(), and prints what arrives there.
 */
#include "burn.h"

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void show(void)
{
	struct sigaction action;
	sigset_t mask;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	printf("mask %016lx ignored", *(unsigned long *)&mask);
	for (int signo = 1; signo <= 64; signo++)
		if (sigaction(signo, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
			printf(" %d", signo);
	printf("\n");
	fflush(stdout);
}

static void spawn(char *program, short flags)
{
	char *arguments[] = {program, "show", NULL};
	posix_spawnattr_t attributes;
	sigset_t full;
	pid_t child;
	int status;

	sigfillset(&full);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, flags);
	posix_spawnattr_setsigmask(&attributes, &full);
	posix_spawnattr_setsigdefault(&attributes, &full);
	posix_spawn(&child, program, NULL, &attributes, arguments, environ);
	waitpid(child, &status, 0);
	printf("spawned %x\n", (unsigned)status);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char path[4096], command[4200];
	ssize_t path_bytes;
	sigset_t some;
	int status;

	show();
	burn(100 * NS_PER_MS);
	if (argc > 1 && strcmp(argv[1], "show") == 0)
		return 0;
	if (argc <= 1) {
		sigfillset(&some);
		sigdelset(&some, SIGCHLD);
		sigdelset(&some, SIGRTMIN + 3);
		sigprocmask(SIG_SETMASK, &some, NULL);
		for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo += 3)
			signal(signo, SIG_IGN);
		execl("/proc/self/exe", argv[0], "again", NULL);
		return 1;
	}
	spawn("/proc/self/exe", 0);
	spawn("/proc/self/exe", POSIX_SPAWN_SETSIGMASK);
	spawn("/proc/self/exe", POSIX_SPAWN_SETSIGDEF);
	path_bytes = readlink("/proc/self/exe", path, sizeof(path));
	snprintf(command, sizeof(command), "'%.*s' show", (int)path_bytes, path);
	printf("system %d\n", system(command));
	fflush(stdout);
	if (fork() == 0) {
		show();
		burn(100 * NS_PER_MS);
		_exit(0);
	}
	wait(&status);
	return 0;
}
