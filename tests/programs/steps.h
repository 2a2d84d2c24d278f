/*
 * Interrupting the agent at chosen instructions, by the processor's single steps, each
 * time at a later one, until all of a piece of work was met. Without the agent there is
 * nothing to meet.
 */
#ifndef STEPS_H
#define STEPS_H

#include "agent_code.h"
#include "burn.h"

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>

#define TRAP_FLAG 0x100
/* Few steps between two, and few in all. */
#define MEETINGS 120
#define WARM_ROUNDS 5

static volatile long steps, meeting_step; /* of instructions of the agent's */
static volatile sig_atomic_t has_met, is_child;
static volatile pid_t child;
static sigjmp_buf here;
static long meetings, done;

/* The program's own: what is interrupted, and what the handler does then. */
static void step_work(void);
static void meet(void);
static void run_child(void) __attribute__((noreturn));

static void on_step(int number, siginfo_t *info, void *opaque)
{
	ucontext_t *context = opaque;
	uintptr_t pc = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];

	(void)number;
	(void)info;
	if (!is_agent_code(pc) || ++steps != meeting_step)
		return;
	context->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	has_met = 1;
	meet();
}

/* Clear of what the compiler keeps below the stack pointer. */
static inline __attribute__((always_inline)) void set_steps(int is_on)
{
	if (is_on)
		__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\t"
				 "orq $0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp"
				 :
				 :
				 : "memory", "cc");
	else
		__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\t"
				 "andq $~0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp"
				 :
				 :
				 : "memory", "cc");
}

/* In both processes, as if nothing had happened. */
static NOINLINE void work(void)
{
	steps = 0;
	has_met = 0;
	set_steps(agent_low != 0);
	step_work();
	set_steps(0);
	done++;
}

/* meet() has forked? For the child's way back. */
static bool fork_here(void)
{
	child = fork();
	is_child = child == 0;
	return is_child;
}

static int await_child(void)
{
	int status;

	if (waitpid(child, &status, 0) != child)
		return 5;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "met at step %ld, the child ended with %x\n",
			meeting_step, (unsigned)status);
		return 6;
	}
	return 0;
}

static int meet_everywhere(void)
{
	struct sigaction action = {.sa_sigaction = on_step,
				   .sa_flags = SA_SIGINFO | SA_NODEFER};
	volatile long stride, usual_steps = 0;

	sigaction(SIGTRAP, &action, NULL);
	/* Warm, then the shortest for the count: some do what comes by only now and then.
	 * By one call: several, as of a loop that is unrolled, have stacks of their own,
	 * of which none is met often enough to be known. */
	meeting_step = 0;
	for (volatile int i = 0; i < WARM_ROUNDS; i++) {
		work();
		if (i == 0 || steps < usual_steps)
			usual_steps = steps;
	}
	stride = usual_steps / MEETINGS + 1;
	meeting_step = 1;
	for (;;) {
		int result;

		if (sigsetjmp(here, 1) == 0)
			work();
		if (is_child)
			run_child();
		if (!has_met)
			break;
		meetings++;
		result = child ? await_child() : 0;
		if (result)
			return result;
		child = 0;
		meeting_step += stride;
	}
	return 0;
}

#endif
