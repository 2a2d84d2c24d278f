/*
 * One line, one write, to the standard error of the start. Prefix "spanprof[pid]: ".
 * Context: init and collector; never the hot paths, which count instead. Keeps
 * errno, allocates nothing, raises no signal in the host and waits about 0.1 s at most
 * for a descriptor that takes no more. Control characters are written as "\xHH",
 * lines beyond about 1000 bytes are cut and end in "...".
 * SPANPROF_QUIET silences sp_log_note(); errors are always told.
 */
#ifndef SP_LOG_H
#define SP_LOG_H

#include "sp_compiler.h"

#include <stdbool.h>

struct stat;

/*
 * Context: init. fd -1, or one that is closed: nothing can be told. The descriptor stays
 * the caller's, and is written to only as long as it is open on the file that it is
 * open on now.
 */
void sp_log_init(int fd, bool is_quiet, bool is_verbose);

/* Context: collector. Another descriptor of that file, in a table of the calling thread's
 * own; -1: none. */
void sp_log_use(int fd);

/* Context: signal. Is it the file that is written to? */
bool sp_log_is_file(const struct stat *status);
bool sp_log_is_open_at(int fd);

void sp_log_error(const char *format, ...) SP_PRINTF(1, 2);
/* Said even without SPANPROF_VERBOSE, unless quiet: the exit summary. */
void sp_log_note(const char *format, ...) SP_PRINTF(1, 2);
void sp_log_verbose(const char *format, ...) SP_PRINTF(1, 2);

#endif
