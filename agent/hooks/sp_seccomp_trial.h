/*
 * Filters of system calls (seccomp) that are in force before the program starts, from
 * a service manager or a sandbox. Nobody may read them, so what the agent needs is
 * tried out, by a child that they may kill.
 */
#ifndef SP_SECCOMP_TRIAL_H
#define SP_SECCOMP_TRIAL_H

#include <stdbool.h>

/*
 * Context: init, on the program's only thread that knows of us; keeps errno. False when
 * a filter in force would end the program for one of our calls, or when nobody can
 * know: then the agent must make none. Without a filter it costs reading one file of
 * /proc, with one a child's life. The answer is kept.
 */
bool sp_seccomp_trial_passes(void);

/* Context: init, after it was false. Says why on standard error, in one line. */
void sp_seccomp_trial_tell(void);

#endif
