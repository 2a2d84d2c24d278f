/*
 * What makes our thread invisible to the C library and its descriptors to the
 * host. Context: init and collector.
 */
#ifndef SP_OWN_THREAD_H
#define SP_OWN_THREAD_H

#include <stdbool.h>

/*
 * Context: init. Around the creation of our thread: the C library counts threads to
 * know when the last one ends (a main thread that calls pthread_exit() must end
 * the process), and takes shortcuts while there is but one. We never use what
 * those shortcuts protect.
 */
bool sp_own_thread_before_create(void);
void sp_own_thread_hide(bool was_single);

/* Context: collector. The thread is about to end and will be counted down. */
void sp_own_thread_unhide(void);

/*
 * Context: collector, first thing on our thread. Descriptors and working directory
 * become this thread's own; all descriptors are closed but the program's standard
 * error, which stderr_copy.h keeps. Where the kernel refuses a table of its own nothing
 * is closed, and nothing kept.
 */
void sp_own_thread_separate(void);

/* Context: collector. It lets go of the folder that the program was started in, if that
 * folder is its own. */
void sp_own_thread_leave_folder(void);

/* Context: collector. Has the program's main thread ended, with others still there? Then
 * status is what it ended with. */
bool sp_own_thread_has_main_ended(int process, int *status);

/* Context: hook. How many threads the kernel lists; 0: it does not say. */
unsigned int sp_own_thread_count_all(void);

/*
 * Context: collector. Have all threads of the program ended by the bare system call,
 * which ends one thread and tells nobody? The process would live on with ours alone.
 * status is the main thread's then.
 */
bool sp_own_thread_is_last(int process, int *status);

#endif
