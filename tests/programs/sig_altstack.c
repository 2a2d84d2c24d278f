/*
 * Handlers on an alternate stack of the size in its argument, installed before and after
 * it is known, working and changing masks there; prints what it reads back.
 */
#include "burn.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define GUARD_BYTES 65536

static size_t stack_bytes;
static unsigned char *low; /* of the alternate stack, GUARD_BYTES of pattern below it */
static volatile sig_atomic_t runs, is_inside, is_flagged, is_jumping;
static unsigned long masks[4];
static sigjmp_buf back;

/* Little stack of its own: nothing here may print. */
static void handle(int signo)
{
	unsigned char here;
	sigset_t set, old;
	stack_t stack;

	runs++;
	is_inside = &here >= low && &here < low + stack_bytes;
	sigaltstack(NULL, &stack);
	is_flagged = stack.ss_flags == SS_ONSTACK && stack.ss_size == stack_bytes;
	burn_here(30 * NS_PER_MS);
	sigprocmask(SIG_BLOCK, NULL, &set);
	masks[0] = *(unsigned long *)&set;
	sigemptyset(&set);
	sigaddset(&set, signo);
	pthread_sigmask(SIG_SETMASK, &set, &old);
	masks[1] = *(unsigned long *)&old;
	burn_here(30 * NS_PER_MS);
	sigfillset(&set);
	sigprocmask(SIG_UNBLOCK, &set, &old);
	masks[2] = *(unsigned long *)&old;
	burn_here(30 * NS_PER_MS);
	if (is_jumping)
		siglongjmp(back, 1);
}

static void install(int signo, int flags)
{
	struct sigaction action = {.sa_flags = flags};

	action.sa_handler = handle;
	sigaddset(&action.sa_mask, SIGUSR1);
	sigaction(signo, &action, NULL);
}

static void show(int signo)
{
	struct sigaction now;

	sigaction(signo, NULL, &now);
	printf("%d: flags %x mask %016lx ours %d\n", signo, (unsigned)now.sa_flags,
	       *(unsigned long *)&now.sa_mask, now.sa_handler == handle);
}

static void show_stack(const char *what)
{
	stack_t now;

	memset(&now, 0xff, sizeof(now));
	printf("%s: %d", what, sigaltstack(NULL, &now));
	printf(" flags %d size %zu ours %d\n", now.ss_flags, now.ss_size,
	       now.ss_sp == low);
}

static void deliver(int signo)
{
	sigset_t mask;

	raise(signo);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	printf("%d: runs %d inside %d flagged %d masks %lx %lx %lx after %lx\n", signo,
	       (int)runs, (int)is_inside, (int)is_flagged, masks[0], masks[1], masks[2],
	       *(unsigned long *)&mask);
	burn(20 * NS_PER_MS);
}

static void check_guard(void)
{
	for (unsigned char *at = low - GUARD_BYTES; at < low; at++)
		if (*at != 0xa5) {
			printf("written below the stack\n");
			return;
		}
	printf("nothing below the stack is touched\n");
}

static void *run_thread(void *unused)
{
	stack_t none = {.ss_flags = SS_DISABLE};

	show_stack("another thread");
	printf("disable %d\n", sigaltstack(&none, NULL));
	show_stack("another thread");
	return unused;
}

int main(int argc, char **argv)
{
	stack_t stack = {0}, old;
	pthread_t thread;

	stack_bytes = (size_t)number_argument(argc, argv, 1, 8192);
	low = mmap(NULL, GUARD_BYTES + stack_bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	low += GUARD_BYTES;
	memset(low - GUARD_BYTES, 0xa5, GUARD_BYTES);

	show_stack("at start");
	install(SIGUSR1, SA_ONSTACK);
	install(SIGRTMIN, SA_ONSTACK | SA_RESTART);
	install(SIGALRM, 0);
	stack.ss_sp = low;
	stack.ss_size = stack_bytes;
	printf("set %d", sigaltstack(&stack, &old));
	printf(" old flags %d size %zu\n", old.ss_flags, old.ss_size);
	show_stack("set");
	install(SIGUSR2, SA_ONSTACK);
	for (int signo = 1; signo <= 64; signo++)
		if (signo == SIGUSR1 || signo == SIGUSR2 || signo == SIGRTMIN ||
		    signo == SIGALRM)
			show(signo);
	printf("bad %d errno %d\n", sigaltstack((stack_t *)8, NULL), errno);
	stack.ss_size = 100;
	printf("too small %d errno %d\n", sigaltstack(&stack, NULL), errno);
	show_stack("unchanged");
	fflush(stdout);
	deliver(SIGUSR1);
	deliver(SIGUSR2);
	deliver(SIGRTMIN);
	deliver(SIGALRM);
	if (sigsetjmp(back, 1) == 0) {
		is_jumping = 1;
		deliver(SIGUSR1);
	}
	is_jumping = 0;
	deliver(SIGUSR2);
	check_guard();
	pthread_create(&thread, NULL, run_thread, NULL);
	pthread_join(thread, NULL);
	stack.ss_flags = SS_DISABLE;
	printf("disable %d\n", sigaltstack(&stack, &old));
	printf("old flags %d size %zu\n", old.ss_flags, old.ss_size);
	show_stack("disabled");
	deliver(SIGUSR2);
	return 0;
}
