/* Functions of all kinds, called across modules (span_functions.cpp). */
#include "lib_functions.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

long fn_variable = 4711;
extern const long fn_constant = 815;

long fn_none(void)
{
	return 42;
}

long fn_twelve(long a, long b, long c, long d, long e, long f, long g, long h, long i,
	       long j, long k, long l)
{
	return a + 2 * b + 3 * c + 5 * d + 7 * e + 11 * f + 13 * g + 17 * h + 19 * i +
	       23 * j + 29 * k + 31 * l;
}

double fn_doubles(double a, double b, double c, double d, double e, double f, double g,
		  double h, double i, double j)
{
	return a + 2 * b + 3 * c + 5 * d + 7 * e + 11 * f + 13 * g + 17 * h + 19 * i +
	       23 * j;
}

long double fn_long_double(int a, long double b, long double c)
{
	return a * b - c;
}

struct pair fn_pair(struct pair a, double b)
{
	return {a.second + (long)b, a.first - (long)b};
}

struct mixed fn_mixed(struct mixed a, int b)
{
	return {a.first * b, a.second / b};
}

struct large fn_large(int a, struct large b, int c)
{
	for (long &item : b.items)
		item = item * a + c;
	return b;
}

int fn_variadic(char *text, int bytes, const char *format, ...)
{
	va_list list;
	int count;

	va_start(list, format);
	count = vsnprintf(text, (size_t)bytes, format, list);
	va_end(list);
	return count;
}

long fn_recurse(int depth, long (*again)(int depth))
{
	return depth == 0 ? 0 : 1 + again(depth - 1);
}

void fn_burn_ms(int ms)
{
	struct timespec now;
	long long end_ns;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	end_ns = now.tv_sec * 1000000000LL + now.tv_nsec + ms * 1000000LL;
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	while (now.tv_sec * 1000000000LL + now.tv_nsec < end_ns);
}

void fn_throw(int value)
{
	throw value;
}

void fn_jump(jmp_buf target)
{
	longjmp(target, 7);
}

void fn_end_thread(void)
{
	pthread_exit((void *)11);
}

int fn_jump_inside(void)
{
	jmp_buf here;
	volatile int rounds = 0;

	if (setjmp(here) < 3)
		longjmp(here, ++rounds);
	return rounds;
}

void fn_call(void (*function)(void))
{
	function();
	/* Or it would be a jump, and this function in no stack. */
	fn_variable = 4711;
}
