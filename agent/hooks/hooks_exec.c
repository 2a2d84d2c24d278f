/*
 * The exec family: the image goes, so its profiles are written first. Also runs in
 * vfork children, in their parent's memory, where nothing may be allocated and
 * nothing is ours to report. Context: hook, cold.
 */
#include "sp_hooks.h"

#include "sp_compiler.h"
#include "sp_next.h"
#include "sp_syscall.h"
#include "sp_text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif

/*
 * Can this be executed? Not asked of the real call, which comes back only where it
 * fails. Kernels and filters that know no such question count as yes.
 */
static bool is_executable(int directory, const char *path, int flags)
{
	struct stat status;
	long err;

	if (!path || !(*path || flags & AT_EMPTY_PATH))
		return false;
	err = sp_syscall4(SYS_faccessat2, directory, path, X_OK,
			  AT_EACCESS | (flags & AT_EMPTY_PATH));
	if (err)
		return err == -ENOSYS || err == -EPERM;
	return sp_syscall4(SYS_newfstatat, directory, path, &status,
			   flags & AT_EMPTY_PATH) == 0 &&
	       S_ISREG(status.st_mode);
}

/* Profiles are written before the image goes, but not for a try that fails, as in a
 * search along PATH. */
static bool announce_exec(int directory, const char *path, int flags)
{
	const struct sp_hook_calls *calls = sp_hooks_own_calls();
	int saved_errno = errno;
	bool is_there = calls && is_executable(directory, path, flags);

	if (is_there)
		calls->before_exec();
	errno = saved_errno;
	return is_there;
}

/* Only a failed exec returns. */
static int exec_failed(int result)
{
	const struct sp_hook_calls *calls = sp_hooks_own_calls();
	int saved_errno = errno;

	if (calls)
		calls->goes_on();
	errno = saved_errno;
	return result;
}

static void announce_search(const char *file)
{
	const char *path = getenv("PATH");
	char candidate[PATH_MAX];

	if (!file || strchr(file, '/')) {
		announce_exec(AT_FDCWD, file, 0);
		return;
	}
	if (!sp_hooks_own_calls())
		return;
	if (!path)
		path = "/bin:/usr/bin";
	for (;;) {
		size_t length = strcspn(path, ":");
		struct sp_text text;

		sp_text_init(&text, candidate, sizeof(candidate));
		for (size_t i = 0; i < length; i++)
			sp_text_char(&text, path[i]);
		if (length)
			sp_text_char(&text, '/');
		sp_text_string(&text, file);
		if ((!text.is_cut && announce_exec(AT_FDCWD, candidate, 0)) ||
		    !path[length])
			return;
		path += length + 1;
	}
}

SP_EXPORT int execve(const char *path, char *const arguments[], char *const environment[])
{
	announce_exec(AT_FDCWD, path, 0);
	return exec_failed(SP_NEXT(execve)(path, arguments, environment));
}

SP_EXPORT int execv(const char *path, char *const arguments[])
{
	announce_exec(AT_FDCWD, path, 0);
	return exec_failed(SP_NEXT(execv)(path, arguments));
}

SP_EXPORT int execvp(const char *file, char *const arguments[])
{
	announce_search(file);
	return exec_failed(SP_NEXT(execvp)(file, arguments));
}

SP_EXPORT int execvpe(const char *file, char *const arguments[],
		      char *const environment[])
{
	announce_search(file);
	return exec_failed(SP_NEXT(execvpe)(file, arguments, environment));
}

SP_EXPORT int execveat(int directory, const char *path, char *const arguments[],
		       char *const environment[], int flags)
{
	announce_exec(directory, path, flags);
	return exec_failed(
		SP_NEXT(execveat)(directory, path, arguments, environment, flags));
}

SP_EXPORT int fexecve(int file, char *const arguments[], char *const environment[])
{
	announce_exec(file, "", AT_EMPTY_PATH);
	return exec_failed(SP_NEXT(fexecve)(file, arguments, environment));
}

/* The variadic forms become arrays on the stack, as in the C library: they are
 * called in vfork children, where nothing may be allocated. */
static size_t count_arguments(va_list list)
{
	size_t count = 1; /* the first, named one */

	while (va_arg(list, char *))
		count++;
	return count;
}

static void copy_arguments(char **array, const char *first, size_t count, va_list list)
{
	array[0] = (char *)(uintptr_t)first;
	for (size_t i = 1; i <= count; i++)
		array[i] = va_arg(list, char *);
}

/* The header says that the first argument is never NULL; programs say otherwise. */
static const char *maybe_null(const char *argument)
{
	__asm__("" : "+r"(argument));
	return argument;
}

#define GATHER_ARGUMENTS(first, list, array)                                             \
	do {                                                                             \
		const char *named_ = maybe_null(first);                                  \
		size_t count_ = 0;                                                       \
                                                                                         \
		if (named_) {                                                            \
			va_start(list, first);                                           \
			count_ = count_arguments(list);                                  \
			va_end(list);                                                    \
		}                                                                        \
		array = __builtin_alloca((count_ + 1) * sizeof(char *));                 \
		array[0] = NULL;                                                         \
		va_start(list, first);                                                   \
		if (named_)                                                              \
			copy_arguments(array, named_, count_, list);                     \
	} while (0)

SP_EXPORT int execl(const char *path, const char *first, ...)
{
	char **arguments;
	va_list list;

	GATHER_ARGUMENTS(first, list, arguments);
	va_end(list);
	return execv(path, arguments);
}

SP_EXPORT int execlp(const char *file, const char *first, ...)
{
	char **arguments;
	va_list list;

	GATHER_ARGUMENTS(first, list, arguments);
	va_end(list);
	return execvp(file, arguments);
}

SP_EXPORT int execle(const char *path, const char *first, ...)
{
	char **arguments;
	char *const *environment;
	va_list list;

	GATHER_ARGUMENTS(first, list, arguments);
	environment = va_arg(list, char *const *);
	va_end(list);
	return execve(path, arguments, environment);
}
