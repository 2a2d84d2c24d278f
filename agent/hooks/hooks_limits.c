/*
 * A limit on the address space that a program sets as it runs counts what is mapped
 * already: what of ours has no memory yet is given back then. Context: hook, cold.
 */
#include "sp_hooks.h"

#include "sp_compiler.h"
#include "sp_next.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

static int limited(int result, int resource)
{
	const struct sp_hook_calls *calls =
		result == 0 && resource == RLIMIT_AS ? sp_hooks_own_calls() : NULL;

	if (calls) {
		int saved_errno = errno;

		calls->addresses_limited();
		errno = saved_errno;
	}
	return result;
}

SP_EXPORT int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	return limited(SP_NEXT(setrlimit)(resource, limit), (int)resource);
}

SP_EXPORT int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
	return limited(SP_NEXT(setrlimit64)(resource, limit), (int)resource);
}

/* Of another process, or only asked for: then ours is as it was, which is no harm. */
SP_EXPORT int prlimit(pid_t process, enum __rlimit_resource resource,
		      const struct rlimit *limit, struct rlimit *old)
{
	return limited(SP_NEXT(prlimit)(process, resource, limit, old), (int)resource);
}

SP_EXPORT int prlimit64(pid_t process, enum __rlimit_resource resource,
			const struct rlimit64 *limit, struct rlimit64 *old)
{
	return limited(SP_NEXT(prlimit64)(process, resource, limit, old), (int)resource);
}
