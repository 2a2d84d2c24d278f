/*
 * Calls functions of a library in all ways there are and prints what comes back. Built
 * as a program and as a module, lib_span_functions, with run() for main(). Arguments:
 *
 *	results          of calls with all kinds of arguments
 *	leave MS         burns within spans that are left otherwise than by returning, or
 *	                 interrupted, and the same time outside of them after each
 *	calls COUNT      ns a call of an empty function
 */
#include "lib_functions.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int burn_ms;

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* The program's own: its samples are outside of all spans. */
extern "C" __attribute__((noinline)) void burn_outside(int ms)
{
	struct timespec now;
	long long end_ns;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	end_ns = now.tv_sec * 1000000000LL + now.tv_nsec + ms * 1000000LL;
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	while (now.tv_sec * 1000000000LL + now.tv_nsec < end_ns);
}

static long again(int depth)
{
	return fn_recurse(depth, again);
}

static void show_results(void)
{
	struct pair pair = fn_pair({3, 4}, 2.5);
	struct mixed mixed = fn_mixed({6, 9.0}, 3);
	struct large large = {}, result;
	char text[200];
	long sum = 0;

	for (int i = 0; i < 20; i++)
		large.items[i] = i * i;
	result = fn_large(3, large, 1);
	for (long item : result.items)
		sum = sum * 3 + item;
	printf("none %ld\n", fn_none());
	printf("twelve %ld\n", fn_twelve(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
	printf("doubles %g\n", fn_doubles(1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10.25));
	printf("long double %Lg\n", fn_long_double(3, 1.25L, 0.5L));
	printf("pair %ld %ld\n", pair.first, pair.second);
	printf("mixed %ld %g\n", mixed.first, mixed.second);
	printf("large %ld\n", sum);
	printf("variadic %d\n", fn_variadic(text, sizeof(text), "%d %g %s %Lg %d %d %g",
					    1, 2.5, "three", 4.5L, 5, 6, 7.5));
	printf("%s\n", text);
	printf("recurse %ld\n", fn_recurse(200, again));
	printf("jump inside %d\n", fn_jump_inside());
	printf("variable %ld\n", fn_variable);
#ifndef IS_MODULE
	printf("constant %ld\n", user_constant());
	printf("address is %s\n", user_none() == fn_none ? "the same" : "another");
	printf("by address %ld\n", user_none()());
#endif
}

static void inner_throw(void)
{
	fn_burn_ms(burn_ms);
	fn_throw(5);
}

static void throw_past(void)
{
	try {
		fn_call(inner_throw);
	} catch (int value) {
		printf("caught %d\n", value);
	}
	burn_outside(burn_ms);
}

static jmp_buf target;

static void inner_jump(void)
{
	fn_burn_ms(burn_ms);
	fn_jump(target);
}

static void jump_past(void)
{
	int value = setjmp(target);

	if (value == 0)
		fn_call(inner_jump);
	printf("jumped %d\n", value);
	burn_outside(burn_ms);
}

static void burn_at_end(void *)
{
	burn_outside(burn_ms);
}

static void inner_exit(void)
{
	fn_burn_ms(burn_ms);
	fn_end_thread();
}

static void *run_exit(void *)
{
	pthread_cleanup_push(burn_at_end, NULL);
	fn_call(inner_exit);
	pthread_cleanup_pop(0);
	return NULL;
}

static void inner_cancelled(void)
{
	fn_burn_ms(burn_ms);
	for (;;)
		pthread_testcancel();
}

static void *run_cancelled(void *)
{
	pthread_cleanup_push(burn_at_end, NULL);
	fn_call(inner_cancelled);
	pthread_cleanup_pop(0);
	return NULL;
}

static void inner_nothing(void)
{
}

static void handle(int)
{
	fn_call(inner_nothing);
}

static void inner_signal(void)
{
	raise(SIGUSR1);
	fn_burn_ms(burn_ms);
}

/* A stack of handlers that lies above all that runs now is none that this has left. */
static void handle_within(void)
{
	static const stack_t none = {NULL, SS_DISABLE, 0};
	unsigned char bytes[65536];
	stack_t stack = {bytes, 0, sizeof(bytes)};
	stack_t *old = &stack; /* told in the same place */
	struct sigaction action = {};

	action.sa_handler = handle;
	action.sa_flags = SA_ONSTACK;
	sigaction(SIGUSR1, &action, NULL);
	sigaltstack(&stack, old);
	fn_call(inner_signal);
	sigaltstack(&none, NULL);
	burn_outside(burn_ms);
}

static void leave_otherwise(void)
{
	pthread_t thread;
	void *result;

	throw_past();
	jump_past();
	handle_within();
	pthread_create(&thread, NULL, run_exit, NULL);
	pthread_join(thread, &result);
	printf("ended %ld\n", (long)result);
	pthread_create(&thread, NULL, run_cancelled, NULL);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("cancelled %d\n", result == PTHREAD_CANCELED);
}

static void time_calls(long count)
{
	double best_ns = 1e9;

	for (int round = 0; round < 5; round++) {
		double start_ns = now_ns(), ns;

		for (long i = 0; i < count; i++)
			fn_none();
		ns = (now_ns() - start_ns) / (double)count;
		if (ns < best_ns)
			best_ns = ns;
	}
	printf("%.1f\n", best_ns);
}

extern "C" int run(int argc, char **argv);

int run(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "results") == 0) {
		show_results();
	} else if (argc == 3 && strcmp(argv[1], "leave") == 0) {
		burn_ms = atoi(argv[2]);
		leave_otherwise();
	} else if (argc == 3 && strcmp(argv[1], "calls") == 0) {
		time_calls(atol(argv[2]));
	} else {
		return 2;
	}
	return 0;
}

#ifndef IS_MODULE
int main(int argc, char **argv)
{
	return run(argc, argv);
}
#endif
