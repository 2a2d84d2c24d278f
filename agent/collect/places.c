/*
 * The directories that the user names are made when the first recording is. Context:
 * init.
 */
#include "sp_collector.h"

#include "sp_file_sink.h"
#include "sp_syscall.h"

static void make_directory(const char *path)
{
	int fd;

	if (sp_directory_open(path, &fd) == 0)
		sp_syscall1(SYS_close, fd);
}

void sp_collector_make_places(const struct sp_options *options)
{
	if (!options->recording_dir[0])
		return;
	make_directory(options->recording_dir);
	/* Takes its place where it cannot be made or used. */
	make_directory(options->out_dir);
}
