/*
 * heap_steps MODE: interrupts the agent's work on blocks at chosen instructions, by the
 * processor's single steps, each time at a later one, until all of it was met. Without
 * the agent there is nothing to meet.
 *
 *   fork       the handler forks, and both processes return from it
 *   allocate   so it does, and allocates in the child before
 *   stay       so it does, and burns CPU time in the child before
 *   jump       the handler jumps out of it
 *   coroutine  the same on a coroutine's stack
 *
 * Tells how often that was, and what was allocated for certain.
 */
#include "burn.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>

#define TRAP_FLAG 0x100
/* Few steps between two, and few in all. */
#define MEETINGS 120
#define AFTER_BLOCKS 100
#define STAY_CPU_NS (30 * NS_PER_MS)
#define COROUTINE_STACK_BYTES (256 * 1024)

#define PLACE(name)                                                                      \
	NOINLINE void *name(size_t bytes);                                               \
	void *name(size_t bytes)                                                         \
	{                                                                                \
		void *block = malloc(bytes);                                             \
                                                                                         \
		__asm__ volatile("" : "+r"(block));                                      \
		return block;                                                            \
	}

PLACE(steps_allocate)
PLACE(child_allocate)
PLACE(handler_allocate)
PLACE(after_allocate)
NOINLINE void *steps_resize(void *block, size_t bytes);

void *steps_resize(void *block, size_t bytes)
{
	block = realloc(block, bytes);
	__asm__ volatile("" : "+r"(block));
	return block;
}

static const char *mode;
static uintptr_t agent_low, agent_high;
static volatile long steps, meeting_step; /* of instructions of the agent's */
static volatile sig_atomic_t has_met, is_child;
static volatile pid_t child;
static sigjmp_buf here;
static long meetings, done;

static void find_agent(void)
{
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "libspanprof.so") || !strstr(line, " r-xp "))
			continue;
		agent_low = strtoul(line, NULL, 16);
		agent_high = strtoul(strchr(line, '-') + 1, NULL, 16);
	}
	if (maps)
		fclose(maps);
}

static void meet(void)
{
	has_met = 1;
	if (mode[0] == 'j' || mode[0] == 'c')
		siglongjmp(here, 1);
	child = fork();
	if (child != 0)
		return;
	is_child = 1;
	if (mode[0] == 'a')
		for (int i = 0; i < 10; i++)
			free(handler_allocate(333));
	if (mode[0] == 's')
		burn(STAY_CPU_NS);
}

static void on_step(int number, siginfo_t *info, void *opaque)
{
	ucontext_t *context = opaque;
	uintptr_t pc = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];

	(void)number;
	(void)info;
	if (pc < agent_low || pc >= agent_high || ++steps != meeting_step)
		return;
	context->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
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

/* What is interrupted. The parent's returns are as if nothing had happened. */
static NOINLINE void work(void)
{
	void *block;

	steps = 0;
	has_met = 0;
	set_steps(agent_low != 0);
	block = steps_allocate(777);
	block = steps_resize(block, 1500);
	free(block);
	set_steps(0);
	done++;
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
	volatile long stride;

	sigaction(SIGTRAP, &action, NULL);
	/* Warm, then all of it for the count. */
	meeting_step = 0;
	work();
	work();
	stride = steps / MEETINGS + 1;
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
