/*
 * See stderr_copy.h. Context: init, collector.
 */
#include "stderr_copy.h"

#include "folder.h"
#include "own_thread.h"
#include "sp_clock.h"
#include "sp_log.h"
#include "sp_syscall.h"
#include "sp_text.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* /dev/null and its like. */
#define MEMORY_DEVICES 1
/* Soon at first, when programs go to the background; then in proportion to its life. */
#define LOOK_FIRST_NS (SP_NS_PER_SECOND / 10)
#define LOOK_LAST_NS (2 * SP_NS_PER_SECOND)
#define LIFE_PER_LOOK 8
/* A program closes its standard error at its end, too, just before it asks for the
 * profile and the line. */
#define MISSES_MAX 2

static _Atomic int lent_fd = -1;

/* Our thread's alone. */
static struct {
	int fd; /* -1: none, or nobody waits for its end */
	uint64_t start_ns, next_look_ns;
	int program_fd; /* where the program had it last */
	int misses;
} copy = {.fd = -1};

void sp_stderr_copy_lend(void)
{
	/* The lowest that is free: the thread copies the table up to there. */
	int fd = (int)sp_syscall3(SYS_fcntl, STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

	atomic_store_explicit(&lent_fd, fd < 0 ? -1 : fd, memory_order_relaxed);
}

void sp_stderr_copy_take_back(void)
{
	int fd = atomic_exchange_explicit(&lent_fd, -1, memory_order_relaxed);

	if (fd >= 0)
		sp_syscall1(SYS_close, fd);
}

int sp_stderr_copy_lent(void)
{
	return atomic_load_explicit(&lent_fd, memory_order_relaxed);
}

static bool is_awaited(int fd)
{
	struct stat status;

	if (fd < 0 || sp_syscall2(SYS_fstat, fd, &status) < 0)
		return false;
	return S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode) ||
	       (S_ISCHR(status.st_mode) && major(status.st_rdev) != MEMORY_DEVICES);
}

static void plan_next_look(uint64_t now_ns)
{
	uint64_t pause_ns = (now_ns - copy.start_ns) / LIFE_PER_LOOK;

	if (pause_ns < LOOK_FIRST_NS || copy.misses)
		pause_ns = LOOK_FIRST_NS;
	if (pause_ns > LOOK_LAST_NS)
		pause_ns = LOOK_LAST_NS;
	copy.next_look_ns = now_ns + pause_ns;
}

void sp_stderr_copy_keep(int fd)
{
	sp_log_use(fd);
	copy.fd = is_awaited(fd) ? fd : -1;
	copy.program_fd = STDERR_FILENO;
	copy.misses = 0;
	copy.start_ns = sp_clock_monotonic_ns();
	plan_next_look(copy.start_ns);
}

static bool is_that_file(int folder, const char *name)
{
	struct stat status;

	return sp_syscall4(SYS_newfstatat, folder, name, &status, 0) == 0 &&
	       sp_log_is_file(&status);
}

static bool is_where_it_was(void)
{
	char path[32];
	struct sp_text text;

	sp_text_init(&text, path, sizeof(path));
	sp_text_string(&text, "/proc/self/fd/");
	sp_text_decimal(&text, (uint64_t)copy.program_fd);
	return is_that_file(AT_FDCWD, path);
}

static bool note_if_it_is(void *unused, int folder, const char *name)
{
	(void)unused;
	if (!is_that_file(folder, name))
		return false;
	copy.program_fd = (int)strtol(name, NULL, 10);
	return true;
}

/* The main thread's descriptors: other threads have no others, but for ours. */
static bool has_program_closed_it(void)
{
	int status;

	/* Where not all can be seen, nobody knows. One that has ended shows none. */
	return !is_where_it_was() &&
	       sp_folder_walk("/proc/self/fd", note_if_it_is, NULL) == 0 &&
	       !sp_own_thread_has_main_ended((int)sp_syscall0(SYS_getpid), &status);
}

void sp_stderr_copy_look(void)
{
	uint64_t now_ns;

	if (copy.fd < 0)
		return;
	now_ns = sp_clock_monotonic_ns();
	if (now_ns < copy.next_look_ns)
		return;
	copy.misses = has_program_closed_it() ? copy.misses + 1 : 0;
	plan_next_look(now_ns);
	if (copy.misses < MISSES_MAX)
		return;
	sp_log_use(-1);
	sp_syscall1(SYS_close, copy.fd);
	copy.fd = -1;
}

uint64_t sp_stderr_copy_wait_ns(uint64_t wait_ns)
{
	uint64_t now_ns;

	if (copy.fd < 0)
		return wait_ns;
	now_ns = sp_clock_monotonic_ns();
	if (now_ns >= copy.next_look_ns)
		return 0;
	return copy.next_look_ns - now_ns < wait_ns ? copy.next_look_ns - now_ns
						    : wait_ns;
}
