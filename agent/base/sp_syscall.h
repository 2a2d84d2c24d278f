/*
 * System calls that touch neither errno nor any symbol of the C library, so
 * that the signal handler and a fork child may use them. A negative result
 * is -errno. x86-64 Linux.
 */
#ifndef SP_SYSCALL_H
#define SP_SYSCALL_H

#include <sys/syscall.h>

#ifndef __x86_64__
#error "spanprof knows the system call convention of x86-64 only"
#endif

/* Context: signal. */
static inline long sp_syscall6(long number, long a, long b, long c, long d, long e,
			       long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define sp_syscall0(n) sp_syscall6(n, 0, 0, 0, 0, 0, 0)
#define sp_syscall1(n, a) sp_syscall6(n, (long)(a), 0, 0, 0, 0, 0)
#define sp_syscall2(n, a, b) sp_syscall6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define sp_syscall3(n, a, b, c) sp_syscall6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define sp_syscall4(n, a, b, c, d)                                                       \
	sp_syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

#endif
