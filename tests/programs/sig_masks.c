/*
 * Sets signal masks in every way there is, everywhere, and prints what it reads back;
 * works with all signals blocked in between. Prints the same with or without a
 * profiler.
 */
#include "burn.h"

/* The old calls are among those that programs use. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

static sigjmp_buf back;

static void show(const char *what, const sigset_t *set)
{
	printf("%s:", what);
	for (int signo = 1; signo <= 64; signo++)
		putchar(sigismember(set, signo) == 1 ? '1' : '0');
	printf(" %016lx\n", *(const unsigned long *)set);
}

static void show_mask(const char *what)
{
	sigset_t now;

	sigprocmask(SIG_BLOCK, NULL, &now);
	show(what, &now);
}

static void handle(int signo, siginfo_t *info, void *context)
{
	sigset_t full, old;

	(void)info;
	printf("in the handler of %d\n", signo);
	show("interrupted", &((ucontext_t *)context)->uc_sigmask);
	show_mask("within");
	sigfillset(&full);
	sigprocmask(SIG_SETMASK, &full, &old);
	show("replaced within", &old);
	show_mask("filled within");
	burn(20 * NS_PER_MS);
	if (signo == SIGUSR2)
		siglongjmp(back, 1);
}

static void raise_with_mask(int signo, const sigset_t *mask)
{
	struct sigaction action = {.sa_flags = SA_SIGINFO, .sa_mask = *mask};

	action.sa_sigaction = handle;
	sigaction(signo, &action, NULL);
	raise(signo);
	show_mask("after the handler");
}

static void *run_thread(void *unused)
{
	sigset_t one;

	show_mask("inherited");
	sigemptyset(&one);
	sigaddset(&one, SIGRTMAX - 1);
	pthread_sigmask(SIG_UNBLOCK, &one, NULL);
	show_mask("thread's own");
	return unused;
}

static void show_context(const char *what)
{
	ucontext_t context;

	getcontext(&context);
	show(what, &context.uc_sigmask);
}

int main(void)
{
	sigset_t full, all_ones, empty, old;
	pthread_attr_t attributes;
	pthread_t thread;

	sigfillset(&full);
	memset(&all_ones, 0xff, sizeof(all_ones));
	sigemptyset(&empty);
	show("sigfillset", &full);

	show_mask("at start");
	printf("%d\n", sigprocmask(SIG_BLOCK, &full, &old));
	show("before", &old);
	show_mask("all blocked");
	burn(100 * NS_PER_MS);
	show_context("context");
	pthread_create(&thread, NULL, run_thread, NULL);
	pthread_join(thread, NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setsigmask_np(&attributes, &empty);
	pthread_create(&thread, &attributes, run_thread, NULL);
	pthread_join(thread, NULL);
	show_mask("still blocked");
	for (int signo = 1; signo <= 64; signo++) {
		sigset_t one = empty;

		if (sigaddset(&one, signo) != 0)
			printf("sigaddset refuses %d\n", signo);
		printf("%d ", sigprocmask(SIG_UNBLOCK, &one, &old));
		show("unblocking", &old);
	}
	show_mask("all unblocked");

	printf("%d\n", sigprocmask(SIG_SETMASK, &all_ones, NULL));
	show_mask("all ones");
	burn(100 * NS_PER_MS);
	pthread_sigmask(SIG_SETMASK, &empty, &old);
	show("old of all ones", &old);

	raise_with_mask(SIGUSR1, &empty);
	raise_with_mask(SIGUSR1, &full);
	raise_with_mask(SIGUSR1, &all_ones);
	if (sigsetjmp(back, 1) == 0)
		raise_with_mask(SIGUSR2, &full);
	show_mask("jumped, mask restored");
	if (sigsetjmp(back, 0) == 0)
		raise_with_mask(SIGUSR2, &full);
	show_mask("jumped, mask kept");
	sigprocmask(SIG_SETMASK, &empty, NULL);

	printf("sighold %d\n", sighold(SIGRTMAX - 1));
	printf("sighold hidden %d\n", sighold(32));
	show_mask("held");
	printf("sigrelse %d\n", sigrelse(SIGRTMAX - 1));
	printf("bad how %d %d\n", sigprocmask(77, &full, NULL),
	       pthread_sigmask(77, &full, NULL));
	printf("nothing %d\n", sigprocmask(77, NULL, NULL));
	show_mask("at end");
	return 0;
}
