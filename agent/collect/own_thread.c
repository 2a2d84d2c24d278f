/*
 * See own_thread.h. The thread count is a variable that the C library exports for
 * debuggers; where it is not to be had, a process whose main thread leaves by
 * pthread_exit() would live on with our thread alone. Context: init, collector.
 */
#include "own_thread.h"

#include "sp_process_identity.h"
#include "sp_syscall.h"
#include "sp_text.h"

#include <errno.h>
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

/* Above what programs number by hand, below where tables grow large. */
#define DESCRIPTOR_MIN 200

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2U
#endif

static _Atomic unsigned int *thread_count;

bool sp_own_thread_before_create(void)
{
	if (!thread_count)
		thread_count = dlsym(RTLD_DEFAULT, "__nptl_nthreads");
	return __libc_single_threaded;
}

void sp_own_thread_hide(bool was_single)
{
	if (thread_count)
		atomic_fetch_sub(thread_count, 1);
	if (was_single)
		__libc_single_threaded = 1;
}

void sp_own_thread_unhide(void)
{
	if (thread_count)
		atomic_fetch_add(thread_count, 1);
}

static int copy_stderr(void)
{
	int fd = (int)sp_syscall3(SYS_fcntl, STDERR_FILENO, F_DUPFD_CLOEXEC,
				  DESCRIPTOR_MIN);

	/* A lower limit on descriptors than that. */
	if (fd == -EINVAL || fd == -EMFILE)
		fd = (int)sp_syscall3(SYS_fcntl, STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	/* No more descriptors at all: what is open stays usable. */
	return fd == -EINVAL || fd == -EMFILE ? STDERR_FILENO : fd;
}

int sp_own_thread_separate(void)
{
	int log_fd;

	sp_syscall1(SYS_unshare, CLONE_FS);
	/* Copies descriptors 0 to 2 only; the rest is copied and closed at once by
	 * kernels before 5.9. The host keeps what it has, and its pipes get no second
	 * holder. */
	if (sp_syscall3(SYS_close_range, 3, ~0U, CLOSE_RANGE_UNSHARE) < 0) {
		if (sp_syscall1(SYS_unshare, CLONE_FILES) < 0)
			return copy_stderr();
		for (int fd = 3; fd < 65536; fd++)
			sp_syscall1(SYS_close, fd);
	}
	log_fd = copy_stderr();
	for (int fd = 0; fd < 3; fd++)
		if (fd != log_fd)
			sp_syscall1(SYS_close, fd);
	return log_fd < 0 ? -1 : log_fd;
}

/*
 * A main thread that ended first stays listed, as a zombie, with what it ended with.
 * "17 (any name) Z ... 1536": the name may have brackets of its own.
 */
static bool has_main_thread_ended(int process, int *status)
{
	char path[64], text[1024];
	struct sp_text name;
	const char *state, *last;

	sp_text_init(&name, path, sizeof(path));
	sp_text_string(&name, "/proc/self/task/");
	sp_text_decimal(&name, (uint64_t)process);
	sp_text_string(&name, "/stat");
	sp_process_read_file(path, text, sizeof(text));
	state = strrchr(text, ')');
	last = strrchr(text, ' ');
	if (!state || state[1] != ' ' || state[2] != 'Z')
		return false;
	*status = (int)(strtoul(last, NULL, 10) >> 8 & 0xff);
	return true;
}

bool sp_own_thread_is_last(int process, int *status)
{
	struct stat folder;

	/* Links to the folder of tasks: itself, its parent, and one of each task. */
	return has_main_thread_ended(process, status) &&
	       sp_syscall4(SYS_newfstatat, AT_FDCWD, "/proc/self/task", &folder, 0) ==
		       0 &&
	       folder.st_nlink == 4;
}
