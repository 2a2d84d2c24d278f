/*
 * own_functions CPU_MS: a program with functions of its own by names of the C library's:
 * a clock_gettime() that tells ten times the time and that nobody may enter while a
 * thread is in it, as that of libfaketime, and a syscall() that ends the program when
 * another thread than its own calls it, as that of libuid_wrapper does at the program's
 * end. Most of its CPU time is spent in the first. Tells how often somebody entered that
 * twice (entered_twice), and what the kernel's own clock says of its CPU time
 * (self_cpu_ns). It also has locks, as profilers of locks put in front of programs, and
 * an end of the data segment, and functions of bytes and texts, as ThreadSanitizer has
 * them, of which it makes no use: it tells how often somebody else did (locks, breaks,
 * texts), and another thread that does ends it.
 */
#include "burn.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FASTER 10
#define CALLED_BY_ANOTHER 3

static volatile sig_atomic_t is_inside;
static volatile sig_atomic_t entered_twice;

static atomic_int locks, breaks, texts;

static long kernel(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}

static int64_t kernels_ns(clockid_t clock)
{
	struct timespec now;

	kernel(SYS_clock_gettime, clock, (long)&now, 0);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Also at the program's end, when it has told already. */
static void only_own_thread(void)
{
	if (kernel(SYS_gettid, 0, 0, 0) != kernel(SYS_getpid, 0, 0, 0))
		kernel(SYS_exit_group, CALLED_BY_ANOTHER, 0, 0);
}

static int enter(atomic_int *count)
{
	only_own_thread();
	atomic_fetch_add(count, 1);
	return 0;
}

long syscall(long number, ...)
{
	(void)number;
	only_own_thread();
	return -1;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int64_t faster_ns;

	if (is_inside)
		entered_twice++;
	is_inside = 1;
	faster_ns = kernels_ns(clock) * FASTER;
	now->tv_sec = faster_ns / 1000000000;
	now->tv_nsec = faster_ns % 1000000000;
	is_inside = 0;
	return 0;
}

int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
	(void)mutex;
	(void)attributes;
	return enter(&locks);
}

int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
	(void)mutex;
	return enter(&locks);
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
	(void)mutex;
	return enter(&locks);
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	(void)mutex;
	return enter(&locks);
}

int pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes)
{
	(void)condition;
	(void)attributes;
	return enter(&locks);
}

void *sbrk(intptr_t bytes)
{
	(void)bytes;
	enter(&breaks);
	return (void *)-1;
}

void *memmove(void *to, const void *from, size_t bytes)
{
	char *target = to;

	enter(&texts);
	for (size_t i = 0; i < bytes; i++) {
		target[i] = ((const char *)from)[i];
		__asm__ volatile("" ::: "memory");
	}
	return to;
}

void *memcpy(void *to, const void *from, size_t bytes)
{
	return memmove(to, from, bytes);
}

void *memset(void *to, int value, size_t bytes)
{
	volatile char *target = to;

	enter(&texts);
	for (size_t i = 0; i < bytes; i++)
		target[i] = (char)value;
	return to;
}

int strncmp(const char *left, const char *right, size_t bytes_max)
{
	enter(&texts);
	for (; bytes_max && *left && *left == *right; bytes_max--) {
		left++;
		right++;
	}
	return bytes_max ? *left - *right : 0;
}

int strcmp(const char *left, const char *right)
{
	return strncmp(left, right, SIZE_MAX);
}

size_t strlen(const char *text)
{
	volatile const char *at = text;

	enter(&texts);
	while (*at)
		at++;
	return (size_t)(at - text);
}

int main(int argc, char **argv)
{
	int64_t cpu_ns = number_argument(argc, argv, 1, 500) * NS_PER_MS;
	struct timespec now;

	while (kernels_ns(CLOCK_THREAD_CPUTIME_ID) < cpu_ns) {
		for (int i = 0; i < 1000; i++)
			clock_gettime(CLOCK_MONOTONIC, &now);
		free(malloc((size_t)now.tv_nsec % 100000));
	}
	tell("self_cpu_ns", kernels_ns(CLOCK_PROCESS_CPUTIME_ID));
	tell("entered_twice", entered_twice);
	tell("locks", locks);
	tell("breaks", breaks);
	tell("texts", texts);
	return 0;
}
