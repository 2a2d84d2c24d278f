/*
 * heap_steps MODE: interrupts the agent's work on blocks (steps.h).
 *
 *   fork       the handler forks, and both processes return from it
 *   allocate   so it does, and allocates in the child before
 *   stay       so it does, and burns CPU time in the child before
 *   jump       the handler jumps out of it
 *   coroutine  the same on a coroutine's stack
 *
 * Tells how often that was, and what was allocated for certain.
 */
#include "heap_sites.h"
#include "steps.h"

#define AFTER_BLOCKS 100
#define STAY_CPU_NS (30 * NS_PER_MS)
#define COROUTINE_STACK_BYTES (256 * 1024)

HEAP_SITE(steps_allocate)
HEAP_SITE(child_allocate)
HEAP_SITE(handler_allocate)
HEAP_SITE(after_allocate)
HEAP_RESITE(steps_resize)

static const char *mode;

static void meet(void)
{
	if (mode[0] == 'j' || mode[0] == 'c')
		siglongjmp(here, 1);
	if (!fork_here())
		return;
	if (mode[0] == 'a')
		for (int i = 0; i < 10; i++)
			free(handler_allocate(333));
	if (mode[0] == 's')
		burn(STAY_CPU_NS);
}

static void step_work(void)
{
	void *block = steps_allocate(777);

	block = steps_resize(block, 1500);
	free(block);
}

static void run_child(void)
{
	void *blocks[10];

	for (int i = 0; i < 10; i++)
		blocks[i] = child_allocate(900);
	for (int i = 0; i < 10; i += 2)
		free(blocks[i]);
	exit(0);
}

static void allocate_after(void)
{
	static void *blocks[AFTER_BLOCKS];

	for (int i = 0; i < AFTER_BLOCKS; i++)
		blocks[i] = after_allocate(555);
	for (int i = 0; i < AFTER_BLOCKS / 2; i++)
		free(blocks[i]);
}

static int result_of_coroutine;
static ucontext_t scheduler, coroutine;

static void run_coroutine(void)
{
	result_of_coroutine = meet_everywhere();
	allocate_after();
}

static int run(void)
{
	static char stack[COROUTINE_STACK_BYTES];
	int result;

	if (mode[0] != 'c') {
		result = meet_everywhere();
	} else {
		getcontext(&coroutine);
		coroutine.uc_stack.ss_sp = stack;
		coroutine.uc_stack.ss_size = sizeof(stack);
		coroutine.uc_link = &scheduler;
		makecontext(&coroutine, run_coroutine, 0);
		swapcontext(&scheduler, &coroutine);
		result = result_of_coroutine;
	}
	allocate_after();
	return result;
}

int main(int argc, char **argv)
{
	int result;

	mode = argc > 1 ? argv[1] : "fork";
	find_agent();
	result = run();
	printf("pid=%d\nmeetings=%ld\ndone=%ld\n", (int)getpid(), meetings, done);
	return result;
}
