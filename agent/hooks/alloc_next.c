/*
 * Finding the allocator, at the first call of any of its functions, which may come
 * before every constructor. Nothing here allocates, so there is no bootstrap heap and
 * no block of ours that the program could ever meet. A library that lacks one of the
 * rarer functions gets it from its others; one that only stands in front of some, like
 * tracers, does so here as without us. Context: hook.
 */
#include "sp_alloc_next.h"

#include "sp_alloc_choice.h"
#include "sp_alloc_line.h"
#include "sp_compiler.h"
#include "sp_next.h"
#include "sp_pages.h"

#include <errno.h>
#include <stdint.h>

static void find_all(void);

#define FUNCTION(result, name, parameters, arguments)                                    \
	static result first_##name parameters                                            \
	{                                                                                \
		find_all();                                                              \
		return sp_alloc_next.name arguments;                                     \
	}
#include "alloc_functions.h"
#undef FUNCTION

struct sp_alloc_next sp_alloc_next = {
#define FUNCTION(result, name, parameters, arguments) .name = first_##name,
#include "alloc_functions.h"
#undef FUNCTION
};

/* --- what a library may lack --- */

static void *memalign_by_posix_memalign(size_t alignment_bytes, size_t size_bytes)
{
	void *ptr = NULL;
	int err;

	if (alignment_bytes < sizeof(void *))
		alignment_bytes = sizeof(void *);
	err = sp_alloc_next.posix_memalign(&ptr, alignment_bytes, size_bytes);
	if (!err)
		return ptr;
	errno = err;
	return NULL;
}

static int posix_memalign_by_memalign(void **ptr, size_t alignment_bytes,
				      size_t size_bytes)
{
	int saved_errno = errno;
	void *memory;

	if (alignment_bytes % sizeof(void *) || !alignment_bytes ||
	    (alignment_bytes & (alignment_bytes - 1)))
		return EINVAL;
	memory = sp_alloc_next.memalign(alignment_bytes, size_bytes);
	errno = saved_errno;
	if (!memory)
		return ENOMEM;
	*ptr = memory;
	return 0;
}

static void *valloc_by_memalign(size_t size_bytes)
{
	return sp_alloc_next.memalign(SP_PAGE_BYTES, size_bytes);
}

static void *pvalloc_by_memalign(size_t size_bytes)
{
	if (size_bytes > SIZE_MAX - SP_PAGE_BYTES) {
		errno = ENOMEM;
		return NULL;
	}
	return sp_alloc_next.memalign(SP_PAGE_BYTES,
				      SP_ROUND_UP(size_bytes, SP_PAGE_BYTES));
}

/* --- the search --- */

/* Is it found before the library, or is it the library? */
static bool comes_no_later(const struct link_map *object, const struct link_map *library)
{
	while (object && object != library)
		object = object->l_next;
	return object != NULL;
}

/* As sp_next_find(), and where that is. */
static void *find(const char *name, const struct link_map **object)
{
	*object = sp_next_find_object(name);
	return *object ? sp_next_find_in(*object, name, NULL) : NULL;
}

/* Where the program would find it without us, if that is not behind the library. */
static void *find_before(const struct link_map *library, const char *name)
{
	const struct link_map *object;
	void *found = find(name, &object);

	return comes_no_later(object, library) ? found : NULL;
}

/*
 * Of an allocator that makes aligned blocks in fewer ways than the C library: its own
 * functions stand in for what it lacks, as the C library's blocks are none that its
 * free() knows. Whoever makes none at all, like a tracer that only looks on, is passed
 * by for them.
 */
static void complete_aligned(const struct link_map *library, struct sp_alloc_next *found)
{
	struct sp_alloc_next own;

#define FIND_BEFORE(name) own.name = (__typeof__(own.name))find_before(library, #name)
	FIND_BEFORE(memalign);
	FIND_BEFORE(aligned_alloc);
	FIND_BEFORE(posix_memalign);
	FIND_BEFORE(valloc);
	FIND_BEFORE(pvalloc);
#undef FIND_BEFORE
	if (!own.memalign && !own.aligned_alloc && !own.posix_memalign)
		return;
	if (!own.memalign)
		own.memalign = own.aligned_alloc ? own.aligned_alloc
						 : memalign_by_posix_memalign;
	found->memalign = own.memalign;
	found->aligned_alloc = own.aligned_alloc ? own.aligned_alloc : own.memalign;
	found->posix_memalign =
		own.posix_memalign ? own.posix_memalign : posix_memalign_by_memalign;
	found->valloc = own.valloc ? own.valloc : valloc_by_memalign;
	found->pvalloc = own.pvalloc ? own.pvalloc : pvalloc_by_memalign;
}

/*
 * The process has one thread yet: making another allocates. Of a family that several
 * libraries share, as one may stand in front of free() only, each function is that
 * which the program would have called.
 */
static SP_COLD void find_all(void)
{
	const struct link_map *library = sp_next_find_object("malloc"), *object;
	bool is_one = true;
	struct sp_alloc_next found = {.has_block_caches = false};

#define FUNCTION(result, name, parameters, arguments)                                    \
	found.name = (__typeof__(found.name))find(#name, &object);                       \
	is_one &= object == library;
#include "alloc_functions.h"
#undef FUNCTION
	if (!is_one)
		complete_aligned(library, &found);
	sp_alloc_choose(is_one ? library : NULL, &found);
	sp_alloc_next = found;
	sp_alloc_line.malloc = found.malloc;
	sp_alloc_line.free = found.free;
	sp_alloc_line.calloc = found.calloc;
	sp_alloc_line.realloc = found.realloc;
	sp_alloc_line.has_block_caches = found.has_block_caches;
}

void sp_alloc_find(void)
{
	if (sp_alloc_next.malloc == first_malloc)
		find_all();
}

/* Before jemalloc's own constructor, which takes its memory from where it is then. */
__attribute__((constructor(101))) static void find_early(void)
{
	sp_alloc_find();
}
