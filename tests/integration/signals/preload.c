/*
 * The smallest agent that has the signal and its hooks: a timer on the main thread's
 * CPU clock and a handler that uses as much stack as the real one may and counts. Tells
 * the count at exit, on a line that looks like one of the agent's.
 */
#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_heap_capture.h"
#include "sp_pages.h"
#include "sp_signal.h"
#include "sp_span_capture.h"
#include "sp_syscall.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define TICK_NS 2000000L
#define HANDLER_STACK_BYTES 2048

static _Atomic unsigned ticks;
static int timer = -1;

/* It has no heap hooks, no spans and no end that a jump could leave. */
struct sp_capture sp_capture;
SP_TLS struct sp_heap_thread *sp_heap_self;
SP_TLS uint64_t sp_heap_work_at;

void sp_heap_leave(struct sp_heap_thread *self, uint64_t stack_pointer)
{
	(void)self;
	(void)stack_pointer;
}

void sp_span_before_jump(uint64_t stack_pointer)
{
	(void)stack_pointer;
}

void sp_span_switch_stack(uint64_t stack_pointer, uint64_t low, uint64_t high)
{
	(void)stack_pointer;
	(void)low;
	(void)high;
}

void sp_span_set_signal_stack(uint64_t low, uint64_t high)
{
	(void)low;
	(void)high;
}

static SP_NOINLINE void use_stack(void)
{
	char used[HANDLER_STACK_BYTES];

	memset(used, 0x5a, sizeof(used));
	__asm__ volatile("" : : "r"(used) : "memory");
}

static void handle(int signo, siginfo_t *info, void *context)
{
	int saved_errno = errno;

	if (info->si_code == SI_TIMER && info->si_ptr == &ticks) {
		use_stack();
		atomic_fetch_add(&ticks, 1);
	} else {
		sp_signal_forward(signo, info, context);
	}
	errno = saved_errno;
}

static void arm(void)
{
	struct itimerspec when = {{0, TICK_NS}, {0, TICK_NS}};
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = sp_signal_number(),
		.sigev_value = {.sival_ptr = &ticks},
	};

	event._sigev_un._tid = (int)sp_syscall0(SYS_gettid);
	if (sp_syscall3(SYS_timer_create, CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0)
		sp_syscall4(SYS_timer_settime, timer, 0, &when, NULL);
}

static __attribute__((constructor)) void begin(void)
{
	if (sp_signal_choose(0) > 0 && sp_signal_install(handle) == 0)
		arm();
}

static char *append(char *at, const char *text)
{
	size_t bytes = strlen(text);

	memcpy(at, text, bytes);
	return at + bytes;
}

static char *append_number(char *at, unsigned number)
{
	if (number >= 10)
		at = append_number(at, number / 10);
	*at = (char)('0' + number % 10);
	return at + 1;
}

static __attribute__((destructor)) void end(void)
{
	char line[80], *at = append(line, "spanprof[");

	at = append_number(at, (unsigned)getpid());
	at = append(at, "]: ticks=");
	at = append_number(at, atomic_load(&ticks));
	at = append(at, "\n");
	if (timer >= 0)
		sp_syscall1(SYS_timer_delete, timer);
	if (write(STDERR_FILENO, line, (size_t)(at - line)) < 0)
		return;
}
