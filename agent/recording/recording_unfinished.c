/*
 * A process that is killed while it makes its recording leaves one that nobody can read:
 * an empty file, one without its first word, or one that never began. Such a file is
 * known by its name as well, and says there whose it is. Context: collector.
 */
#include "sp_recording_reader.h"

#include "sp_clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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

/*
 * The kernel gives a lease for reading only while nobody can write: the one sign that
 * holds across pid namespaces. False also where it gives none at all, or where a file
 * system has another file below, which is what is mapped there.
 */
static bool is_open_elsewhere(int fd)
{
	/* It would tell us of whoever opens the file now. */
	sighandler_t before = signal(SIGIO, SIG_IGN);
	bool is_open = fcntl(fd, F_SETLEASE, F_RDLCK) != 0 && errno == EAGAIN;

	fcntl(fd, F_SETLEASE, F_UNLCK);
	signal(SIGIO, before);
	return is_open;
}

static uint64_t age_of(const struct stat *status)
{
	uint64_t changed_ns = (uint64_t)status->st_mtim.tv_sec * SP_NS_PER_SECOND +
			      (uint64_t)status->st_mtim.tv_nsec;
	uint64_t now_ns = sp_clock_realtime_ns();

	return changed_ns <= now_ns ? now_ns - changed_ns : UINT64_MAX;
}

bool sp_recording_is_unfinished(const char *path, struct sp_unfinished *unfinished)
{
	int pid = writer_of(path), fd;
	struct stat status;
	bool is_unfinished;

	if (!pid)
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return false;
	unfinished->pid = pid;
	unfinished->is_open = is_open_elsewhere(fd);
	/* In this order: what was begun before it was let go is seen to be. */
	is_unfinished =
		fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && !has_begun(fd);
	if (is_unfinished)
		unfinished->age_ns = age_of(&status);
	close(fd);
	return is_unfinished;
}
