/*
 * Tells the user something: one line, one write(), to the file that was standard error
 * when the agent started, and to no other: programs close it before they end, and open
 * data of their own in its place. Context: init and collector. Invariant: whatever the
 * file is (a closed pipe, a full disk, a terminal that stops its writers), the host gets
 * no signal from it and waits for it only shortly.
 */
#include "sp_log.h"

#include "sp_syscall.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Below PIPE_BUF, so that lines of several processes do not mix in a pipe. */
#define LINE_BYTES_MAX 1024
#define MESSAGE_BYTES_MAX 960
#define WRITES_MAX 8
#define WAIT_MS 100
#define CUT_MARK "..."

/* Relaxed everywhere: set before there is a second thread, and ordering nothing. */
static _Atomic int log_fd = -1;
static _Atomic bool log_is_quiet;
static _Atomic bool log_is_verbose;

/* Which file it is: numbers of descriptors say nothing. */
static _Atomic bool has_file;
static _Atomic uint64_t file_device, file_inode, file_special;
static _Atomic uint32_t file_type;

/* The kernel's signal sets, which glibc's are not. */
static uint64_t signal_bit(int signal_number)
{
	return UINT64_C(1) << (signal_number - 1);
}

bool sp_log_is_file(const struct stat *status)
{
	return atomic_load_explicit(&has_file, memory_order_relaxed) &&
	       status->st_ino ==
		       atomic_load_explicit(&file_inode, memory_order_relaxed) &&
	       status->st_dev ==
		       atomic_load_explicit(&file_device, memory_order_relaxed) &&
	       status->st_rdev ==
		       atomic_load_explicit(&file_special, memory_order_relaxed) &&
	       (status->st_mode & S_IFMT) ==
		       atomic_load_explicit(&file_type, memory_order_relaxed);
}

bool sp_log_is_open_at(int fd)
{
	struct stat status;

	return fd >= 0 && sp_syscall2(SYS_fstat, fd, &status) == 0 &&
	       sp_log_is_file(&status);
}

static void note_file(int fd)
{
	struct stat status = {0};
	bool is_open = fd >= 0 && sp_syscall2(SYS_fstat, fd, &status) == 0;

	atomic_store_explicit(&file_inode, status.st_ino, memory_order_relaxed);
	atomic_store_explicit(&file_device, status.st_dev, memory_order_relaxed);
	atomic_store_explicit(&file_special, status.st_rdev, memory_order_relaxed);
	atomic_store_explicit(&file_type, status.st_mode & S_IFMT, memory_order_relaxed);
	atomic_store_explicit(&has_file, is_open, memory_order_relaxed);
}

void sp_log_use(int fd)
{
	atomic_store_explicit(&log_fd, fd, memory_order_relaxed);
}

void sp_log_init(int fd, bool is_quiet, bool is_verbose)
{
	note_file(fd);
	sp_log_use(fd);
	atomic_store_explicit(&log_is_quiet, is_quiet, memory_order_relaxed);
	atomic_store_explicit(&log_is_verbose, is_verbose, memory_order_relaxed);
}

/* The copy is our thread's: the program's threads have standard error itself, and so
 * has a fork child. -1 where the calling thread has neither. */
static int open_descriptor(void)
{
	int fd = atomic_load_explicit(&log_fd, memory_order_relaxed);

	if (sp_log_is_open_at(fd))
		return fd;
	return sp_log_is_open_at(STDERR_FILENO) ? STDERR_FILENO : -1;
}

/* Positive when it takes more; else as poll(). */
static long wait_for_room(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	struct timespec timeout = {0, WAIT_MS * 1000000L};
	long result = sp_syscall3(SYS_poll, &ready, 1, WAIT_MS);
	fd_set set;

	/* More than the limit of descriptors, where there are to be none. */
	if (result != -EINVAL || fd >= FD_SETSIZE)
		return result;
	FD_ZERO(&set);
	FD_SET(fd, &set);
	return sp_syscall6(SYS_pselect6, fd + 1, 0, (long)&set, 0, (long)&timeout, 0);
}

/* Gives up at the first thing that does not pass by itself. */
static void write_bounded(int fd, const char *text, size_t text_bytes)
{
	for (int i = 0; i < WRITES_MAX && text_bytes > 0; i++) {
		long written;

		written = wait_for_room(fd);
		if (written == -EINTR)
			continue;
		if (written <= 0)
			return;
		written = sp_syscall3(SYS_write, fd, text, text_bytes);
		if (written == -EINTR)
			continue;
		if (written <= 0)
			return;
		text += written;
		text_bytes -= (size_t)written;
	}
}

/*
 * A constructor runs on the host's thread, with the host's signal mask: what our
 * write would raise there (no reader, file size limit) is held back and taken off
 * again, unless the host had one pending itself. A blocked SIGTTOU lets a write
 * from the background pass. Raw calls, as glibc's wrappers set errno.
 */
static void write_without_signals(int fd, const char *text, size_t text_bytes)
{
	uint64_t raised = signal_bit(SIGPIPE) | signal_bit(SIGXFSZ);
	uint64_t held = raised | signal_bit(SIGTTOU);
	uint64_t pending_before = 0, pending_after = 0, host_mask;
	const struct timespec no_wait = {0, 0};

	if (sp_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, &held, &host_mask, sizeof(held)) <
	    0)
		return;
	sp_syscall2(SYS_rt_sigpending, &pending_before, sizeof(pending_before));
	write_bounded(fd, text, text_bytes);
	sp_syscall2(SYS_rt_sigpending, &pending_after, sizeof(pending_after));
	raised &= pending_after & ~pending_before;
	while (raised != 0 && sp_syscall4(SYS_rt_sigtimedwait, &raised, NULL, &no_wait,
					  sizeof(raised)) > 0) {
	}
	sp_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &host_mask, NULL, sizeof(host_mask));
}

/* A file name must not be able to start a new line, or to drive a terminal. */
static size_t append_escaped(char *line, size_t used_bytes, size_t size_bytes,
			     const char *message)
{
	static const char digits[] = "0123456789abcdef";

	for (; *message != '\0'; message++) {
		unsigned char letter = (unsigned char)*message;
		bool is_c1 = letter == 0xc2 && ((unsigned char)message[1] & 0xe0) == 0x80;
		bool is_control = letter < ' ' || letter == 0x7f || is_c1;

		if (used_bytes + (is_control ? 4 : 1) + sizeof(CUT_MARK) > size_bytes) {
			memcpy(line + used_bytes, CUT_MARK, sizeof(CUT_MARK) - 1);
			return used_bytes + sizeof(CUT_MARK) - 1;
		}
		if (is_control) {
			line[used_bytes++] = '\\';
			line[used_bytes++] = 'x';
			line[used_bytes++] = digits[letter >> 4];
			line[used_bytes++] = digits[letter & 15];
		} else {
			line[used_bytes++] = *message;
		}
	}
	return used_bytes;
}

static SP_PRINTF(1, 0) void log_line(const char *format, va_list arguments)
{
	int fd = open_descriptor();
	char message[MESSAGE_BYTES_MAX], line[LINE_BYTES_MAX];
	int host_errno = errno;
	size_t used_bytes;
	int needed_bytes;

	if (fd < 0)
		return;
	needed_bytes = vsnprintf(message, sizeof(message), format, arguments);
	if (needed_bytes >= (int)sizeof(message))
		memcpy(message + sizeof(message) - sizeof(CUT_MARK), CUT_MARK,
		       sizeof(CUT_MARK));
	if (needed_bytes >= 0) {
		/* Asked each time: a fork child has another one. */
		used_bytes =
			(size_t)snprintf(line, sizeof(line),
					 "spanprof[%d]: ", (int)sp_syscall0(SYS_getpid));
		/* One byte is kept for the end of the line. */
		used_bytes = append_escaped(line, used_bytes, sizeof(line), message);
		line[used_bytes++] = '\n';
		write_without_signals(fd, line, used_bytes);
	}
	errno = host_errno;
}

void sp_log_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_line(format, arguments);
	va_end(arguments);
}

void sp_log_note(const char *format, ...)
{
	va_list arguments;

	if (atomic_load_explicit(&log_is_quiet, memory_order_relaxed))
		return;
	va_start(arguments, format);
	log_line(format, arguments);
	va_end(arguments);
}

void sp_log_verbose(const char *format, ...)
{
	va_list arguments;

	if (!atomic_load_explicit(&log_is_verbose, memory_order_relaxed))
		return;
	va_start(arguments, format);
	log_line(format, arguments);
	va_end(arguments);
}
