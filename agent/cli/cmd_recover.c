/*
 * spanprof recover: profiles from the recordings of programs that were killed.
 * The work is sp_recover_file()'s; here recordings are found, results told, and
 * recordings removed if wanted. Context: command; invariant: a recording is removed
 * only after its profiles are in place.
 */
#include "sp_cli.h"
#include "sp_file_sink.h"
#include "sp_options.h"
#include "sp_recording.h"
#include "sp_recover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct recovery {
	struct sp_recover_options options;
	const char *out_dir;
	int out_dir_fd;
	bool is_removing;
};

static bool is_recording_name(const char *name)
{
	size_t name_bytes = strlen(name), suffix_bytes = strlen(SP_RECORDING_SUFFIX);

	return name_bytes > suffix_bytes &&
	       strcmp(name + name_bytes - suffix_bytes, SP_RECORDING_SUFFIX) == 0;
}

static const char *slash_after(const char *folder)
{
	size_t folder_bytes = strlen(folder);

	return folder_bytes > 0 && folder[folder_bytes - 1] == '/' ? "" : "/";
}

static void tell_failure(const char *path, int err,
			 const struct sp_recover_result *result)
{
	sp_cli_complain("cannot recover %s: %s%s", path,
			result->error[0] != '\0' ? result->error : strerror(-err),
			err == -EBUSY
				? "; wait for its end, or use --force for what there is "
				  "so far"
				: "");
}

static bool is_of_another_user(const char *path)
{
	struct stat file;

	return lstat(path, &file) == 0 && file.st_uid != geteuid();
}

/* is_listed: found in a folder, so that a program that still runs is no mistake, and
 * neither is one of another user. */
static int recover_file(const struct recovery *recovery, const char *path, bool is_listed)
{
	struct sp_recover_result result;
	int err;

	memset(&result, 0, sizeof(result));
	err = sp_recover_file(path, recovery->out_dir_fd, &recovery->options, &result);
	if (err == -EBUSY && is_listed) {
		printf("%s: left alone, %s\n", path, result.error);
		return SP_EXIT_OK;
	}
	if (err == -EACCES && is_listed && is_of_another_user(path)) {
		printf("%s: left alone, it is another user's\n", path);
		return SP_EXIT_OK;
	}
	for (unsigned int i = 0; i < result.file_count; i++)
		printf("%s%s%s: %s\n", recovery->out_dir, slash_after(recovery->out_dir),
		       result.files[i].name, result.files[i].summary);
	if (err) {
		tell_failure(path, err, &result);
		return SP_EXIT_FAILED;
	}
	if (result.state[0] != '\0')
		printf("%s: %s\n", path, result.state);

	if (recovery->is_removing && unlink(path) != 0) {
		sp_cli_complain("cannot remove %s: %s; its profiles are written", path,
				strerror(errno));
		return SP_EXIT_FAILED;
	}
	return SP_EXIT_OK;
}

static int select_recording(const struct dirent *entry)
{
	return is_recording_name(entry->d_name);
}

/* All recordings of a folder, but not of the folders in it. */
static int recover_folder(const struct recovery *recovery, const char *folder)
{
	struct dirent **entries;
	int count = scandir(folder, &entries, select_recording, alphasort);
	int found_count = 0, status = SP_EXIT_OK;

	if (count < 0) {
		sp_cli_complain("cannot list %s: %s", folder, strerror(errno));
		return SP_EXIT_FAILED;
	}
	for (int i = 0; i < count; i++) {
		char path[PATH_MAX];
		struct stat file;
		int path_bytes = snprintf(path, sizeof(path), "%s%s%s", folder,
					  slash_after(folder), entries[i]->d_name);

		free(entries[i]);
		if (path_bytes >= (int)sizeof(path)) {
			sp_cli_complain(
				"the path of a recording in %s is too long; name it "
				"from a folder nearer to it",
				folder);
			status = SP_EXIT_FAILED;
			continue;
		}
		/* In a folder that all may write to, a link can lead anywhere. */
		if (lstat(path, &file) != 0 || !S_ISREG(file.st_mode))
			continue;
		found_count++;
		if (recover_file(recovery, path, true) != SP_EXIT_OK)
			status = SP_EXIT_FAILED;
	}
	free(entries);
	if (found_count == 0 && status == SP_EXIT_OK)
		printf("%s: no recording (*" SP_RECORDING_SUFFIX
		       "), nothing to recover\n",
		       folder);
	return status;
}

static int recover_path(const struct recovery *recovery, const char *path)
{
	struct stat file;

	if (stat(path, &file) != 0) {
		sp_cli_complain("cannot recover %s: %s", path, strerror(errno));
		return SP_EXIT_FAILED;
	}
	if (S_ISDIR(file.st_mode))
		return recover_folder(recovery, path);
	if (!S_ISREG(file.st_mode)) {
		sp_cli_complain("cannot recover %s: neither a file nor a folder", path);
		return SP_EXIT_FAILED;
	}
	return recover_file(recovery, path, false);
}

/* Before any recording is read, with the code that will make the names. */
static bool is_file_pattern(const char *pattern)
{
	char name[NAME_MAX + 1];

	return pattern[0] != '\0' &&
	       strlen(pattern) < sizeof(((struct sp_options *)NULL)->file_pattern) &&
	       sp_options_file_name(pattern, "program", 1, 1, "cpu", "pb.gz", name,
				    sizeof(name)) == 0;
}

static int run_recover(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"out", required_argument, NULL, 'o'},
		{"file", required_argument, NULL, 'n'},
		{"force", no_argument, NULL, 'f'},
		{"remove", no_argument, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	struct recovery recovery = {.out_dir = "."};
	int letter, err, status = SP_EXIT_OK;

	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":o:", long_options, NULL)) != -1) {
		switch (letter) {
		case 'o':
			recovery.out_dir = optarg;
			break;
		case 'n':
			if (!is_file_pattern(optarg))
				return sp_cli_usage(&sp_cmd_recover,
						    "\"%s\" is no file name made of text "
						    "and %%e %%p %%t %%h %%%%",
						    optarg);
			recovery.options.file_pattern = optarg;
			break;
		case 'f':
			recovery.options.is_forced = true;
			break;
		case 'r':
			recovery.is_removing = true;
			break;
		default:
			return sp_cli_usage_option(&sp_cmd_recover, letter, argv);
		}
	}
	if (optind == argc)
		return sp_cli_usage(&sp_cmd_recover, "no FILE or DIR to recover from");
	if (recovery.options.is_forced && recovery.is_removing)
		return sp_cli_usage(&sp_cmd_recover,
				    "--remove with --force would take a recording from a "
				    "program that still fills it");

	err = sp_directory_open(recovery.out_dir, &recovery.out_dir_fd);
	if (err) {
		sp_cli_complain(
			"cannot write profiles to %s: %s; name another folder with -o",
			recovery.out_dir, strerror(-err));
		return SP_EXIT_FAILED;
	}
	for (int i = optind; i < argc; i++) {
		if (recover_path(&recovery, argv[i]) != SP_EXIT_OK)
			status = SP_EXIT_FAILED;
	}
	close(recovery.out_dir_fd);
	return status;
}

const struct sp_command sp_cmd_recover = {
	.name = "recover",
	.arguments = "[-o DIR] [--file PATTERN] [--force | --remove] FILE|DIR...",
	.summary = "Write the profiles of programs that were killed",
	.details =
		"A program that is killed leaves its recording, FILE" SP_RECORDING_SUFFIX
		", in\n"
		"$XDG_RUNTIME_DIR, /dev/shm or the folder of its profiles. Of a DIR, "
		"all\n"
		"recordings in it are taken; programs that still run are left alone,\n"
		"and so are other users'.\n"
		"\n"
		"  -o, --out DIR   write the profiles to DIR, not to the current folder\n"
		"  --file PATTERN  name them so, as SPANPROF_FILE does\n"
		"  --force         take a recording even if its program may still run\n"
		"  --remove        remove each recording once its profiles are written\n"
		"\n"
		"Exit status: 0 all is recovered, 1 something could not be, 2 usage.\n",
	.run = run_recover,
};
