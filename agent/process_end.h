/*
 * The end of the process by exit(): who writes the profiles, and who waits for it.
 */
#ifndef SP_PROCESS_END_H
#define SP_PROCESS_END_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Context: init. write() is called when all the program's own handlers and
 * destructors have run; nobody ends the process meanwhile, but for timeout_ns at most.
 */
void sp_process_end_register(void (*write)(void), uint64_t timeout_ns);

/*
 * Context: hook. True when another thread ends the process already, once it has
 * written.
 */
bool sp_process_end_awaits_other(void);

/*
 * Context: hook, by the thread that ended the process, which goes on after all: a
 * signal's handler jumped out of its end. Whoever ends it next writes again.
 */
void sp_process_end_goes_on(void);

/* Context: hook, in a fork child, which ends by itself. */
void sp_process_end_forked(void);

#endif
