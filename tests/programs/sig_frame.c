/*
 * sig_frame: where the agent has a handler, has it called with the stack pointer as some
 * emulators leave it, which is not what compilers count on; burns, writes "done".
 */
#include "burn.h"

#include <signal.h>
#include <sys/syscall.h>

#define AGENTS_SIGNAL 32
#define KERNEL_SIGSET_BYTES 8

struct kernel_action {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

extern void (*agents_handler)(int, siginfo_t *, void *);
void (*agents_handler)(int, siginfo_t *, void *);

/* The kernel leaves 8 bytes beyond a multiple of 16, as after a call; this none. */
void call_askew(int number, siginfo_t *info, void *context);
__asm__(".text\n"
	".type call_askew, @function\n"
	"call_askew:\n\t"
	"subq $16, %rsp\n\t"
	"call *agents_handler(%rip)\n\t"
	"addq $16, %rsp\n\t"
	"ret\n"
	".size call_askew, . - call_askew\n");

/* The agent puts its own back when it finds another. */
static int stand_between(void)
{
	struct kernel_action action;

	if (syscall(SYS_rt_sigaction, AGENTS_SIGNAL, NULL, &action,
		    KERNEL_SIGSET_BYTES) != 0)
		return -1;
	if (!action.handler || action.handler == call_askew)
		return 0;
	agents_handler = action.handler;
	action.handler = call_askew;
	return (int)syscall(SYS_rt_sigaction, AGENTS_SIGNAL, &action, NULL,
			    KERNEL_SIGSET_BYTES);
}

int main(void)
{
	for (int i = 0; i < 100; i++) {
		if (stand_between() != 0)
			return 1;
		burn(3 * NS_PER_MS);
	}
	puts("done");
	return 0;
}
