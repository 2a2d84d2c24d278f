/*
 * spanprof path: where the agent is, for LD_PRELOAD. Looked for beside this command
 * first, so that an installed, a moved and a freshly built copy each find their
 * own. Context: command.
 */
#include "sp_cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* From the folder of this command: build tree, then installed. */
static const char *const places[] = {
	"../libspanprof.so",
	"libspanprof.so",
	SP_BINDIR_TO_LIBDIR "/libspanprof.so",
	"../lib/libspanprof.so",
	"../lib/x86_64-linux-gnu/libspanprof.so",
	"../lib64/libspanprof.so",
};

/* The folder of this command. 0 or -errno. */
static int own_folder(char folder[PATH_MAX])
{
	ssize_t length_bytes = readlink("/proc/self/exe", folder, PATH_MAX - 1);
	char *slash;

	if (length_bytes < 0)
		return -errno;
	folder[length_bytes] = '\0';
	slash = strrchr(folder, '/');
	if (slash == NULL)
		return -ENOENT;
	*slash = '\0';
	return 0;
}

int sp_cli_find_agent(char *found)
{
	char folder[PATH_MAX], candidate[2 * PATH_MAX];
	int err = own_folder(folder);

	if (err) {
		sp_cli_complain("cannot read /proc/self/exe: %s; is /proc mounted?",
				strerror(-err));
		return SP_EXIT_FAILED;
	}
	for (size_t i = 0; i < SP_ARRAY_COUNT(places); i++) {
		snprintf(candidate, sizeof(candidate), "%s/%s", folder, places[i]);
		if (access(candidate, R_OK) == 0 && realpath(candidate, found) != NULL)
			return SP_EXIT_OK;
	}
	sp_cli_complain("no libspanprof.so beside %s nor in %s/" SP_BINDIR_TO_LIBDIR
			"; install it there, or name it in LD_PRELOAD yourself",
			folder, folder);
	return SP_EXIT_FAILED;
}

static int run_path(int argc, char **argv)
{
	char found[PATH_MAX];
	int status;

	if (argc > 1)
		return sp_cli_usage(&sp_cmd_path, "\"%s\" is one too many", argv[1]);
	status = sp_cli_find_agent(found);
	if (status == SP_EXIT_OK)
		puts(found);
	return status;
}

const struct sp_command sp_cmd_path = {
	.name = "path",
	.arguments = "",
	.summary = "Print where libspanprof.so is, for LD_PRELOAD",
	.details = "    LD_PRELOAD=$(spanprof path) PROGRAM ARGUMENTS...\n",
	.run = run_path,
};
