/*
 * standard_error MODE: what programs do with their standard error before they end. The
 * data go to the file "data" in the folder of the start.
 */
#include "burn.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#define KEPT_AT 9

/* First thing of all: nothing of a second thread may have run yet. */
static int put_data_in_its_place(void)
{
	int fd;

	close(STDERR_FILENO);
	fd = open("data", O_CREAT | O_TRUNC | O_RDWR, 0644);
	if (fd != STDERR_FILENO || write(fd, "begin\n", 6) != 6)
		return 3;
	burn(200 * NS_PER_MS);
	return write(fd, "end\n", 4) == 4 ? 0 : 3;
}

static int put_data_in_a_child(void)
{
	int status = -1;
	pid_t child = fork();

	if (child == 0)
		exit(put_data_in_its_place());
	waitpid(child, &status, 0);
	return status == 0 ? 0 : 3;
}

/* As long as it is not killed. */
static _Noreturn void go_to_the_background(void)
{
	usleep(50000);
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	for (;;)
		pause();
}

/* As test runners do that gather what others say. */
static int put_aside(void)
{
	int nowhere = open("/dev/null", O_WRONLY);

	if (dup2(STDERR_FILENO, KEPT_AT) != KEPT_AT ||
	    dup2(nowhere, STDERR_FILENO) != STDERR_FILENO)
		return 3;
	close(nowhere);
	burn(500 * NS_PER_MS);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "data") == 0)
		return put_data_in_its_place();
	if (strcmp(mode, "data_in_child") == 0)
		return put_data_in_a_child();
	if (strcmp(mode, "background") == 0)
		go_to_the_background();
	if (strcmp(mode, "aside") == 0)
		return put_aside();
	return 2;
}
