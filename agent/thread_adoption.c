/*
 * Threads that nobody told us of: the main thread, and those that the collector finds by
 * listing the task directory. Armed from outside, and ended when they are seen to be
 * gone.
 */
#include "thread_adoption.h"

#include "sp_compiler.h"
#include "sp_cpu_timer.h"
#include "sp_heap_capture.h"
#include "sp_pages.h"
#include "sp_process_identity.h"
#include "sp_recording.h"
#include "sp_signal.h"
#include "sp_syscall.h"
#include "sp_thread.h"

#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>

extern void *__libc_stack_end;

void sp_thread_adoption_main_stack(uint64_t *low, uint64_t *high)
{
	struct rlimit limit;
	uint64_t bytes = UINT64_C(8) << 20;

	/* The environment lies above it, the frames below. */
	*high = ((uint64_t)(uintptr_t)__libc_stack_end + SP_PAGE_BYTES) &
		~(SP_PAGE_BYTES - 1);
	if (sp_syscall4(SYS_prlimit64, 0, RLIMIT_STACK, NULL, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur > bytes)
		bytes = limit.rlim_cur < (UINT64_C(128) << 20) ? limit.rlim_cur
							       : UINT64_C(128) << 20;
	*low = *high - bytes;
}

static bool is_blocked_here(void)
{
	uint64_t blocked = 0;

	sp_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &blocked, sizeof(blocked));
	return blocked & sp_signal_bit(sp_signal_number());
}

/* A thread that waits for the signal with it blocked (the C library's timer thread)
 * would take ours for its own. */
static bool is_signal_blocked(int tid)
{
	const char *line;
	char text[2048];

	sp_process_read_task(tid, "status", text, sizeof(text));
	line = strstr(text, "\nSigBlk:");
	return line && (strtoull(line + 8, NULL, 16) & sp_signal_bit(sp_signal_number()));
}

/* One of the kernel's own has no stack of the program's and takes no signal, but its time
 * is the program's. The others that block ours show as unknown threads. */
static bool begin_without_timer(int tid)
{
	return sp_process_is_kernel_worker(tid) &&
	       sp_thread_adopt(tid, SP_ENTRY_KERNEL_WORKER);
}

bool sp_thread_adoption_begin(int tid, bool is_main)
{
	bool is_here = tid == (int)sp_syscall0(SYS_gettid);
	struct sp_slot *slot;
	uint64_t low, high;

	/* A dying thread, whose time is counted already, blocks all signals too. */
	if (is_here ? is_blocked_here() : is_signal_blocked(tid))
		return !is_here && begin_without_timer(tid);
	slot = sp_thread_adopt(tid, is_main ? getauxval(AT_ENTRY) : 0);
	if (!slot)
		return false;
	if (is_main) {
		sp_thread_adoption_main_stack(&low, &high);
		atomic_store_explicit(&slot->stack_low, low, memory_order_relaxed);
		atomic_store_explicit(&slot->stack_high, high, memory_order_relaxed);
	}
	if (is_here) {
		sp_thread_set_own_slot(slot);
		sp_heap_thread_begin(slot);
	}
	sp_cpu_timer_arm(slot);
	return true;
}

void sp_thread_adoption_end(struct sp_slot *slot, uint64_t cpu_ns)
{
	sp_cpu_timer_disarm(slot);
	sp_heap_thread_vanished(slot);
	sp_thread_end(slot, cpu_ns);
}
