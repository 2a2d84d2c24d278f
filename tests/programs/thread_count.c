/*
 * thread_count: how many threads it has, as it reads in /proc in several ways: alone,
 * with 1, 8, 9 and 10 more, and in a child. None of them ends before the process: the
 * kernel counts a thread for some time after it was joined.
 */
#include "burn.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* What programs call that were linked with a C library before 2.33. */
int __xstat(int version, const char *path, struct stat *out);
int __fxstatat(int version, int folder_fd, const char *path, struct stat *out, int flags);

static void *wait_for_end(void *argument)
{
	for (;;)
		pause();
	return argument;
}

static FILE *open_file(const char *path)
{
	FILE *file = fopen(path, "r");

	if (!file) {
		perror(path);
		exit(1);
	}
	return file;
}

/* As Python does. */
static void count_by_fields(const char *path)
{
	FILE *file = open_file(path);
	char text[160], *field, *rest;
	size_t bytes = fread(text, 1, sizeof(text) - 1, file);

	fclose(file);
	text[bytes] = '\0';
	field = strtok_r(text, " ", &rest);
	for (int i = 1; i < 20 && field; i++)
		field = strtok_r(NULL, " ", &rest);
	printf(" %s", field ? field : "none");
}

/* What follows must not have moved. */
static void count_by_format(void)
{
	FILE *file = open_file("/proc/self/stat");
	long threads = 0, timer = 1;

	if (fscanf(file,
		   "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
		   "%*d %*d %ld %ld",
		   &threads, &timer) != 2)
		exit(1);
	fclose(file);
	printf(" %ld %ld", threads, timer);
}

static void count_by_lines(void)
{
	FILE *file = open_file("/proc/self/status");
	char line[4096];
	unsigned int lines = 0;

	for (; fgets(line, sizeof(line), file); lines++)
		if (strncmp(line, "Threads:", 8) == 0)
			printf(" %s", strtok(line + 8, "\t\n"));
	fclose(file);
	printf(" %u\n", lines);
}

/* The place in the file that a stream takes itself to be at before it is read. */
static void look_at_place(void)
{
	FILE *file = open_file("/proc/self/stat");
	long place = ftell(file);
	int pid = 0;

	if (setvbuf(file, NULL, _IONBF, 0) != 0 || fscanf(file, "%d", &pid) != 1)
		exit(1);
	fclose(file);
	printf("place %ld %d\n", place, pid == getpid());
}

/* As browsers do: the folder has a link for each thread, and two of its own. */
static void count_by_links(void)
{
	int folder_fd = open("/proc", O_RDONLY | O_DIRECTORY);
	struct stat status[8];

	memset(status, 0, sizeof(status));
	if (folder_fd < 0 || stat("/proc/self/task", &status[0]) != 0 ||
	    lstat("/proc/self/task", &status[1]) != 0 ||
	    fstatat(folder_fd, "self/task/", &status[2], 0) != 0 ||
	    __xstat(1, "/proc/self/task", &status[3]) != 0 ||
	    __fxstatat(1, folder_fd, "self/task", &status[4], 0) != 0 ||
	    stat64("/proc/self/task/", (struct stat64 *)&status[5]) != 0 ||
	    fstatat64(folder_fd, "self/task", (struct stat64 *)&status[6], 0) != 0 ||
	    stat("/proc/self/fd", &status[7]) != 0)
		exit(1);
	close(folder_fd);
	for (size_t i = 0; i < 7; i++)
		printf(" %lu", (unsigned long)status[i].st_nlink - 2);
	printf(" links, of others %lu\n", (unsigned long)status[7].st_nlink);
}

/* By what the C library and others leave locks alone. A program that is not
 * position-independent has a copy of it, and the C library goes by its own. */
static void look_at_shortcut(void)
{
	const char *own = dlsym(RTLD_NEXT, "__libc_single_threaded");

	printf("single %d %d, a copy: %d\n", __libc_single_threaded, own ? *own : -1,
	       own != &__libc_single_threaded);
}

/* Of what a descriptor is open for, as kernels since 6.11 have it: a folder of /proc. */
static void look_at_nameless(void)
{
	static const char *volatile nothing;
	int folder_fd = open("/proc", O_RDONLY | O_DIRECTORY);
	struct stat status;
	int result = fstatat(folder_fd, nothing, &status, AT_EMPTY_PATH);

	close(folder_fd);
	printf("nameless %d\n", result);
}

static void count(const char *where)
{
	printf("%s", where);
	count_by_fields("/proc/self/stat");
	count_by_format();
	count_by_lines();
	count_by_links();
	look_at_place();
	look_at_nameless();
	look_at_shortcut();
	fflush(stdout);
}

static void count_with(unsigned int more)
{
	static unsigned int threads = 1;
	pthread_t thread;
	char where[16];

	for (unsigned int i = 0; i < more; i++, threads++)
		if (pthread_create(&thread, NULL, wait_for_end, NULL) != 0)
			exit(1);
	snprintf(where, sizeof(where), "%u", threads);
	count(where);
}

static int count_in_child(void)
{
	int status = -1;

	if (fork() == 0) {
		count("child");
		burn(20 * NS_PER_MS);
		count("child at work");
		count_with(1);
		_exit(0);
	}
	wait(&status);
	return status;
}

int main(void)
{
	int status;

	count("alone");
	status = count_in_child();
	count_with(1);
	count_with(7);
	count_with(1);
	count_with(1);
	return status != 0;
}
