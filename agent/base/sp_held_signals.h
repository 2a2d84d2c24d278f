/*
 * A few instructions that no handler of the program's may leave in the middle, by a
 * jump or by ending the thread. Context: signal; keeps errno.
 */
#ifndef SP_HELD_SIGNALS_H
#define SP_HELD_SIGNALS_H

#include "sp_syscall.h"

#include <signal.h>
#include <stdint.h>

/* Holds back all signals of the calling thread; gives the mask for the release. */
static inline uint64_t sp_signals_hold(void)
{
	uint64_t all = ~UINT64_C(0), before = 0;

	sp_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all));
	return before;
}

static inline void sp_signals_release(uint64_t before)
{
	sp_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
}

#endif
