/*
 * A process that is killed while it makes its recording leaves one that nobody can read:
 * an empty file, one without its first word, or one that never began. Such a file is
 * known by its name as well, and says there whose it is. Context: collector.
 */
#include "sp_recording_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* program.PID.TIME.spanprof, the time in hexadecimal; 0: it is called otherwise. */
static int writer_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	const char *suffix = strrchr(name, '.'), *time, *pid;
	char *end;
	long number;

	if (!suffix || strcmp(suffix, SP_RECORDING_SUFFIX) != 0)
		return 0;
	time = memrchr(name, '.', (size_t)(suffix - name));
	pid = time ? memrchr(name, '.', (size_t)(time - name)) : NULL;
	if (!pid || time + 1 + strspn(time + 1, "0123456789abcdef") != suffix ||
	    time + 1 == suffix || pid[1] < '1' || pid[1] > '9')
		return 0;
	number = strtol(pid + 1, &end, 10);
	return end == time && number <= INT_MAX ? (int)number : 0;
}

static bool has_begun(int fd)
{
	struct sp_recording_header header;
	ssize_t got = pread(fd, &header, sizeof(header), 0);

	if (got == 0)
		return false;
	/* Another version's, or damaged: not for us to judge. */
	if (got != (ssize_t)sizeof(header))
		return true;
	if (memcmp(header.magic, SP_RECORDING_MAGIC, sizeof(header.magic)) == 0)
		return header.layout_version != SP_RECORDING_VERSION ||
		       header.header_bytes != sizeof(header) ||
		       atomic_load_explicit(&header.state, memory_order_relaxed) !=
			       SP_RECORDING_STARTING ||
		       header.cpu_period_ns || header.heap_rate_bytes;
	return memcmp(header.magic, (const char[sizeof(header.magic)]){0},
		      sizeof(header.magic)) != 0;
}

int sp_recording_unfinished_by(const char *path)
{
	int pid = writer_of(path), fd;
	struct stat status;
	bool is_unfinished;

	if (!pid)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return 0;
	is_unfinished =
		fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && !has_begun(fd);
	close(fd);
	return is_unfinished ? pid : 0;
}
