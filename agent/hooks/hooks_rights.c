/*
 * Calls that change whom a program acts for. The C library makes such a change in all
 * threads, but knows of no second one while ours is the only other; and capset() is for
 * one thread by its nature. A program that gives up rights must not keep a thread that
 * has them, so ours follows: by the same calls, unless a filter kills for one of them.
 * Context: hook, cold.
 */
#include "sp_hooks.h"

#include "sp_compiler.h"
#include "sp_next.h"

#include <errno.h>
#include <grp.h>
#include <stdatomic.h>
#include <unistd.h>

static _Atomic bool is_forbidden;

void sp_hooks_rights_forbid(void)
{
	atomic_store_explicit(&is_forbidden, true, memory_order_relaxed);
}

static int changed(int result)
{
	const struct sp_hook_calls *calls = result == 0 ? sp_hooks_own_calls() : NULL;

	if (calls) {
		int saved_errno = errno;

		calls->rights_changed(
			!atomic_load_explicit(&is_forbidden, memory_order_relaxed));
		errno = saved_errno;
	}
	return result;
}

SP_EXPORT int setuid(uid_t user)
{
	return changed(SP_NEXT(setuid)(user));
}

SP_EXPORT int seteuid(uid_t user)
{
	return changed(SP_NEXT(seteuid)(user));
}

SP_EXPORT int setreuid(uid_t real, uid_t effective)
{
	return changed(SP_NEXT(setreuid)(real, effective));
}

SP_EXPORT int setresuid(uid_t real, uid_t effective, uid_t saved)
{
	return changed(SP_NEXT(setresuid)(real, effective, saved));
}

SP_EXPORT int setgid(gid_t group)
{
	return changed(SP_NEXT(setgid)(group));
}

SP_EXPORT int setegid(gid_t group)
{
	return changed(SP_NEXT(setegid)(group));
}

SP_EXPORT int setregid(gid_t real, gid_t effective)
{
	return changed(SP_NEXT(setregid)(real, effective));
}

SP_EXPORT int setresgid(gid_t real, gid_t effective, gid_t saved)
{
	return changed(SP_NEXT(setresgid)(real, effective, saved));
}

SP_EXPORT int setgroups(size_t count, const gid_t *groups)
{
	return changed(SP_NEXT(setgroups)(count, groups));
}

SP_EXPORT int initgroups(const char *user, gid_t group)
{
	return changed(SP_NEXT(initgroups)(user, group));
}

/* Declared by libcap only. */
SP_EXPORT int capset(void *header, const void *data);

SP_EXPORT int capset(void *header, const void *data)
{
	return changed(SP_NEXT_AS("capset", int (*)(void *, const void *))(header, data));
}
