/*
 * Our thread's own descriptor of the program's standard error: programs close theirs
 * before they end, and reopen it on something else. It is made before the program's
 * first line, and given up when the program is done with a pipe that somebody reads to
 * its end.
 */
#ifndef SP_STDERR_COPY_H
#define SP_STDERR_COPY_H

#include <stdint.h>

/*
 * Context: init, in the constructor, around the start of our thread: a descriptor in the
 * program's table for that thread to take over, and its end, before the program's code
 * can see it.
 */
void sp_stderr_copy_lend(void);
void sp_stderr_copy_take_back(void);

/* Context: collector, first thing on our thread. That descriptor, or -1. */
int sp_stderr_copy_lent(void);

/* Context: collector. The thread's table is its own: this is what it has of standard
 * error, or -1. */
void sp_stderr_copy_keep(int fd);

/*
 * Context: collector. Gives the copy up once no descriptor of the program's is open on
 * that file any more, where somebody may wait for its end: a pipe, a socket, a terminal.
 * Looks now and then, ever less often.
 */
void sp_stderr_copy_look(void);

/* Context: collector. How much of such a wait may pass until the next look. */
uint64_t sp_stderr_copy_wait_ns(uint64_t wait_ns);

#endif
