/*
 * span_frames HOW: within calls of a library's functions does what makes frames of a
 * stack end, or wait, out of order. Prints the same in every run.
 *
 *	throw      exceptions pass two such calls, are caught between them and thrown on
 *	backtrace  looks at its own stack from within a call
 *	handler    a handler on a small stack of its own calls, in the midst of calls
 *	vfork      a child of vfork() calls, and ends or becomes another program
 *	switch     coroutines are left and resumed in the midst of calls
 */
#include "lib_functions.h"

#include <execinfo.h>
#include <signal.h>
#include <stdexcept>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define ROUNDS 100
#define SWITCHES 50
#define PAGE_BYTES 4096
#define COROUTINE_STACK_BYTES (64 * 1024)
/* Beyond what the kernel itself puts there. */
#define HANDLER_STACK_BYTES 4096

/* --- throw --- */

static int caught_between, caught_outside;

static void throw_far(void)
{
	fn_throw(5);
}

static void throw_typed(void)
{
	throw std::runtime_error("far");
}

static void catch_and_throw_on(void)
{
	try {
		fn_call(throw_far);
	} catch (int value) {
		caught_between += value;
		throw;
	}
}

static void call_inner(void)
{
	fn_call(throw_typed);
}

static int run_throw(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		try {
			fn_call(catch_and_throw_on);
		} catch (int value) {
			caught_outside += value;
		}
		try {
			fn_call(call_inner);
		} catch (const std::exception &error) {
			caught_outside += strcmp(error.what(), "far") == 0;
		}
	}
	printf("caught %d %d\n", caught_between, caught_outside);
	return 0;
}

/* --- backtrace --- */

static void *stack_within[64];
static int depth_within;

static void look(void)
{
	depth_within = backtrace(stack_within, 64);
}

static int run_backtrace(void)
{
	void *stack_outside[64];
	int depth = backtrace(stack_outside, 64);

	fn_call(look);
	/* The caller of this function, and its caller. */
	printf("complete %d\n",
	       depth >= 3 && depth_within > depth &&
		       memcmp(stack_within + depth_within - depth + 1, stack_outside + 1,
			      (size_t)(depth - 1) * sizeof(void *)) == 0);
	return 0;
}

/* --- handler --- */

static volatile sig_atomic_t handled;

static void on_timer(int)
{
	handled += fn_none() == 42;
}

static int run_handler(void)
{
	size_t bytes = (size_t)sysconf(_SC_MINSIGSTKSZ) + HANDLER_STACK_BYTES;
	stack_t stack = {};
	struct sigaction action = {};
	struct itimerval often = {{0, 1000}, {0, 1000}}, never = {};
	char *memory;
	long sum = 0;

	/* What goes past its end is a fault. */
	bytes = (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	memory = (char *)mmap(NULL, bytes + PAGE_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(memory, PAGE_BYTES, PROT_NONE);
	stack.ss_sp = memory + PAGE_BYTES;
	stack.ss_size = bytes;
	sigaltstack(&stack, NULL);
	action.sa_handler = on_timer;
	action.sa_flags = SA_ONSTACK | SA_RESTART;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	while (handled < ROUNDS)
		sum += fn_none() - 42;
	setitimer(ITIMER_REAL, &never, NULL);
	printf("handled, %ld\n", sum);
	return 0;
}

/* --- vfork --- */

static int statuses;

static void make_child(void)
{
	static int count;
	pid_t child;
	int status = 0;

	count++;
	child = vfork();
	if (child == 0) {
		fn_none();
		if (count % 2)
			_exit((int)fn_none());
		execl("/bin/sh", "sh", "-c", "exit 42", (char *)NULL);
		_exit(1);
	}
	waitpid(child, &status, 0);
	statuses += WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static int run_vfork(void)
{
	for (int i = 0; i < 10; i++)
		fn_call(make_child);
	printf("statuses %d\n", statuses);
	return 0;
}

/* --- switch --- */

static ucontext_t scheduler, coroutines[2];
static int running, turns[2];

static void yield_within(void)
{
	swapcontext(&coroutines[running], &scheduler);
}

static void run_coroutine(void)
{
	int own = running;

	for (int i = 0; i < SWITCHES; i++) {
		fn_call(yield_within);
		turns[own]++;
	}
}

static void resume_both(void)
{
	for (running = 0; running < 2; running++)
		swapcontext(&scheduler, &coroutines[running]);
}

static int run_switch(void)
{
	for (running = 0; running < 2; running++) {
		getcontext(&coroutines[running]);
		coroutines[running].uc_stack.ss_sp = malloc(COROUTINE_STACK_BYTES);
		coroutines[running].uc_stack.ss_size = COROUTINE_STACK_BYTES;
		coroutines[running].uc_link = &scheduler;
		makecontext(&coroutines[running], run_coroutine, 0);
	}
	/* By turns from within a call and from none. */
	for (int i = 0; i <= SWITCHES; i++) {
		if (i % 2)
			fn_call(resume_both);
		else
			resume_both();
	}
	printf("turns %d %d\n", turns[0], turns[1]);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(void);
	} ways[] = {{"throw", run_throw},
		    {"backtrace", run_backtrace},
		    {"handler", run_handler},
		    {"vfork", run_vfork},
		    {"switch", run_switch}};

	for (const auto &way : ways)
		if (argc == 2 && strcmp(argv[1], way.name) == 0)
			return way.run();
	return 2;
}
