/*
 * See sp_alloc_family.h. By the tables of the objects of the start-up; nothing of the C
 * library is called. Context: hook.
 */
#include "sp_alloc_family.h"

#include "sp_next.h"

const char *const sp_alloc_names[SP_ALLOC_NAMES] = {
#define FUNCTION(result, name, parameters, arguments) #name,
#include "alloc_functions.h"
#undef FUNCTION
	/* Ours go on to realloc() and free(). */
	"reallocarray",
	"cfree",
};

static const char *const extended_names[] = {
#define FUNCTION(kind, name, symbol) symbol,
#include "alloc_extended_functions.h"
#undef FUNCTION
};

/* --- whose they are --- */

bool sp_alloc_is_c_library(const struct link_map *object)
{
	return sp_next_find_in(object, "gnu_get_libc_version", NULL) != NULL;
}

void sp_alloc_find_libraries(const struct link_map *libraries[SP_ALLOC_NAMES + 1])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < SP_ALLOC_NAMES; i++) {
		const struct link_map *library = sp_next_find_object(sp_alloc_names[i]);

		if (library && !sp_alloc_is_c_library(library) &&
		    (!count || libraries[count - 1] != library))
			libraries[count++] = library;
	}
	libraries[count] = NULL;
}

/* --- who calls them --- */

static bool begins_with(const char *name, const char *beginning)
{
	while (*beginning != '\0' && *name == *beginning) {
		name++;
		beginning++;
	}
	return *beginning == '\0';
}

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (begins_with(name, names[i]) && begins_with(names[i], name))
			return true;
	return false;
}

static bool is_of_family(const char *name)
{
	return is_one_of(name, sp_alloc_names, SP_ALLOC_NAMES) ||
	       is_one_of(name, extended_names, SP_ARRAY_COUNT(extended_names));
}

/* tc_malloc() of tcmalloc, mi_new() of mimalloc and their kind; not tc_version(). */
static bool is_other_name(const char *name)
{
	static const char *const kinds[] = {"malloc", "zalloc", "calloc",  "realloc",
					    "new",    "strdup", "memalign"};
	const char *at = name + 3;

	if (!begins_with(name, "tc_") && !begins_with(name, "mi_"))
		return false;
	if (begins_with(at, "heap_"))
		at += 5;
	for (size_t i = 0; i < SP_ARRAY_COUNT(kinds); i++)
		if (begins_with(at, kinds[i]))
			return true;
	return false;
}

/* The library's own calls are no news. */
static bool is_called_by_other_names(void)
{
	const struct link_map *library = sp_next_find_object("malloc");
	const struct link_map *last = sp_next_last_object();

	if (!library || (!sp_next_find_in(library, "tc_malloc", NULL) &&
			 !sp_next_find_in(library, "mi_malloc", NULL)))
		return false;
	for (const struct link_map *object = _r_debug.r_map; object;
	     object = object->l_next) {
		if (object != library && sp_next_has_import(object, is_other_name))
			return true;
		if (object == last)
			break;
	}
	return false;
}

enum sp_heap_coverage sp_alloc_coverage(void)
{
	const struct link_map *own = sp_next_own_object();

	for (const struct link_map *object = _r_debug.r_map; object && object != own;
	     object = object->l_next)
		if (sp_next_find_in(object, "malloc", NULL))
			return object == _r_debug.r_map ? SP_HEAP_PROGRAM_HAS_OWN
							: SP_HEAP_LIBRARY_FIRST;
	if (is_called_by_other_names())
		return SP_HEAP_OTHER_NAMES;
	return sp_next_has_import(_r_debug.r_map, is_of_family)
		       ? SP_HEAP_COVERS_ALL
		       : SP_HEAP_PROGRAM_CALLS_NONE;
}
