/*
 * A file that gets its name when it is complete, so that a kill leaves nothing half
 * written: it has no name at all before, or, where the file system cannot do that, one
 * that nobody looks for. Context: collector; sp_directory_open() also init. Plain system
 * calls throughout: they cannot be interposed, are no cancellation points and leave errno
 * alone. No name that exists already is ever written through.
 */
#include "sp_file_sink.h"

#include "sp_clock.h"
#include "sp_syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define TEMPORARY_TRIES 16
#define NUMBER_MAX 9999
#define NUMBER_TEXT_BYTES 8 /* ".9999" and its zero */
#define DIRECTORY_MODE 0700
#define FILE_MODE 0600

static int open_at(int dir_fd, const char *name, int flags)
{
	return (int)sp_syscall4(SYS_openat, dir_fd, name, flags | O_CLOEXEC, FILE_MODE);
}

/* A new file, of that mode whatever the program's umask is. */
static int create_at(int dir_fd, const char *name, int flags)
{
	int fd = open_at(dir_fd, name, flags);

	if (fd >= 0)
		sp_syscall2(SYS_fchmod, fd, FILE_MODE);
	return fd;
}

static int create_named_at(int dir_fd, const char *name)
{
	return create_at(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW);
}

static int unlink_at(int dir_fd, const char *name)
{
	return (int)sp_syscall3(SYS_unlinkat, dir_fd, name, 0);
}

static int rename_at(int dir_fd, const char *from, const char *to, unsigned int flags)
{
	return (int)sp_syscall6(SYS_renameat2, dir_fd, (long)from, dir_fd, (long)to,
				(long)flags, 0);
}

static int link_at(int dir_fd, const char *from, const char *to)
{
	return (int)sp_syscall6(SYS_linkat, dir_fd, (long)from, dir_fd, (long)to, 0, 0);
}

/*
 * By the descriptor, if the kernel lets us (from 6.10, or with privileges), else by its
 * name in /proc. Only where that must be, as the kernel keeps what was looked at below a
 * thread, forgets it when the thread has ended, and lets a parent that waits for the
 * process spin for so long, milliseconds on a busy machine.
 */
static int link_unnamed(const struct sp_file_sink *file, const char *name)
{
	char path[64];
	int err = (int)sp_syscall6(SYS_linkat, file->fd, (long)"", file->dir_fd,
				   (long)name, AT_EMPTY_PATH, 0);

	if (err != -ENOENT && err != -EPERM && err != -EINVAL)
		return err;
	/* The thread's own descriptors, which may not be the process's. */
	(void)snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", file->fd);
	return (int)sp_syscall6(SYS_linkat, AT_FDCWD, (long)path, file->dir_fd,
				(long)name, AT_SYMLINK_FOLLOW, 0);
}

static int close_descriptor(int fd)
{
	return (int)sp_syscall1(SYS_close, fd);
}

static int write_to_file(struct sp_sink *sink, const void *data, size_t size_bytes)
{
	struct sp_file_sink *file = (struct sp_file_sink *)sink;
	const char *rest = data;

	while (file->error == 0 && size_bytes > 0) {
		long written = sp_syscall3(SYS_write, file->fd, rest, size_bytes);

		if (written == -EINTR)
			continue;
		if (written <= 0) {
			file->error = written < 0 ? (int)written : -EIO;
			break;
		}
		rest += written;
		size_bytes -= (size_t)written;
	}
	return file->error;
}

static bool is_file_name(const char *name)
{
	size_t name_bytes = strlen(name);

	return name_bytes > 0 && name_bytes <= NAME_MAX && !strchr(name, '/') &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Pids repeat in containers that share a directory: the time tells those apart, and
 * O_EXCL whatever it does not. */
static void make_temporary_name(struct sp_file_sink *file)
{
	(void)snprintf(file->temporary_name, sizeof(file->temporary_name),
		       ".spanprof-%d-%llx.tmp", (int)sp_syscall0(SYS_getpid),
		       (unsigned long long)sp_clock_monotonic_ns());
}

static int open_named(struct sp_file_sink *file)
{
	int fd = -EEXIST;

	for (int i = 0; i < TEMPORARY_TRIES && fd == -EEXIST; i++) {
		make_temporary_name(file);
		fd = create_named_at(file->dir_fd, file->temporary_name);
	}
	if (fd < 0)
		file->temporary_name[0] = '\0';
	return fd;
}

static bool is_unnamed(const struct sp_file_sink *file)
{
	return file->temporary_name[0] == '\0';
}

int sp_file_sink_open(struct sp_file_sink *file, int dir_fd, const char *name)
{
	int fd;

	if (!is_file_name(name))
		return -EINVAL;
	memset(file, 0, sizeof(*file));
	file->sink.write = write_to_file;
	file->dir_fd = dir_fd;
	memcpy(file->name, name, strlen(name));
	fd = create_at(dir_fd, ".", O_RDWR | O_TMPFILE);
	if (fd < 0)
		fd = open_named(file);
	if (fd < 0)
		return fd;
	file->fd = fd;
	return 0;
}

/* Some file systems tell only when a descriptor is closed that there was no room. */
static int flush_by_closing(const struct sp_file_sink *file)
{
	int err, copy = (int)sp_syscall3(SYS_fcntl, file->fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return 0;
	err = close_descriptor(copy);
	return err == -EINTR ? 0 : err;
}

/* Where there are no links, a second file with a name takes what the first one has. */
static int copy_to_named(struct sp_file_sink *file)
{
	long copied, offset = 0;
	int fd = open_named(file);

	if (fd < 0)
		return fd;
	do
		copied = sp_syscall4(SYS_sendfile, fd, file->fd, &offset, INT32_MAX);
	while (copied > 0 || copied == -EINTR);
	close_descriptor(file->fd);
	file->fd = fd;
	return copied ? (int)copied : flush_by_closing(file);
}

/* What is to replace another file needs a name for that. */
static int give_temporary_name(struct sp_file_sink *file)
{
	int err = -EEXIST;

	for (int i = 0; i < TEMPORARY_TRIES && err == -EEXIST; i++) {
		make_temporary_name(file);
		err = link_unnamed(file, file->temporary_name);
	}
	return err ? copy_to_named(file) : 0;
}

/*
 * The name of the temporary file changes to one that does not exist, or -EEXIST.
 * Not every file system can do that in one step: those without that kind of
 * rename have links, and where there are none either, an empty file of our own
 * holds the place for the moment.
 */
static int take_free_name(struct sp_file_sink *file, const char *name)
{
	int fd, err;

	if (is_unnamed(file)) {
		err = link_unnamed(file, name);
		if (err == 0 || err == -EEXIST)
			return err;
		err = copy_to_named(file);
		if (err)
			return err;
	}
	err = rename_at(file->dir_fd, file->temporary_name, name, RENAME_NOREPLACE);
	if (err != -EINVAL && err != -ENOSYS)
		return err;
	err = link_at(file->dir_fd, file->temporary_name, name);
	if (err == 0) {
		unlink_at(file->dir_fd, file->temporary_name);
		return 0;
	}
	if (err != -EPERM && err != -EOPNOTSUPP && err != -ENOSYS)
		return err;
	fd = create_named_at(file->dir_fd, name);
	if (fd < 0)
		return fd;
	close_descriptor(fd);
	err = rename_at(file->dir_fd, file->temporary_name, name, 0);
	if (err)
		unlink_at(file->dir_fd, name);
	return err;
}

/* Where the kind and the extension start: ".cpu.pb.gz", ".cpu.folded". */
static size_t suffix_start(const char *name)
{
	size_t at = strlen(name);
	int parts = at > 3 && strcmp(name + at - 3, ".gz") == 0 ? 3 : 2;

	for (size_t i = at; i-- > 1 && parts > 0;) {
		if (name[i] == '.') {
			at = i;
			parts--;
		}
	}
	return at;
}

static void numbered_name(const char *name, int number, char *out)
{
	size_t stem_bytes = suffix_start(name), suffix_bytes = strlen(name) - stem_bytes;
	char text[NUMBER_TEXT_BYTES];
	size_t text_bytes = (size_t)snprintf(text, sizeof(text), ".%d", number);

	/* A name that is as long as names can be loses its stem's end, or, if all of
	 * it is suffix, that. */
	if (suffix_bytes > NAME_MAX - text_bytes)
		suffix_bytes = NAME_MAX - text_bytes;
	if (stem_bytes > NAME_MAX - text_bytes - suffix_bytes)
		stem_bytes = NAME_MAX - text_bytes - suffix_bytes;
	memcpy(out, name, stem_bytes);
	memcpy(out + stem_bytes, text, text_bytes);
	memcpy(out + stem_bytes + text_bytes, name + suffix_start(name), suffix_bytes);
	out[stem_bytes + text_bytes + suffix_bytes] = '\0';
}

static bool is_regular_file(const struct sp_file_sink *file)
{
	struct stat status = {0};

	return sp_syscall4(SYS_newfstatat, file->dir_fd, file->name, &status,
			   AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(status.st_mode);
}

static int take_name(struct sp_file_sink *file, bool may_replace)
{
	char name[NAME_MAX + 1];
	int err;

	/* rename() replaces a link itself, not what it points to; so one that comes
	 * between the look and the rename leads nowhere. */
	if (may_replace && is_regular_file(file)) {
		err = is_unnamed(file) ? give_temporary_name(file) : 0;
		return err ? err
			   : rename_at(file->dir_fd, file->temporary_name, file->name, 0);
	}
	err = take_free_name(file, file->name);
	for (int number = 2; err == -EEXIST && number <= NUMBER_MAX; number++) {
		numbered_name(file->name, number, name);
		err = take_free_name(file, name);
		if (err == 0)
			memcpy(file->name, name, strlen(name) + 1);
	}
	return err;
}

int sp_file_sink_commit(struct sp_file_sink *file, bool may_replace)
{
	int err;

	if (file->error == 0)
		file->error = flush_by_closing(file);
	err = file->error ? file->error : take_name(file, may_replace);
	if (err)
		sp_file_sink_abort(file);
	else
		close_descriptor(file->fd);
	file->fd = -1;
	return err;
}

void sp_file_sink_abort(struct sp_file_sink *file)
{
	close_descriptor(file->fd);
	file->fd = -1;
	if (!is_unnamed(file))
		unlink_at(file->dir_fd, file->temporary_name);
}

/* The first thing that kept a part of the path from being made, or 0. */
static int make_directories(const char *path)
{
	size_t path_bytes = strlen(path);
	char prefix[PATH_MAX];
	int first_err = 0;

	memcpy(prefix, path, path_bytes + 1);
	for (size_t i = 1; i <= path_bytes; i++) {
		int err;

		if (path[i] != '/' && path[i] != '\0')
			continue;
		prefix[i] = '\0';
		err = (int)sp_syscall3(SYS_mkdirat, AT_FDCWD, prefix, DIRECTORY_MODE);
		if (err && err != -EEXIST && first_err == 0)
			first_err = err;
		prefix[i] = path[i];
	}
	return first_err;
}

int sp_directory_open(const char *path, int *fd)
{
	int opened = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY), err;

	if (opened == -ENOENT && path[0] != '\0' && strlen(path) < PATH_MAX) {
		err = make_directories(path);
		opened = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
		if (opened == -ENOENT && err)
			opened = err;
	}
	/* One may put files into a directory without being allowed to list it. */
	if (opened == -EACCES)
		opened = open_at(AT_FDCWD, path, O_PATH | O_DIRECTORY);
	if (opened < 0)
		return opened;
	*fd = opened;
	return 0;
}
