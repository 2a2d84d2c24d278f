/*
 * span_lives HOW: spans and their memory that come to an unusual end, told as numbers.
 *
 *   memory    blocks of a span that is closed, freed by another thread in another span
 *   held N    N spans, each closed while a block of it is in use
 *   thread    a thread ends with spans entered
 *   exit      the program ends with spans open: one entered here, one on another
 *             thread, one by nobody; and two, one in the other, on a thread that burns
 *             CPU time; all of other threads have allocated blocks
 *   late      a span that has been open for long is labelled
 *   fork      a child works for a span of its parent and one of its own
 *   brief     a child lives little longer than its only span, of 0.1 ms at least
 *   open      as exit, without these two, but goes on until it is killed, and tells how
 * long b has been entered, at least, while it lives flood N   N spans, each of a name,
 * and with a label, of its own
 */
#include "burn.h"

#include <spanprof/span.h>

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>

#define BLOCKS 100
#define BLOCK_BYTES 1000
#define D_BLOCKS 7
#define E_BLOCKS 5
#define NAP_US 600000
#define STAY_US 250000
#define BURN_NS (50 * NS_PER_MS)
#define BRIEF_NS (NS_PER_MS / 10)

static struct spanprof_callsite site_a = SPANPROF_CALLSITE("a", NULL);
static struct spanprof_callsite site_b = SPANPROF_CALLSITE("b", NULL);
static struct spanprof_callsite site_c = SPANPROF_CALLSITE("c", NULL);
static struct spanprof_callsite site_d = SPANPROF_CALLSITE("d", NULL);
static struct spanprof_callsite site_e = SPANPROF_CALLSITE("e", NULL);

static void *blocks[BLOCKS];

static void *allocate(size_t size_bytes)
{
	void *block = malloc(size_bytes);

	__asm__ volatile("" : "+r"(block));
	return block;
}

/* --- memory --- */

static void allocate_blocks(int count)
{
	for (int i = 0; i < count; i++)
		blocks[i] = allocate(BLOCK_BYTES);
}

static void *allocate_in_a(void *unused)
{
	spanprof_span a = spanprof_begin(&site_a);

	allocate_blocks(BLOCKS);
	spanprof_end(a);
	return unused;
}

/* When the span is closed, and that is known. */
static void *free_in_b(void *unused)
{
	spanprof_span b = spanprof_begin(&site_b);

	usleep(NAP_US);
	for (int i = 0; i < BLOCKS / 2; i++)
		free(blocks[i]);
	spanprof_end(b);
	return unused;
}

static void run(void *(*function)(void *))
{
	pthread_t thread;

	pthread_create(&thread, NULL, function, NULL);
	pthread_join(thread, NULL);
}

static int live_memory(void)
{
	run(allocate_in_a);
	run(free_in_b);
	return 0;
}

static int live_held(long long count)
{
	void **held = calloc((size_t)count, sizeof(*held));

	for (long long i = 0; i < count; i++) {
		spanprof_span a = spanprof_begin(&site_a);

		held[i] = allocate(BLOCK_BYTES);
		spanprof_end(a);
		if (i % 500 == 499)
			usleep(NAP_US);
	}
	usleep(NAP_US);
	return held[0] == NULL;
}

/* --- ends --- */

static int64_t burn_in(struct spanprof_callsite *site)
{
	int64_t start_ns = clock_ns(CLOCK_MONOTONIC);

	spanprof_begin(site);
	burn(BURN_NS);
	return clock_ns(CLOCK_MONOTONIC) - start_ns;
}

static void *end_within(void *unused)
{
	burn_in(&site_a);
	burn_in(&site_b);
	return unused;
}

static int live_thread(void)
{
	run(end_within);
	return 0;
}

static _Atomic int64_t b_outside_ns, b_inside_ns;

static void *stay_in_b(void *unused)
{
	b_outside_ns = clock_ns(CLOCK_MONOTONIC);
	spanprof_begin(&site_b);
	allocate_blocks(BLOCKS);
	b_inside_ns = clock_ns(CLOCK_MONOTONIC);
	pause();
	return unused;
}

static void leave_open(void)
{
	pthread_t thread;

	spanprof_create(&site_c, SPANPROF_ROOT);
	pthread_create(&thread, NULL, stay_in_b, NULL);
	while (b_inside_ns == 0)
		usleep(1000);
	usleep(STAY_US);
	tell("a_ns", burn_in(&site_a));
}

static _Atomic int64_t e_inside_cpu_ns;

static void *burn_in_e(void *unused)
{
	spanprof_begin(&site_d);
	allocate_blocks(D_BLOCKS);
	spanprof_begin(&site_e);
	allocate_blocks(E_BLOCKS);
	e_inside_cpu_ns = thread_cpu_ns();
	for (;;)
		burn(BURN_NS);
	return unused;
}

static pthread_t begin_to_burn_in_e(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, burn_in_e, NULL);
	while (e_inside_cpu_ns == 0)
		usleep(1000);
	return thread;
}

static __attribute__((noreturn)) void live_exit(void)
{
	pthread_t thread = begin_to_burn_in_e();
	clockid_t clock;

	leave_open();
	pthread_getcpuclockid(thread, &clock);
	tell("e_cpu_ns", clock_ns(clock) - e_inside_cpu_ns);
	tell("b_from_ns", b_outside_ns);
	tell("b_least_ns", clock_ns(CLOCK_MONOTONIC) - b_inside_ns);
	exit(0);
}

static __attribute__((noreturn)) void live_open(void)
{
	begin_to_burn_in_e();
	leave_open();
	tell("b_from_ns", b_outside_ns);
	for (;;) {
		spanprof_span d = spanprof_begin(&site_d);
		int64_t now_ns = clock_ns(CLOCK_MONOTONIC);

		/* What comes after that moment is a sign of life. */
		spanprof_end(d);
		tell("b_least_ns", now_ns - b_inside_ns);
		usleep(500);
	}
}

static int live_fork(void)
{
	spanprof_span a = spanprof_begin(&site_a);
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		burn_in(&site_b);
		blocks[0] = allocate(BLOCK_BYTES);
		exit(0);
	}
	waitpid(child, &status, 0);
	tell("child", child);
	spanprof_end(a);
	return status;
}

static int live_brief(void)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		spanprof_span b = spanprof_begin(&site_b);
		int64_t inside_ns = clock_ns(CLOCK_MONOTONIC);

		while (clock_ns(CLOCK_MONOTONIC) - inside_ns < BRIEF_NS)
			;
		spanprof_end(b);
		exit(0);
	}
	waitpid(child, &status, 0);
	tell("child", child);
	return status;
}

/* --- labels --- */

static int live_late(void)
{
	spanprof_span a = spanprof_begin(&site_a);

	usleep(NAP_US);
	spanprof_label("user", "late");
	usleep(NAP_US);
	spanprof_end(a);
	return 0;
}

/* --- very many --- */

static void work_for(long long number)
{
	struct spanprof_callsite *site = calloc(1, sizeof(*site));
	char name[32], user[32];
	spanprof_span span;

	snprintf(name, sizeof(name), "name %lld", number);
	snprintf(user, sizeof(user), "user %lld", number);
	site->name = name;
	span = spanprof_create(site, SPANPROF_ROOT);
	spanprof_span_label(span, "user", user);
	spanprof_enter(span);
	free(allocate(BLOCK_BYTES));
	spanprof_end(span);
	free(site);
}

static long long resident_kb(const char *what)
{
	FILE *file = fopen("/proc/self/status", "r");
	long long kb = -1;
	char line[256];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, what, strlen(what)) == 0)
			kb = atoll(line + strlen(what));
	if (file != NULL)
		fclose(file);
	return kb;
}

static int live_flood(long long count)
{
	for (long long i = 0; i < count; i++)
		work_for(i);
	tell("anonymous_kb", resident_kb("RssAnon:"));
	tell("shared_kb", resident_kb("RssShmem:"));
	return 0;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	long long number = number_argument(argc, argv, 2, 1000);

	if (strcmp(how, "memory") == 0)
		return live_memory();
	if (strcmp(how, "held") == 0)
		return live_held(number);
	if (strcmp(how, "thread") == 0)
		return live_thread();
	if (strcmp(how, "exit") == 0)
		live_exit();
	if (strcmp(how, "fork") == 0)
		return live_fork();
	if (strcmp(how, "brief") == 0)
		return live_brief();
	if (strcmp(how, "late") == 0)
		return live_late();
	if (strcmp(how, "open") == 0)
		live_open();
	if (strcmp(how, "flood") == 0)
		return live_flood(number);
	return 2;
}
