/*
 * tries MODE: what ends, or seems to end, a program: a loop of calls to exec that
 * fail, daemon(), a new root as the very first thing, a child that is at work after
 * all handlers of its end but its own.
 */
#include "burn.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

static int is_child;

int __cxa_atexit(void (*function)(void *), void *argument, void *object);

static void work_late(void *unused)
{
	(void)unused;
	if (is_child)
		burn(100 * NS_PER_MS);
}

/* Before any library's constructor, and bound to no object: its handler is the last. */
static void register_first(void)
{
	__cxa_atexit(work_late, NULL, NULL);
}

static void (*const before_libraries)(void)
	__attribute__((section(".preinit_array"), used)) = register_first;

static int end_child_late(void)
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		is_child = 1;
		exit(0);
	}
	waitpid(child, &status, 0);
	return status;
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
	if (strcmp(mode, "late_child") == 0 && end_child_late() != 0)
		return 1;
	if (strcmp(mode, "daemon") == 0 && daemon(1, 1) != 0)
		return 1;
	printf("here\n");
	burn(100 * NS_PER_MS);
	return 0;
}
