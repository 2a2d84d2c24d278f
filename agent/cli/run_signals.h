/*
 * What "spanprof run" does with signals while its program runs. Context: command.
 */
#ifndef SP_RUN_SIGNALS_H
#define SP_RUN_SIGNALS_H

#include <signal.h>
#include <sys/types.h>

#define SP_RUN_SIGNALS_MAX 16

/* What the program sets out with. */
struct sp_run_inherited {
	struct sigaction actions[SP_RUN_SIGNALS_MAX];
	sigset_t mask;
};

/* Before the program is started; those that are passed on are held back until it is
 * waited for. */
void sp_run_signals_take(struct sp_run_inherited *inherited);

/* In the child that becomes the program. */
void sp_run_signals_give_back(const struct sp_run_inherited *inherited);

/* Until the program has ended; we stop and go on as it does. Its status, as of wait. */
int sp_run_signals_wait(pid_t child, const struct sp_run_inherited *inherited);

#endif
