/*
 * Coroutines on stacks of the size in its argument, entered from several threads, each
 * burning CPU as many bytes before the end of its stack as the second argument says, with
 * a pattern below that must stay. (The loader's lazy binding alone takes 3 KB.)
 */
#include "burn.h"

#include <alloca.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define COROUTINES 4
#define GUARD_BYTES 65536
#define THREADS 2

static size_t stack_bytes, used_bytes;
static int rounds;

struct scheduler {
	ucontext_t own, coroutine[COROUTINES];
	unsigned char *low[COROUTINES];
	int current, finished;
	double sums[COROUTINES];
};

static NOINLINE double use_stack_and_burn(struct scheduler *scheduler, int step)
{
	unsigned char *used = alloca(used_bytes);
	double sum = 0;

	memset(used, step, used_bytes);
	burn_here(5 * NS_PER_MS);
	for (size_t i = 0; i < used_bytes; i++)
		sum += used[i];
	swapcontext(&scheduler->coroutine[scheduler->current], &scheduler->own);
	for (size_t i = 0; i < used_bytes; i++)
		sum -= used[i] == step ? 0 : 1e9;
	return sum;
}

static void run(unsigned high, unsigned low, int number)
{
	struct scheduler *scheduler =
		(struct scheduler *)((uintptr_t)high << 32 | (uintptr_t)low);

	for (int step = 1; step <= rounds; step++)
		scheduler->sums[number] += use_stack_and_burn(scheduler, step);
	scheduler->finished++;
}

static void make(struct scheduler *scheduler, int number)
{
	ucontext_t *context = &scheduler->coroutine[number];
	unsigned char *pages =
		mmap(NULL, GUARD_BYTES + stack_bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(pages, 0xa5, GUARD_BYTES);
	scheduler->low[number] = pages + GUARD_BYTES;
	getcontext(context);
	context->uc_stack.ss_sp = scheduler->low[number];
	context->uc_stack.ss_size = stack_bytes;
	context->uc_link = &scheduler->own;
	makecontext(context, (void (*)(void))run, 3,
		    (unsigned)((uintptr_t)scheduler >> 32),
		    (unsigned)(uintptr_t)scheduler, number);
}

static void show_stack(void)
{
	stack_t now;

	printf("%d", sigaltstack(NULL, &now));
	printf(" flags %d size %zu at %p\n", now.ss_flags, now.ss_size, now.ss_sp);
}

static void check(const struct scheduler *scheduler)
{
	int written = 0;

	for (int i = 0; i < COROUTINES; i++) {
		printf("sum %d: %.0f\n", i, scheduler->sums[i]);
		for (unsigned char *at = scheduler->low[i] - GUARD_BYTES;
		     at < scheduler->low[i]; at++)
			written += *at != 0xa5;
	}
	printf("%d bytes below the stacks written\n", written);
}

/* The coroutines of another thread may be entered here. */
static void *schedule(void *argument)
{
	struct scheduler *scheduler = argument;

	for (int step = 0; step <= rounds; step++)
		for (int i = 0; i < COROUTINES; i++) {
			scheduler->current = i;
			swapcontext(&scheduler->own, &scheduler->coroutine[i]);
		}
	show_stack();
	return NULL;
}

static void handle(int signo)
{
	burn(10 * NS_PER_MS);
	(void)signo;
}

int main(int argc, char **argv)
{
	static struct scheduler schedulers[1 + THREADS];
	static char own_stack[65536], small_stack[8192];
	stack_t own = {.ss_sp = own_stack, .ss_size = sizeof(own_stack)}, old;
	stack_t small = {.ss_sp = small_stack, .ss_size = sizeof(small_stack)};
	struct sigaction action = {.sa_flags = SA_ONSTACK};
	volatile int times_back = 0;
	pthread_t threads[THREADS];
	ucontext_t again;

	setvbuf(stdout, NULL, _IONBF, 0);
	stack_bytes = (size_t)number_argument(argc, argv, 1, 16384);
	used_bytes = stack_bytes - (size_t)number_argument(argc, argv, 2, 4096);
	rounds = (int)number_argument(argc, argv, 3, 10);
	show_stack();
	for (int i = 0; i <= THREADS; i++)
		for (int j = 0; j < COROUTINES; j++)
			make(&schedulers[i], j);
	show_stack();
	schedule(&schedulers[0]);
	check(&schedulers[0]);
	for (int i = 0; i < THREADS; i++) {
		pthread_create(&threads[i], NULL, schedule, &schedulers[1 + i]);
		pthread_join(threads[i], NULL);
		check(&schedulers[1 + i]);
	}

	/* setcontext() comes back where getcontext() was. */
	getcontext(&again);
	times_back++;
	if (times_back < 3)
		setcontext(&again);
	printf("back %d times\n", times_back);

	/* An alternate stack of the program's own is what it reads back and runs on. */
	action.sa_handler = handle;
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	printf("set %d", sigaltstack(&own, &old));
	printf(" old flags %d\n", old.ss_flags);
	raise(SIGUSR1);
	printf("set %d", sigaltstack(&small, &old));
	printf(" old flags %d own %d\n", old.ss_flags, old.ss_sp == own_stack);
	raise(SIGUSR1);
	burn(50 * NS_PER_MS);
	own.ss_flags = SS_DISABLE;
	printf("disable %d", sigaltstack(&own, &old));
	printf(" old flags %d small %d\n", old.ss_flags, old.ss_sp == small_stack);
	show_stack();
	raise(SIGUSR1);
	burn(50 * NS_PER_MS);
	return 0;
}
