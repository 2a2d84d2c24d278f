/*
 * See own_thread.h. The thread count is a variable that the C library exports for
 * debuggers; where it is not to be had, a process whose main thread leaves by
 * pthread_exit() would live on with our thread alone. Context: init, collector.
 */
#include "own_thread.h"

#include "sp_log.h"
#include "sp_process_identity.h"
#include "sp_syscall.h"
#include "stderr_copy.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dlfcn.h>

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2U
#endif

static _Atomic unsigned int *thread_count;

/* The C library's own __libc_single_threaded, by which it goes. A program that is not
 * position-independent may have a copy, which is what the name stands for then. */
static char *is_single_for_c_library;

/* Our thread's alone. */
static bool has_own_folder;

bool sp_own_thread_before_create(void)
{
	if (!thread_count)
		thread_count = dlsym(RTLD_DEFAULT, "__nptl_nthreads");
	if (!is_single_for_c_library)
		is_single_for_c_library = dlsym(RTLD_NEXT, "__libc_single_threaded");
	return __libc_single_threaded;
}

void sp_own_thread_hide(bool was_single)
{
	if (thread_count)
		atomic_fetch_sub(thread_count, 1);
	if (!was_single)
		return;
	__libc_single_threaded = 1;
	if (is_single_for_c_library)
		*is_single_for_c_library = 1;
}

void sp_own_thread_unhide(void)
{
	if (thread_count)
		atomic_fetch_add(thread_count, 1);
}

/* Whether the thread has a table of its own from here on: the program's up to last_fd,
 * and nothing above. */
static bool separate_descriptors(int last_fd)
{
	if (sp_syscall3(SYS_close_range, last_fd + 1, ~0U, CLOSE_RANGE_UNSHARE) == 0)
		return true;
	/* Kernels before 5.9. */
	if (sp_syscall1(SYS_unshare, CLONE_FILES) < 0)
		return false;
	for (int fd = last_fd + 1; fd < 65536; fd++)
		sp_syscall1(SYS_close, fd);
	return true;
}

/* The program keeps what it has, and its pipes get no second holder. */
static int keep_stderr_only(int lent_fd)
{
	int last_fd = lent_fd > STDERR_FILENO ? lent_fd : STDERR_FILENO, kept_fd = -1;

	/* A table that is shared after all: nothing in it is ours to keep or to close. */
	if (!separate_descriptors(last_fd))
		return -1;
	/* Whatever the program has opened there meanwhile is none of ours. */
	if (sp_log_is_open_at(lent_fd))
		kept_fd = lent_fd;
	else if (sp_log_is_open_at(STDERR_FILENO))
		kept_fd = STDERR_FILENO;
	for (int fd = 0; fd <= last_fd; fd++)
		if (fd != kept_fd)
			sp_syscall1(SYS_close, fd);
	return kept_fd;
}

void sp_own_thread_separate(void)
{
	has_own_folder = sp_syscall1(SYS_unshare, CLONE_FS) == 0;
	sp_stderr_copy_keep(keep_stderr_only(sp_stderr_copy_lent()));
}

void sp_own_thread_leave_folder(void)
{
	if (has_own_folder)
		sp_syscall1(SYS_chdir, "/");
}

/*
 * A main thread that ended first stays listed, as a zombie, with what it ended with.
 * "17 (any name) Z ... 1536": the name may have brackets of its own.
 */
bool sp_own_thread_has_main_ended(int process, int *status)
{
	const char *state, *last;
	char text[1024];

	sp_process_read_task(process, "stat", text, sizeof(text));
	state = strrchr(text, ')');
	last = strrchr(text, ' ');
	if (!state || state[1] != ' ' || state[2] != 'Z')
		return false;
	*status = (int)(strtoul(last, NULL, 10) >> 8 & 0xff);
	return true;
}

unsigned int sp_own_thread_count_all(void)
{
	struct stat folder;

	/* Links to the folder of tasks: itself, its parent, and one of each task. */
	if (sp_syscall4(SYS_newfstatat, AT_FDCWD, "/proc/self/task", &folder, 0) < 0 ||
	    folder.st_nlink <= 2)
		return 0;
	return (unsigned int)(folder.st_nlink - 2);
}

bool sp_own_thread_is_last(int process, int *status)
{
	return sp_own_thread_has_main_ended(process, status) &&
	       sp_own_thread_count_all() == 2;
}
