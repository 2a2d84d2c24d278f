/*
 * stat() and its kin, of /proc/self/task: the folder's links tell how many threads the
 * process has, and here they do so without ours. Browsers ask in this way before they
 * fork or confine themselves, and end where they are not alone. Nothing but the result is
 * looked at unless it is that of such a folder. Context: hook.
 */
#include "sp_hooks.h"

#include "sp_capture.h"
#include "sp_compiler.h"
#include "sp_next.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static_assert(sizeof(struct stat) == sizeof(struct stat64), "one kind of result");

/* Of two, the program's and ours: a link each, and those of every folder. */
#define LINKS_OF_TWO 4

/* Also relative to a descriptor of /proc, and with an oblique stroke at its end. */
static bool is_own_task_folder(const char *path)
{
	static const char name[] = "self/task";
	const size_t name_bytes = sizeof(name) - 1;
	size_t bytes = strlen(path);

	while (bytes > 0 && path[bytes - 1] == '/')
		bytes--;
	return bytes >= name_bytes &&
	       memcmp(path + bytes - name_bytes, name, name_bytes) == 0 &&
	       (bytes == name_bytes || path[bytes - name_bytes - 1] == '/');
}

/* The header says that it always is; the kernel takes none for AT_EMPTY_PATH, too. */
static bool is_given(const char *path)
{
	__asm__("" : "+r"(path));
	return path != NULL;
}

static SP_COLD void leave_out_own_thread(const char *path, struct stat *status)
{
	int saved_errno = errno;

	if (is_given(path) && is_own_task_folder(path) && sp_hooks_own_calls() &&
	    atomic_load_explicit(&sp_capture.has_reporter_thread, memory_order_relaxed))
		status->st_nlink--;
	errno = saved_errno;
}

static int counted(int result, const char *path, void *out)
{
	struct stat *status = out;

	if (sp_likely(result != 0 || status->st_mode != (S_IFDIR | 0555) ||
		      status->st_size != 0 || status->st_nlink < LINKS_OF_TWO))
		return result;
	leave_out_own_thread(path, status);
	return result;
}

SP_EXPORT int stat(const char *path, struct stat *out)
{
	return counted(SP_NEXT(stat)(path, out), path, out);
}

SP_EXPORT int stat64(const char *path, struct stat64 *out)
{
	return counted(SP_NEXT(stat64)(path, out), path, out);
}

SP_EXPORT int lstat(const char *path, struct stat *out)
{
	return counted(SP_NEXT(lstat)(path, out), path, out);
}

SP_EXPORT int lstat64(const char *path, struct stat64 *out)
{
	return counted(SP_NEXT(lstat64)(path, out), path, out);
}

SP_EXPORT int fstatat(int folder_fd, const char *path, struct stat *out, int flags)
{
	return counted(SP_NEXT(fstatat)(folder_fd, path, out, flags), path, out);
}

SP_EXPORT int fstatat64(int folder_fd, const char *path, struct stat64 *out, int flags)
{
	return counted(SP_NEXT(fstatat64)(folder_fd, path, out, flags), path, out);
}

/* Those that programs call which were linked with a C library before 2.33. */
int __xstat(int version, const char *path, struct stat *out);
int __xstat64(int version, const char *path, struct stat64 *out);
int __lxstat(int version, const char *path, struct stat *out);
int __lxstat64(int version, const char *path, struct stat64 *out);
int __fxstatat(int version, int folder_fd, const char *path, struct stat *out, int flags);
int __fxstatat64(int version, int folder_fd, const char *path, struct stat64 *out,
		 int flags);

SP_EXPORT int __xstat(int version, const char *path, struct stat *out)
{
	return counted(SP_NEXT(__xstat)(version, path, out), path, out);
}

SP_EXPORT int __xstat64(int version, const char *path, struct stat64 *out)
{
	return counted(SP_NEXT(__xstat64)(version, path, out), path, out);
}

SP_EXPORT int __lxstat(int version, const char *path, struct stat *out)
{
	return counted(SP_NEXT(__lxstat)(version, path, out), path, out);
}

SP_EXPORT int __lxstat64(int version, const char *path, struct stat64 *out)
{
	return counted(SP_NEXT(__lxstat64)(version, path, out), path, out);
}

SP_EXPORT int __fxstatat(int version, int folder_fd, const char *path, struct stat *out,
			 int flags)
{
	return counted(SP_NEXT(__fxstatat)(version, folder_fd, path, out, flags), path,
		       out);
}

SP_EXPORT int __fxstatat64(int version, int folder_fd, const char *path,
			   struct stat64 *out, int flags)
{
	return counted(SP_NEXT(__fxstatat64)(version, folder_fd, path, out, flags), path,
		       out);
}
