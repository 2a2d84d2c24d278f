/*
 * memcpy(), strlen() and their like, for all that is linked into the agent. A program, or
 * a library before the C library, may have functions by these names that are no place for
 * a signal handler or a thread that the program does not know: those of ThreadSanitizer
 * write down who called them, and find that half written.
 */
#ifndef LIBC_CALLS_H
#define LIBC_CALLS_H

/*
 * Context: init. From here on these calls go to the C library's own functions, whoever
 * stands in front of them; until then, and where there is no such library, to plain ones
 * of ours.
 */
void sp_libc_calls_bind(void);

#endif
