/*
 * See own_stack.h. Context: hook, cold.
 */
#include "own_stack.h"

#include "sp_pages.h"
#include "sp_syscall.h"

#include <signal.h>
#include <time.h>

/* The caller's stack may be any coroutine's. */
static void call_on_stack(void (*function)(void), unsigned char *stack_end)
{
	__asm__ volatile("movq %%rsp, %%rbx\n\t"
			 "movq %0, %%rsp\n\t"
			 "call *%1\n\t"
			 "movq %%rbx, %%rsp"
			 :
			 : "r"(stack_end), "r"(function)
			 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10",
			   "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
			   "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
			   "xmm14", "xmm15", "memory", "cc");
}

/* A file size limit is an error for us, not the program's end. */
static void drop_own_signals(void)
{
	struct timespec at_once = {0, 0};
	sigset_t ours;

	sigemptyset(&ours);
	sigaddset(&ours, SIGXFSZ);
	sp_syscall4(SYS_rt_sigtimedwait, &ours, NULL, &at_once, 8);
}

bool sp_own_stack_call(void (*function)(void), size_t stack_bytes)
{
	unsigned char *stack = sp_pages_map_stack(stack_bytes);

	if (!stack)
		return false;
	call_on_stack(function, stack + stack_bytes);
	drop_own_signals();
	sp_pages_unmap(stack, stack_bytes);
	return true;
}
