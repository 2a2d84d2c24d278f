/*
 * Sets and resets the action of every number there is, with full masks, and prints
 * what it reads back, and what each signal of its own does.
 */
#include "burn.h"

/* The old calls are among those that programs use. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static volatile sig_atomic_t got, got_value;

static void count(int signo)
{
	got = signo;
}

static void count_value(int signo, siginfo_t *info, void *context)
{
	(void)context;
	got = signo;
	got_value = info->si_value.sival_int;
}

static void show(int signo)
{
	struct sigaction now;

	memset(&now, 0, sizeof(now));
	errno = 0;
	printf("%d: %d", signo, sigaction(signo, NULL, &now));
	printf(" errno %d %s flags %x mask %016lx\n", errno,
	       now.sa_handler == SIG_DFL   ? "default"
	       : now.sa_handler == SIG_IGN ? "ignored"
	       : now.sa_handler == count   ? "count"
					   : "other",
	       (unsigned)now.sa_flags, *(unsigned long *)&now.sa_mask);
}

static void set_all(void (*handler)(int), int flags, int mask_byte)
{
	for (int signo = -1; signo <= 66; signo++) {
		struct sigaction action = {.sa_flags = flags};

		action.sa_handler = handler;
		if (mask_byte < 0)
			sigfillset(&action.sa_mask);
		else
			memset(&action.sa_mask, mask_byte, sizeof(action.sa_mask));
		errno = 0;
		printf("%d=%d,%d ", signo, sigaction(signo, &action, NULL), errno);
		show(signo);
	}
}

static void queue_all(void)
{
	struct sigaction action = {.sa_flags = SA_SIGINFO};

	action.sa_sigaction = count_value;
	for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++) {
		union sigval value = {.sival_int = signo * 3};

		got = got_value = 0;
		sigaction(signo, &action, NULL);
		printf("queue %d: %d", signo, sigqueue(getpid(), signo, value));
		printf(" got %d %d\n", got, got_value);
	}
}

static void ignore_all(void)
{
	for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++) {
		got = 0;
		signal(signo, SIG_IGN);
		printf("ignored %d: %d", signo, raise(signo));
		printf(" got %d\n", got);
	}
}

int main(void)
{
	printf("%d to %d\n", SIGRTMIN, SIGRTMAX);
	for (int signo = 0; signo <= 65; signo++)
		show(signo);
	set_all(count, SA_RESTART | SA_ONSTACK, -1);
	burn(50 * NS_PER_MS);
	set_all(count, 0, 0xff);
	set_all(SIG_IGN, 0, 0);
	burn(50 * NS_PER_MS);
	queue_all();
	ignore_all();
	for (int signo = 1; signo <= 64; signo++) {
		errno = 0;
		printf("signal %d: %d", signo, signal(signo, count) == SIG_ERR);
		printf(" errno %d,", errno);
		printf(" sigset %d", sigset(signo, SIG_IGN) == SIG_ERR);
		printf(" sigignore %d", sigignore(signo));
		printf(" siginterrupt %d\n", siginterrupt(signo, 1));
		show(signo);
	}
	set_all(SIG_DFL, 0, 0);
	burn(100 * NS_PER_MS);
	return 0;
}
