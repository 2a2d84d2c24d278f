/*
 * Jumps out of a signal's handler that met the thread in the middle of the agent's work
 * on a block, where the C library's allocator holds nothing. Without the agent there
 * are none. What comes after the last jump must be followed like anything.
 */
#include "agent_code.h"
#include "burn.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

#define JUMPS 200
#define DEADLINE_NS (60 * 1000 * NS_PER_MS)
#define BLOCKS 1000

NOINLINE void *jumps_before(int depth);
NOINLINE void *jumps_after(void);

static volatile sig_atomic_t jumps;
static sigjmp_buf here;

static void on_alarm(int signal_number, siginfo_t *info, void *context)
{
	uintptr_t pc =
		(uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

	(void)signal_number;
	(void)info;
	if (!is_agent_code(pc))
		return;
	jumps++;
	siglongjmp(here, 1);
}

/* From different depths, so that none is always above the last. */
void *jumps_before(int depth)
{
	void *block = depth ? jumps_before(depth - 1) : malloc(64);

	__asm__ volatile("" : "+r"(block));
	return block;
}

void *jumps_after(void)
{
	void *block = malloc(777);

	__asm__ volatile("" : "+r"(block));
	return block;
}

int main(void)
{
	const struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
	struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};
	int64_t end_ns = clock_ns(CLOCK_MONOTONIC) + DEADLINE_NS;
	static void *blocks[BLOCKS];

	find_agent();
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	sigsetjmp(here, 1);
	while (agent_high && jumps < JUMPS && clock_ns(CLOCK_MONOTONIC) < end_ns)
		for (int i = 0; i < 100; i++)
			free(jumps_before(i % 7));
	setitimer(ITIMER_REAL, &never, NULL);
	action.sa_handler = SIG_IGN;
	action.sa_flags = 0;
	sigaction(SIGALRM, &action, NULL);
	for (int i = 0; i < BLOCKS; i++)
		blocks[i] = jumps_after();
	for (int i = 0; i < BLOCKS / 2; i++)
		free(blocks[i]);
	puts(agent_high && jumps < JUMPS ? "too few jumps" : "done");
	return 0;
}
