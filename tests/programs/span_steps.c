/*
 * span_steps MODE: interrupts the agent's work on spans (steps.h), those that the program
 * marks and calls of getppid().
 *
 *   fork   the handler forks, and both processes return from it
 *   mark   so it does, and marks spans in the child before
 *   stay   so it does, and burns CPU time in the child before
 *   leave  so it does, and jumps out of it in the child
 *
 * Tells how often that was, and how much of the work was done.
 */
#include "steps.h"

#include <spanprof/span.h>

#define STAY_CPU_NS (30 * NS_PER_MS)
#define CHILD_CPU_NS (10 * NS_PER_MS)
#define CHILD_SPANS 10
#define CHILD_CALLS 5
#define NAMES 200

static struct spanprof_callsite outer_site = SPANPROF_CALLSITE("outer", NULL);
static struct spanprof_callsite handler_site = SPANPROF_CALLSITE("handler", NULL);
static struct spanprof_callsite child_site = SPANPROF_CALLSITE("child", NULL);
static const char *mode;

static void mark(struct spanprof_callsite *site)
{
	spanprof_span span = spanprof_begin(site);
	void *block;

	spanprof_label("who", "somebody");
	block = malloc(100);
	__asm__ volatile("" : "+r"(block));
	free(block);
	spanprof_end(span);
}

static void meet(void)
{
	if (!fork_here())
		return;
	if (mode[0] == 's')
		burn(STAY_CPU_NS);
	if (mode[0] == 'm' || mode[0] == 's')
		mark(&handler_site);
	if (mode[0] == 'l')
		siglongjmp(here, 1);
}

/* Each time with a name that is met for the first time. */
static void step_work(void)
{
	static struct spanprof_callsite sites[NAMES];
	static char names[NAMES][16];
	static unsigned count;
	unsigned at = count++ % NAMES;
	spanprof_span outer = spanprof_create(&outer_site, SPANPROF_ROOT);

	spanprof_span_label(outer, "who", "me");
	spanprof_enter(outer);
	getppid();
	snprintf(names[at], sizeof(names[at]), "inner %u", at);
	sites[at].name = names[at];
	spanprof_end(spanprof_begin(&sites[at]));
	spanprof_end(outer);
}

static void run_child(void)
{
	for (int i = 0; i < CHILD_CALLS; i++)
		getppid();
	for (int i = 0; i < CHILD_SPANS; i++)
		mark(&child_site);
	/* Whatever was left entered would be on these samples. */
	burn(CHILD_CPU_NS);
	exit(0);
}

int main(int argc, char **argv)
{
	int result;

	mode = argc > 1 ? argv[1] : "fork";
	find_agent();
	result = meet_everywhere();
	printf("pid=%d\nmeetings=%ld\ndone=%ld\n", (int)getpid(), meetings, done);
	return result;
}
