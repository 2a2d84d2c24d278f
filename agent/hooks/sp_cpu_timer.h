/*
 * One timer for each thread, on the thread's own CPU clock, and the handler of its
 * signal. A CPU clock stands still while its thread sleeps, so no signal ever
 * reaches a sleeping thread.
 */
#ifndef SP_CPU_TIMER_H
#define SP_CPU_TIMER_H

#include "sp_capture.h"

#include <signal.h>

/*
 * Context: hook or collector; two system calls. Arms the timer of a live slot for
 * its thread, from whatever thread. 0 or -errno; counted.
 */
int sp_cpu_timer_arm(struct sp_slot *slot);

/* Context: hook, on the ending thread; collector for one that is gone. */
void sp_cpu_timer_disarm(struct sp_slot *slot);

/*
 * Context: hook, in a fork child. Arms the calling thread before it has a slot; its
 * first sample begins the child's recording.
 */
void sp_cpu_timer_arm_forked(void);

/* Context: hook. That timer, before it was given. */
void sp_cpu_timer_disarm_forked(void);
/*
 * Context: signal, on the thread that sp_cpu_timer_arm_forked() armed. Its timer is
 * this slot's from here on.
 */
void sp_cpu_timer_give_forked(struct sp_slot *slot);

/* Context: signal. */
void sp_cpu_timer_handler(int signal_number, siginfo_t *info, void *ucontext);

#endif
