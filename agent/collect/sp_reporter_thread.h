/*
 * The dedicated thread: named "spanprof", all signals blocked, with file
 * descriptors and a working directory of its own, so that whatever the host closes,
 * changes root to or moves into does not reach it, and nothing of it reaches the
 * host. Others ask it for work and may wait for the answer, bounded.
 */
#ifndef SP_REPORTER_THREAD_H
#define SP_REPORTER_THREAD_H

#include "sp_collector.h"

#include <pthread.h>

enum sp_reporter_request {
	SP_REQUEST_WRITE,	   /* write the profiles, go on */
	SP_REQUEST_WRITE_END,	   /* write them, the process is about to end or exec */
	SP_REQUEST_WRITE_CONFINED, /* as WRITE_END: the program goes on without us */
	SP_REQUEST_GO_ON,	   /* after WRITE_END: it has not ended */
	SP_REQUEST_TAKE_RIGHTS,	   /* those that were noted (own_rights.h) */
	SP_REQUEST_STOP,	   /* end the thread; it can be started again */
};

struct sp_reporter_setup {
	const struct sp_options *options;
	const char *program;
	const struct sp_collector_calls *calls;
	struct sp_recording *recording; /* made already, as is the absorber */
	struct sp_absorber *absorber;
	/* pthread_create() without our own hook. */
	int (*create_thread)(pthread_t *thread, const pthread_attr_t *attributes,
			     void *(*start_routine)(void *), void *argument);
};

/* Context: init. False, and what is wrong in error, if an option's list names a reporter
 * that there is not. */
bool sp_reporter_thread_check(const char *reporters, char *error, size_t error_bytes);

/*
 * Context: init. First look at the loaded modules: from here on stacks can be walked,
 * also in a child that is forked at once. Takes 20 KiB of stack.
 */
void sp_reporter_thread_prepare(const struct sp_reporter_setup *setup);

/*
 * Context: init. Starts the thread; the C library goes on as if the process still had
 * as many threads as before. 0 or an error number.
 */
int sp_reporter_thread_start(const struct sp_reporter_setup *setup);

/*
 * Context: init, in the constructor. The thread that is started in between has a
 * descriptor of the program's standard error from the first moment, for which the latter
 * waits for at most timeout_ns; the program's code never sees it.
 */
void sp_reporter_thread_lend_stderr(void);
void sp_reporter_thread_take_stderr_back(uint64_t timeout_ns);

/*
 * Context: hook, never on the reporter thread itself (then nothing happens). Asks and
 * waits for at most timeout_ns. True when it was done.
 */
bool sp_reporter_thread_ask(enum sp_reporter_request request, uint64_t timeout_ns);

/* Context: hook. Waits for at most timeout_ns until the thread has a root folder and
 * descriptors of its own, and has opened the output folder. */
void sp_reporter_thread_await_place(uint64_t timeout_ns);

/*
 * Context: hook; also in a signal handler of the program, wherever it interrupted. Writes
 * the profiles where there is no such thread, in a fork child that ends or execs: on
 * the calling thread, on a stack of ours, all signals blocked meanwhile.
 */
void sp_reporter_write_here(const struct sp_reporter_setup *setup);

/*
 * Context: hook, all signals held, after SP_REQUEST_WRITE_END or
 * sp_reporter_write_here(), if the process goes on. A kill is to find its recording
 * again; but not where the program has other threads, which may be at work on it.
 */
void sp_reporter_put_recording_back(uint64_t timeout_ns);

/* Context: hook. Waits for the thread that was asked to stop. */
void sp_reporter_thread_join(void);

/* Context: hook, in a fork child, which has no such thread. */
void sp_reporter_thread_forked(void);

#endif
