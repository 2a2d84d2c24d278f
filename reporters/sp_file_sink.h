/*
 * Bytes to a file that appears whole or not at all. Context: collector.
 */
#ifndef SP_FILE_SINK_H
#define SP_FILE_SINK_H

#include "sp_reporter.h"

#include <limits.h>

struct sp_file_sink {
	struct sp_sink sink; /* first member */
	int dir_fd;	     /* owned by the caller; AT_FDCWD allowed */
	int fd;
	char name[NAME_MAX + 1];
	char temporary_name[NAME_MAX + 1]; /* "": it has no name yet */
	int error;
};

/*
 * Starts a new file beside its final place, mode 0600: without a name where the file
 * system can do that, else under a temporary one (O_EXCL, O_NOFOLLOW). name has no slash.
 * The calling thread blocks SIGXFSZ, so that a file size limit is an error like any
 * other. 0 or -errno.
 */
int sp_file_sink_open(struct sp_file_sink *file, int dir_fd, const char *name);

/*
 * Puts the file in place. may_replace: replace an existing regular file of that
 * name (we wrote it before); else a file that is there already stays and the
 * new one gets ".2", ".3"… before the last two parts of its name, the kind and the
 * extension, or the last three if the very last is "gz" (so "redis.17.cpu.pb.gz"
 * becomes "redis.17.2.cpu.pb.gz"); file->name then holds what was used. Never
 * follows a symlink. 0 or -errno; on error the temporary file is gone and what was
 * there before is untouched.
 */
int sp_file_sink_commit(struct sp_file_sink *file, bool may_replace);

/* Gives up: removes the temporary file. */
void sp_file_sink_abort(struct sp_file_sink *file);

/*
 * Context: init. Opens a directory, making it and what is missing above it, with
 * mode 0700. *fd is close-on-exec and the caller's. 0 or -errno.
 */
int sp_directory_open(const char *path, int *fd);

#endif
