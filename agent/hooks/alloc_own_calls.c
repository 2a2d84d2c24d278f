/*
 * A library that defines a function of the allocator and calls it by its public name
 * means its own, and without us it gets that, as it is the first in the loader's list.
 * Its slots are patched (sp_got.h) to hold what they would hold then. Context: init;
 * invariant: no slot is changed but one that leads to us, of a function that the
 * library itself serves the program with.
 */
#include "sp_alloc_own_calls.h"

#include "sp_compiler.h"
#include "sp_next.h"

#include <stdint.h>
#include <string.h>

/* Those that are counted. */
static const char *const names[] = {
	"malloc",	"free",	    "calloc",	     "realloc",
	"reallocarray", "memalign", "aligned_alloc", "posix_memalign",
	"valloc",	"pvalloc",  "cfree",
};

static bool is_wanted(const char *name, void *context)
{
	for (size_t i = 0; i < SP_ARRAY_COUNT(names); i++)
		if (strcmp(names[i], name) == 0)
			return sp_next_find_object(name) == context;
	return false;
}

static uint64_t replacement_for(const char *name, uint64_t target, void *context)
{
	void *ours = sp_next_find_in(sp_next_own_object(), name, NULL);

	return target == (uint64_t)(uintptr_t)ours
		       ? (uint64_t)(uintptr_t)sp_next_find_in(context, name, NULL)
		       : 0;
}

static bool is_c_library(const struct link_map *object)
{
	return sp_next_find_in(object, "gnu_get_libc_version", NULL) != NULL;
}

void sp_alloc_own_calls_start(struct sp_got_result *result)
{
	const struct link_map *before = NULL;

	for (size_t i = 0; i < SP_ARRAY_COUNT(names); i++) {
		const struct link_map *library = sp_next_find_object(names[i]);
		struct sp_got_patch patch = {
			.is_wanted = is_wanted,
			.replacement_for = replacement_for,
			.context = (void *)(uintptr_t)library,
		};

		/* Of several names of one library the first patches all. */
		if (library && library != before && !is_c_library(library))
			sp_got_patch_object(library, &patch, result);
		before = library;
	}
}
