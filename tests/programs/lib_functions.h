/* What the victim span_functions calls, compiled into two libraries by other names. */
#ifndef LIB_FUNCTIONS_H
#define LIB_FUNCTIONS_H

#include <setjmp.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pair {
	long first, second;
};
struct mixed {
	long first;
	double second;
};
struct large {
	long items[20];
};

long fn_none(void);
long fn_twelve(long a, long b, long c, long d, long e, long f, long g, long h, long i,
	       long j, long k, long l);
double fn_doubles(double a, double b, double c, double d, double e, double f, double g,
		  double h, double i, double j);
long double fn_long_double(int a, long double b, long double c);
struct pair fn_pair(struct pair a, double b);
struct mixed fn_mixed(struct mixed a, int b);
struct large fn_large(int a, struct large b, int c);
int fn_variadic(char *text, int bytes, const char *format, ...);
long fn_recurse(int depth, long (*again)(int depth));
/* Each burns CPU and then does not return. */
void fn_throw(int value);
void fn_jump(jmp_buf target);
void fn_end_thread(void);
/* Jumps within itself, and returns. */
int fn_jump_inside(void);
void fn_burn_ms(int ms);
void fn_call(void (*function)(void));
extern long fn_variable;
extern const long fn_constant;

/* What another library finds there (lib_function_user.cpp). */
long user_constant(void);
long (*user_none(void))(void);

#ifdef __cplusplus
}
#endif

#endif
