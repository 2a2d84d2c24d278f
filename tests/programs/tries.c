/*
 * tries MODE: what ends, or seems to end, a program: a loop of calls to exec that
 * fail, daemon(), a new root as the very first thing.
 */
#include "burn.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define FAILING_EXECS 300

static void exec_in_vain(void)
{
	char *const arguments[] = {"x", NULL};
	static const char *const paths[] = {"/nonexistent", "/etc/passwd", "/tmp",
					    "/etc/passwd/x"};

	for (int i = 0; i < FAILING_EXECS; i++) {
		execv(paths[i % 4], arguments);
		if (i == 0)
			printf("%s\n", strerror(errno));
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "chroot") == 0) {
		mkdir("root", 0777);
		if (chroot("root") != 0)
			return 77;
	}
	burn(100 * NS_PER_MS);
	if (strcmp(mode, "exec") == 0)
		exec_in_vain();
	if (strcmp(mode, "daemon") == 0 && daemon(1, 1) != 0)
		return 1;
	printf("here\n");
	burn(100 * NS_PER_MS);
	return 0;
}
