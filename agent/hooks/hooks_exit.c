/*
 * Ends of the process that run no destructors: the profiles are written first. An
 * end by exit() or quick_exit() comes to the agent through their own handlers.
 * Context: hook, cold.
 */
#include "sp_hooks.h"

#include "sp_compiler.h"
#include "sp_next.h"

#include <stdlib.h>
#include <unistd.h>

/* Its functions are declared only where assert() is on. */
#undef NDEBUG
#include <assert.h>

static void announce_exit(void)
{
	const struct sp_hook_calls *calls = sp_hooks_own_calls();

	if (calls)
		calls->before_exit();
}

SP_EXPORT void _exit(int status)
{
	announce_exit();
	SP_NEXT(_exit)(status);
	__builtin_unreachable();
}

SP_EXPORT void _Exit(int status)
{
	announce_exit();
	SP_NEXT(_Exit)(status);
	__builtin_unreachable();
}

SP_EXPORT void abort(void)
{
	announce_exit();
	SP_NEXT(abort)();
	__builtin_unreachable();
}

/* These two go on to an abort() within the C library, where no hook of ours is met. */
SP_EXPORT void __assert_fail(const char *assertion, const char *file, unsigned int line,
			     const char *function)
{
	announce_exit();
	SP_NEXT(__assert_fail)(assertion, file, line, function);
	__builtin_unreachable();
}

SP_EXPORT void __assert_perror_fail(int error, const char *file, unsigned int line,
				    const char *function)
{
	announce_exit();
	SP_NEXT(__assert_perror_fail)(error, file, line, function);
	__builtin_unreachable();
}

/* The parent ends within the C library as well; who is still there goes on. */
SP_EXPORT int daemon(int keeps_directory, int keeps_output)
{
	const struct sp_hook_calls *calls;
	int result;

	announce_exit();
	result = SP_NEXT(daemon)(keeps_directory, keeps_output);
	calls = sp_hooks_own_calls();
	if (calls)
		calls->goes_on();
	return result;
}
