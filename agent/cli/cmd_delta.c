/*
 * spanprof delta: what happened between two profiles of a process. The work is
 * sp_profile_delta_write()'s; here files are read and written. Context: command;
 * invariant: nothing is written but a whole profile.
 */
#include "sp_cli.h"
#include "sp_file_sink.h"
#include "sp_profile_delta.h"
#include "sp_profile_read.h"
#include "sp_text.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXTENSION ".pb.gz"

/* All of a regular file into memory of ours. 0 or -errno. */
static int read_file(const char *path, void **bytes, size_t *size_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;
	size_t used_bytes = 0;
	char *memory = NULL;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) != 0)
		err = -errno;
	else if (!S_ISREG(status.st_mode) ||
		 (uint64_t)status.st_size > SP_PROFILE_READ_BYTES_MAX)
		err = S_ISREG(status.st_mode) ? -EFBIG : -EINVAL;
	else if (!(memory = malloc((size_t)status.st_size + 1)))
		err = -ENOMEM;
	while (!err && used_bytes < (size_t)status.st_size) {
		ssize_t got = read(fd, memory + used_bytes,
				   (size_t)status.st_size - used_bytes);

		if (got < 0 && errno != EINTR)
			err = -errno;
		if (got == 0)
			break;
		used_bytes += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	if (err) {
		free(memory);
		return err;
	}
	*bytes = memory;
	*size_bytes = used_bytes;
	return 0;
}

/* False after a complaint. */
static bool read_profile(const char *path, Perftools__Profiles__Profile **profile)
{
	const char *problem = NULL;
	size_t size_bytes = 0;
	void *bytes = NULL;
	int err = read_file(path, &bytes, &size_bytes);

	if (err) {
		sp_cli_complain("cannot read %s: %s", path,
				err == -EINVAL ? "not a regular file" : strerror(-err));
		return false;
	}
	err = sp_profile_read(bytes, size_bytes, profile, &problem);
	free(bytes);
	if (err)
		sp_cli_complain("cannot read %s: %s", path, problem);
	return err == 0;
}

/* "redis.17.heap.pb.gz" becomes "redis.17.delta.heap.pb.gz", in the current folder. */
static void make_name(const char *newer_path, char *name, size_t name_bytes)
{
	const char *base = sp_text_base_name(newer_path);
	size_t base_bytes = strlen(base), extension_bytes = strlen(EXTENSION);
	size_t stem_bytes = base_bytes;

	if (base_bytes > extension_bytes &&
	    strcmp(base + base_bytes - extension_bytes, EXTENSION) == 0) {
		stem_bytes = base_bytes - extension_bytes;
		while (stem_bytes > 0 && base[stem_bytes - 1] != '.')
			stem_bytes--;
	}
	if (stem_bytes == 0 || stem_bytes == base_bytes)
		snprintf(name, name_bytes, "delta%s%s", stem_bytes == 0 ? "." : EXTENSION,
			 stem_bytes == 0 ? base : "");
	else
		snprintf(name, name_bytes, "%.*sdelta.%s", (int)stem_bytes, base,
			 base + stem_bytes);
}

/* Where to; the folder ends up open. 0 or -errno. */
static int open_folder_of(const char *path, int *dir_fd, char *name, size_t name_bytes)
{
	const char *base = sp_text_base_name(path);
	char folder[PATH_MAX];

	if ((size_t)(base - path) >= sizeof(folder) || strlen(base) >= name_bytes)
		return -ENAMETOOLONG;
	snprintf(folder, sizeof(folder), "%.*s", (int)(base - path), path);
	strcpy(name, base);
	*dir_fd = open(base == path ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *dir_fd < 0 ? -errno : 0;
}

/* out is NULL for a name of our choice, which replaces no file. */
static int write_delta(const struct sp_delta_input *older,
		       const struct sp_delta_input *newer, const char *out)
{
	char chosen[NAME_MAX + 1], name[NAME_MAX + 1], error[2 * PATH_MAX + 256] = "";
	struct sp_file_sink file;
	int dir_fd, err;

	make_name(newer->name, chosen, sizeof(chosen));
	err = open_folder_of(out ? out : chosen, &dir_fd, name, sizeof(name));
	if (err) {
		sp_cli_complain("cannot write to %s: %s", out ? out : chosen,
				strerror(-err));
		return SP_EXIT_FAILED;
	}
	err = sp_file_sink_open(&file, dir_fd, name);
	if (!err) {
		err = sp_profile_delta_write(older, newer, &file.sink, error,
					     sizeof(error));
		if (err)
			sp_file_sink_abort(&file);
		else
			err = sp_file_sink_commit(&file, out != NULL);
	}
	close(dir_fd);
	if (err && error[0] != '\0')
		sp_cli_complain("%s", error);
	else if (err)
		sp_cli_complain("cannot write %s: %s", out ? out : chosen,
				strerror(-err));
	else /* Where something else than a file is, the name got a number. */
		printf("%.*s%s\n", out ? (int)(sp_text_base_name(out) - out) : 0,
		       out ? out : "", file.name);
	return err ? SP_EXIT_FAILED : SP_EXIT_OK;
}

static int run_delta(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"out", required_argument, NULL, 'o'},
		{NULL, 0, NULL, 0},
	};
	Perftools__Profiles__Profile *older = NULL, *newer = NULL;
	const char *out = NULL;
	int letter, status = SP_EXIT_FAILED;

	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":o:", long_options, NULL)) != -1) {
		if (letter != 'o')
			return sp_cli_usage_option(&sp_cmd_delta, letter, argv);
		out = optarg;
	}
	if (argc - optind != 2)
		return sp_cli_usage(&sp_cmd_delta, "two profiles are wanted, not %d",
				    argc - optind);
	if (read_profile(argv[optind], &older) && read_profile(argv[optind + 1], &newer))
		status = write_delta(&(struct sp_delta_input){older, argv[optind]},
				     &(struct sp_delta_input){newer, argv[optind + 1]},
				     out);
	if (older)
		sp_profile_read_free(older);
	if (newer)
		sp_profile_read_free(newer);
	return status;
}

const struct sp_command sp_cmd_delta = {
	.name = "delta",
	.arguments = "[-o FILE] OLD NEW",
	.summary = "Write what happened between two profiles of one process",
	.details =
		"OLD and NEW are profiles of one kind that were taken of a process "
		"one after\n"
		"the other, as \"spanprof recover --force\" does. FILE gets the values "
		"of NEW\n"
		"less those of OLD, which may be negative; stacks that have not changed "
		"are\n"
		"left out.\n"
		"\n"
		"  -o, --out FILE  write to FILE, not to a file named as NEW with "
		"\"delta\" in it\n"
		"\n"
		"Exit status: 0 it is written, 1 it could not be, 2 usage.\n",
	.run = run_delta,
};
