/*
 * From the recording of a process that was killed to its profiles, with the same
 * collector code that the process itself would have used.
 */
#ifndef SP_RECOVER_H
#define SP_RECOVER_H

#include "sp_collector.h"

#include <limits.h>
#include <stdbool.h>

struct sp_recover_options {
	bool is_forced;		  /* also while the process runs, or if nobody can tell */
	const char *file_pattern; /* NULL: as the process was told */
};

struct sp_recover_result {
	char error[512];
	char state[128]; /* why there was nothing to write, or "" */
	struct {
		char name[NAME_MAX + 1];
		char summary[256];
	} files[SP_PROFILE_KINDS];
	unsigned int file_count;
};

/*
 * Context: collector. Reads the recording at path and writes its profiles into the
 * directory. 0, or -errno with one line in result->error; -EBUSY: the process
 * still runs. The recording itself is not touched. Files may have been written before
 * one failed.
 */
int sp_recover_file(const char *path, int out_dir_fd,
		    const struct sp_recover_options *options,
		    struct sp_recover_result *result);

#endif
