/*
 * What the agent takes at its defaults in a program of many threads that sleep: thread-
 * local storage, slots, rings, tables, the private heap and page tables. (For threads at
 * work see the storms of the heap.)
 */
#include "victim.h"

#include <stdio.h>
#include <sys/wait.h>

#define THREADS 2000

/* -1: not to be had. */
static double memory_kib(int threads, bool is_bare)
{
	char count[16];
	const struct victim_setup setup = {
		.argv = (const char *const[]){"idle_threads", count, NULL},
		/* One heap: how many there are is a matter of chance. */
		.environment = (const char *const[]){"MALLOC_ARENA_MAX=1", NULL},
		.is_bare = is_bare,
	};
	struct victim *victim;
	double kib = -1;

	snprintf(count, sizeof(count), "%d", threads);
	victim = victim_run(&setup);
	if (!WIFEXITED(victim->status) || WEXITSTATUS(victim->status) != 77) {
		victim_assert_success(victim);
		kib = (double)victim_number(victim->output, "memory_kib");
	}
	victim_free(victim);
	return kib;
}

START_TEST(sleeping_threads_take_little)
{
	double bare_kib = memory_kib(THREADS, true);
	double agent_kib, own_kib;

	if (bare_kib < 0) {
		printf("not so many threads here: skipped\n");
		return;
	}
	agent_kib = memory_kib(THREADS, false);
	ck_assert_msg(agent_kib >= 0, "threads cannot be made under the agent");
	own_kib = agent_kib - bare_kib;
	printf("%d threads: %.0f KiB, %.0f without us\n", THREADS, agent_kib, bare_kib);
	/* The numbers that are promised: 16 MiB, and 1 KiB for each of them. */
	ck_assert_msg(own_kib <= 16 * 1024 + THREADS, "%.0f KiB", own_kib);
	/* That something was measured at all. */
	ck_assert_msg(own_kib > 512, "%.0f KiB", own_kib);
}
END_TEST

#define FEWER_THREADS 1000
#define MORE_THREADS 3000

/* So many that what is there once does not tell. */
START_TEST(each_sleeping_thread_takes_what_is_promised)
{
	double bare_kib = memory_kib(MORE_THREADS, true), own_kib;

	if (bare_kib < 0) {
		printf("not so many threads here: skipped\n");
		return;
	}
	bare_kib -= memory_kib(FEWER_THREADS, true);
	own_kib = memory_kib(MORE_THREADS, false) - memory_kib(FEWER_THREADS, false) -
		  bare_kib;
	own_kib /= MORE_THREADS - FEWER_THREADS;
	printf("a thread: %.2f KiB\n", own_kib);
	ck_assert_msg(own_kib <= 1, "%.2f KiB", own_kib);
	/* That something was measured at all. */
	ck_assert_msg(own_kib > 0.25, "%.2f KiB", own_kib);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, sleeping_threads_take_little);
	tcase_add_test(tcase, each_sleeping_thread_takes_what_is_promised);
}

int main(void)
{
	return victim_main("memory", add);
}
