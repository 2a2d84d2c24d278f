/*
 * What a program finds by name (dlsym() and dlvsym()) is called by address, through no
 * slot: the look-up itself finds the entry of a function that is to be followed.
 * RTLD_NEXT and RTLD_DEFAULT mean what comes after the caller, or before it: those are
 * answered here only where the answer is sure to be the loader's, which is when an
 * object of the start-up asks and one of the start-up has it. Everything else goes on to
 * the real function, which sees its real caller. Context: hook.
 */
#include "function_lookups.h"

#include "function_modules.h"
#include "sp_compiler.h"
#include "sp_next.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#pragma weak _dl_find_object

enum which { DLSYM, DLVSYM, LOOKUPS };

struct lookup {
	const char *name;
	const char *stub; /* function_lookup_stub.S */
};

static const struct lookup lookups[LOOKUPS] = {
	{"dlsym", sp_function_dlsym},
	{"dlvsym", sp_function_dlvsym},
};
static _Atomic(void *) originals[LOOKUPS];

static void *original(enum which which)
{
	void *found = atomic_load_explicit(&originals[which], memory_order_relaxed);

	if (sp_likely(found != NULL))
		return found;
	found = sp_next_find_first(lookups[which].name, NULL);
	atomic_store_explicit(&originals[which], found, memory_order_relaxed);
	return found;
}

static int which_is(const char *name)
{
	for (int i = 0; i < LOOKUPS; i++)
		if (strcmp(lookups[i].name, name) == 0)
			return i;
	return LOOKUPS;
}

bool sp_function_is_lookup(const char *name)
{
	return which_is(name) != LOOKUPS;
}

uint64_t sp_function_lookup_for(const char *name, uint64_t target)
{
	int which = which_is(name);
	uint64_t known;

	if (which == LOOKUPS)
		return 0;
	known = (uint64_t)(uintptr_t)original((enum which)which);
	return known && (!target || target == known)
		       ? (uint64_t)(uintptr_t)lookups[which].stub
		       : 0;
}

/* --- what it finds --- */

/* An object of the start-up, NULL: none of these. */
static const struct link_map *startup_object_at(uint64_t address)
{
	struct dl_find_object found;

	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	if (!_dl_find_object || _dl_find_object((void *)address, &found) != 0 ||
	    !sp_next_is_startup(found.dlfo_link_map))
		return NULL;
	return found.dlfo_link_map;
}

/* NULL: the real look-up knows better. */
static void *find_for_caller(void *handle, const char *name, const char *version,
			     uint64_t caller)
{
	const struct link_map *object = startup_object_at(caller);

	if (!object)
		return NULL;
	return handle == RTLD_NEXT ? sp_next_find_behind(object, name, version)
				   : sp_next_find_first(name, version);
}

static void *call_original(enum which which, void *handle, const char *name,
			   const char *version)
{
	void *function = original(which);

	if (which == DLVSYM)
		return ((void *(*)(void *, const char *, const char *))function)(
			handle, name, version);
	return ((void *(*)(void *, const char *))function)(handle, name);
}

/* What the program gets for a function that was found. */
static void *entry_of(void *found, const char *name)
{
	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	return (void *)sp_function_entry_for((uint64_t)(uintptr_t)found, name, true);
}

static struct sp_function_found find(enum which which, void *handle, const char *name,
				     const char *version, uint64_t caller)
{
	const struct sp_function_found pass_on = {NULL, original(which)};
	void *found, *entry;

	if (handle != RTLD_NEXT && handle != RTLD_DEFAULT) {
		found = call_original(which, handle, name, version);
		if (found)
			sp_function_patch_early(handle);
		if (!found || !name || !sp_function_is_wanted(name))
			return (struct sp_function_found){found, NULL};
		return (struct sp_function_found){entry_of(found, name), NULL};
	}
	if (!name || !sp_function_is_wanted(name) || (which == DLVSYM && !version))
		return pass_on;
	found = find_for_caller(handle, name, version, caller);
	entry = found ? entry_of(found, name) : NULL;
	return entry == found ? pass_on : (struct sp_function_found){entry, NULL};
}

struct sp_function_found sp_function_find_dlsym(void *handle, const char *name,
						const char *unused, uint64_t caller)
{
	int saved_errno = errno;
	struct sp_function_found found = find(DLSYM, handle, name, NULL, caller);

	(void)unused;
	errno = saved_errno;
	return found;
}

struct sp_function_found sp_function_find_dlvsym(void *handle, const char *name,
						 const char *version, uint64_t caller)
{
	int saved_errno = errno;
	struct sp_function_found found = find(DLVSYM, handle, name, version, caller);

	errno = saved_errno;
	return found;
}
