/*
 * What the allocator's extended functions lead to in patched modules. Each calls the
 * original and notes what happened as the hooks of malloc() and free() do, unless they
 * did so already: in some libraries operator new calls malloc() by its public
 * name. Context: hook; the search for the functions is init.
 *
 * Exceptions of operator new pass through: nothing here is to be undone.
 */
#include "sp_alloc_extended.h"

#include "sp_alloc_family.h"
#include "sp_compiler.h"
#include "sp_heap_capture.h"
#include "sp_next.h"

#include <string.h>

/*
 * How they are called. Those that allocate, and those that give back, take none, one or
 * two more arguments in registers (an alignment, a size, flags, std::nothrow), which
 * are passed on as they are.
 */
typedef void *(*allocating)(size_t size_bytes, uintptr_t second, uintptr_t third);
typedef void (*giving_back)(void *ptr, uintptr_t second, uintptr_t third);
typedef void *(*resizing)(void *ptr, size_t size_bytes, int flags);
typedef size_t (*resizing_in_place)(void *ptr, size_t size_bytes, size_t extra_bytes,
				    int flags);
typedef size_t (*measuring)(const void *ptr, int flags);

enum function {
#define FUNCTION(kind, name, symbol) FUNCTION_##name,
#include "alloc_extended_functions.h"
#undef FUNCTION
	FUNCTION_COUNT
};

/* The allocator's own; NULL: it has none of that name. */
static void *originals[FUNCTION_COUNT];
static measuring original_sallocx;

/* --- what they do --- */

static inline void *allocate(void *original, size_t size_bytes, uintptr_t second,
			     uintptr_t third)
{
	uint64_t before = sp_heap_thread_allocations();
	void *ptr = ((allocating)original)(size_bytes, second, third);

	if (sp_heap_thread_allocations() == before)
		sp_heap_note_alloc(ptr, size_bytes);
	return ptr;
}

/* A free that our hooks met on the way is counted. */
static inline void release(struct sp_heap_hold hold, uint64_t frees_before, bool is_gone)
{
	if (sp_heap_thread_frees() == frees_before)
		sp_heap_release(hold, is_gone);
	else if (sp_unlikely(hold.block != NULL))
		sp_heap_release_sampled(hold, is_gone);
}

/* Held, the block is found under no address: its own may be another thread's before
 * we know whether our hooks were met. */
static inline void give_back(void *original, void *ptr, uintptr_t second, uintptr_t third)
{
	uint64_t before = sp_heap_thread_frees();
	struct sp_heap_hold hold = sp_heap_hold(ptr);

	((giving_back)original)(ptr, second, third);
	if (sp_likely(ptr != NULL))
		release(hold, before, true);
}

#define DEFINE_allocate(name)                                                            \
	static void *call_##name(size_t size_bytes, uintptr_t second, uintptr_t third)   \
	{                                                                                \
		return allocate(originals[FUNCTION_##name], size_bytes, second, third);  \
	}
#define DEFINE_give_back(name)                                                           \
	static void call_##name(void *ptr, uintptr_t second, uintptr_t third)            \
	{                                                                                \
		give_back(originals[FUNCTION_##name], ptr, second, third);               \
	}
#define DEFINE_resize(name)
#define FUNCTION(kind, name, symbol) DEFINE_##kind(name)
#include "alloc_extended_functions.h"
#undef FUNCTION

static void *call_rallocx(void *ptr, size_t size_bytes, int flags)
{
	uint64_t allocations_before = sp_heap_thread_allocations();
	uint64_t frees_before = sp_heap_thread_frees();
	struct sp_heap_hold hold = sp_heap_hold(ptr);
	void *resized = ((resizing)originals[FUNCTION_rallocx])(ptr, size_bytes, flags);

	release(hold, frees_before, resized != NULL);
	if (sp_heap_thread_allocations() == allocations_before)
		sp_heap_note_alloc(resized, size_bytes);
	return resized;
}

/*
 * Makes a block larger or smaller where it is, if that can be, and tells the size that
 * it really has then. While that stays as it was the block has not changed for us,
 * though another size may have been asked for.
 */
static size_t call_xallocx(void *ptr, size_t size_bytes, size_t extra_bytes, int flags)
{
	size_t old_bytes = original_sallocx(ptr, flags);
	struct sp_heap_hold hold = sp_heap_hold(ptr);
	size_t real_bytes = ((resizing_in_place)originals[FUNCTION_xallocx])(
		ptr, size_bytes, extra_bytes, flags);
	size_t asked_bytes = size_bytes + extra_bytes;
	bool has_changed = real_bytes != old_bytes;

	sp_heap_release(hold, has_changed);
	if (has_changed)
		sp_heap_note_alloc(ptr,
				   real_bytes < asked_bytes ? real_bytes : asked_bytes);
	return real_bytes;
}

/* --- where they are found --- */

static const struct {
	const char *symbol;
	uint64_t replacement;
} functions[FUNCTION_COUNT] = {
#define FUNCTION(kind, name, symbol) {symbol, (uint64_t)(uintptr_t)call_##name},
#include "alloc_extended_functions.h"
#undef FUNCTION
};

static enum function find_function(const char *name)
{
	unsigned int i = 0;

	/* Most names of C++ begin so, but go on otherwise. */
	if (name[0] == '_' && (name[1] != 'Z' || (name[2] != 'n' && name[2] != 'd')))
		return FUNCTION_COUNT;
	while (i < FUNCTION_COUNT && (functions[i].symbol[0] != name[0] ||
				      strcmp(functions[i].symbol, name) != 0))
		i++;
	return i;
}

static bool is_wanted(const char *name, void *context)
{
	enum function function = find_function(name);

	(void)context;
	return function < FUNCTION_COUNT && originals[function];
}

static uint64_t replacement_for(const char *name, uint64_t target, void *context)
{
	enum function function = find_function(name);

	(void)context;
	return target == (uint64_t)(uintptr_t)originals[function]
		       ? functions[function].replacement
		       : 0;
}

static const struct sp_got_patch patch = {
	.is_wanted = is_wanted,
	.replacement_for = replacement_for,
};

static bool has_extended(const struct link_map *library)
{
	for (unsigned int i = 0; i < FUNCTION_COUNT; i++)
		if (sp_next_find_in(library, functions[i].symbol, NULL))
			return true;
	return false;
}

/* The library that serves malloc(), unless it is the C library, which has none of
 * these; or the next, where one stands in front of it that has none either. */
static const struct link_map *find_library(void)
{
	const struct link_map *library = sp_next_find_object("malloc");
	const struct link_map *last = sp_next_last_object();

	while (library && !sp_alloc_is_c_library(library)) {
		if (sp_next_find_in(library, "malloc", NULL) && has_extended(library))
			return library;
		library = library == last ? NULL : library->l_next;
	}
	return NULL;
}

static bool has_any;

void sp_alloc_extended_start(struct sp_got_result *result)
{
	const struct link_map *library = find_library();

	if (!library)
		return;
	original_sallocx = (measuring)sp_next_find_in(library, "sallocx", NULL);
	for (unsigned int i = 0; i < FUNCTION_COUNT; i++) {
		if (i == FUNCTION_xallocx && !original_sallocx)
			continue;
		originals[i] = sp_next_find_in(library, functions[i].symbol, NULL);
		has_any |= originals[i] != NULL;
	}
	if (has_any)
		sp_got_patch_all(&patch, result);
}

bool sp_alloc_extended_patch(uint64_t start, const struct link_map *link_map,
			     struct sp_got_result *result)
{
	uint32_t unbound = result->unbound;

	return !has_any || (sp_got_patch_module(start, link_map, &patch, result) == 0 &&
			    result->unbound == unbound);
}

bool sp_alloc_extended_has_news(void)
{
	return has_any && sp_got_have_modules_changed();
}
