/*
 * Calls that change whom a program acts for. The C library makes such a change in all
 * threads, but knows of no second one while ours is the only other; and capset() is for
 * one thread by its nature. A program that gives up rights must not keep a thread that
 * has them, so ours follows: by the same calls, unless a filter kills for one of them.
 * Nor is it to leave files that its new user cannot remove.
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

/* Of a filter that kills for giving a file away nothing is tried. */
static const struct sp_hook_calls *announce_user(uid_t user)
{
	const struct sp_hook_calls *calls =
		atomic_load_explicit(&is_forbidden, memory_order_relaxed)
			? NULL
			: sp_hooks_own_calls();
	int saved_errno = errno;

	if (calls && !calls->before_user(user))
		calls = NULL;
	errno = saved_errno;
	return calls;
}

static int changed_user(const struct sp_hook_calls *announced, uid_t user, int result)
{
	int saved_errno = errno;

	if (announced)
		announced->after_user(user);
	errno = saved_errno;
	return changed(result);
}

SP_EXPORT int setuid(uid_t user)
{
	const struct sp_hook_calls *announced = announce_user(user);

	return changed_user(announced, user, SP_NEXT(setuid)(user));
}

SP_EXPORT int seteuid(uid_t user)
{
	return changed(SP_NEXT(seteuid)(user));
}

SP_EXPORT int setreuid(uid_t real, uid_t effective)
{
	const struct sp_hook_calls *announced =
		real == effective ? announce_user(real) : NULL;

	return changed_user(announced, real, SP_NEXT(setreuid)(real, effective));
}

SP_EXPORT int setresuid(uid_t real, uid_t effective, uid_t saved)
{
	const struct sp_hook_calls *announced =
		real == effective && real == saved ? announce_user(real) : NULL;

	return changed_user(announced, real, SP_NEXT(setresuid)(real, effective, saved));
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
