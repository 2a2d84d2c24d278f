/*
 * The C library's allocation functions. Each calls the program's own allocator, which
 * keeps every block where it is, and then notes what happened; a block that goes away
 * is noted before, as its address may be another thread's a moment later. Context:
 * hook, also before our constructor.
 *
 * A resize counts as one allocation of the new size and one free.
 */
#include "sp_alloc_jemalloc.h"
#include "sp_alloc_line.h"
#include "sp_alloc_next.h"
#include "sp_block_cache.h"
#include "sp_block_classes.h"
#include "sp_compiler.h"
#include "sp_heap_capture.h"
#include "sp_own_block.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

/* Of old programs; no header declares it any more, and nobody finds it by its name
 * alone: neither in the C library nor here. */
SP_EXPORT void sp_cfree(void *ptr);
__asm__(".symver sp_cfree, cfree@GLIBC_2.2.5, remove");

static SP_NOINLINE void *get(size_t size_bytes)
{
	void *ptr = sp_alloc_next.malloc(size_bytes);

	sp_heap_note_alloc(ptr, size_bytes);
	return ptr;
}

/* Of a block that may be a sampled one, of NULL, and on a thread without state. */
static SP_NOINLINE void give_back(void *ptr)
{
	if (sp_own_block_is(ptr)) {
		sp_own_block_free(ptr);
		return;
	}
	if (sp_heap_passes_through()) {
		sp_alloc_line.free(ptr);
		return;
	}
	sp_heap_note_free(ptr);
	sp_alloc_next.free(ptr);
}

/* --- where jemalloc serves: blocks that the thread has at hand are taken and put back
 * right here, as jumps cost more than that --- */

/* Of a block that may be sampled. */
static SP_NOINLINE void *get_at_hand(struct sp_block_cache *cache, size_t size_bytes)
{
	void *ptr = sp_block_cache_take(cache, sp_block_class_of_size(size_bytes));

	if (sp_unlikely(!ptr))
		return get(size_bytes);
	sp_heap_note_alloc(ptr, size_bytes);
	return ptr;
}

/* A line of code as well. */
#define ALIGNED __attribute__((aligned(64)))

ALIGNED static SP_NOINLINE void *malloc_at_hand(size_t size_bytes)
{
	struct sp_block_cache *cache = sp_block_cache_self;
	void *ptr;

	if (sp_unlikely(!cache))
		return get(size_bytes);
	if (sp_unlikely(!sp_heap_count_unsampled(size_bytes)))
		return get_at_hand(cache, size_bytes);
	ptr = sp_block_cache_take(cache, sp_block_class_of_size(size_bytes));
	return sp_likely(ptr != NULL) ? ptr : sp_alloc_next.malloc(size_bytes);
}

/* Of a block whose page byte says for sure whether it is sampled. */
static SP_NOINLINE void free_alone(void *ptr, uint32_t page_byte)
{
	sp_heap_self->frees++;
	if (page_byte >= SP_BLOCK_CLASSES_MAX)
		sp_heap_free_sampled(ptr);
	if (!sp_block_cache_put(sp_block_cache_self, page_byte % SP_BLOCK_CLASSES_MAX,
				ptr))
		sp_alloc_next.free(ptr);
}

/* One look at the byte of its page tells the class of a block, and that it is no sampled
 * one. */
ALIGNED static SP_NOINLINE void free_at_hand(void *ptr)
{
	struct sp_heap_thread *self = sp_heap_self;
	struct sp_block_cache *cache = sp_block_cache_self;

	if (sp_likely(self && cache && sp_alloc_jemalloc_owns(ptr))) {
		uint32_t page_byte = sp_block_page_byte(ptr);

		if (sp_likely(sp_block_cache_put(cache, page_byte, ptr))) {
			self->frees++;
			return;
		}
		if (sp_block_is_alone(page_byte)) {
			free_alone(ptr, page_byte);
			return;
		}
	}
	if (sp_unlikely(!sp_heap_count_unsampled_free(ptr)))
		give_back(ptr);
	else
		sp_alloc_next.free(ptr);
}

/* --- malloc() and free() --- */

ALIGNED SP_EXPORT void *malloc(size_t size_bytes)
{
	if (sp_likely(sp_heap_count_unsampled_quick(size_bytes)) ||
	    sp_heap_passes_through())
		return sp_alloc_line.malloc(size_bytes);
	if (sp_alloc_line.has_block_caches)
		return malloc_at_hand(size_bytes);
	return get(size_bytes);
}

ALIGNED SP_EXPORT void free(void *ptr)
{
	if (sp_likely(sp_heap_count_unsampled_free_quick(ptr)) ||
	    (sp_heap_passes_through() && !sp_own_block_is(ptr)))
		sp_alloc_line.free(ptr);
	else if (sp_alloc_line.has_block_caches)
		free_at_hand(ptr);
	else
		give_back(ptr);
}

void sp_cfree(void *ptr)
{
	give_back(ptr);
}

/* NULL: it is none. */
static SP_COLD void *get_own_block(size_t count, size_t size_bytes)
{
	size_t bytes;

	return __builtin_mul_overflow(count, size_bytes, &bytes)
		       ? NULL
		       : sp_own_block_take(bytes);
}

static SP_NOINLINE void *get_zeroed(size_t count, size_t size_bytes)
{
	void *ptr;

	if (sp_unlikely(sp_own_block_is_wanted)) {
		ptr = get_own_block(count, size_bytes);
		if (ptr)
			return ptr;
	}

	if (sp_heap_passes_through())
		return sp_alloc_line.calloc(count, size_bytes);
	ptr = sp_alloc_next.calloc(count, size_bytes);
	/* Where it succeeded the product does not overflow. */
	sp_heap_note_alloc(ptr, count * size_bytes);
	return ptr;
}

SP_EXPORT void *calloc(size_t count, size_t size_bytes)
{
	size_t bytes;

	if (sp_unlikely(__builtin_mul_overflow(count, size_bytes, &bytes)) ||
	    sp_unlikely(!sp_heap_count_unsampled_quick(bytes)))
		return get_zeroed(count, size_bytes);
	return sp_alloc_line.calloc(count, size_bytes);
}

static SP_NOINLINE void *resize(void *ptr, size_t size_bytes)
{
	struct sp_heap_hold hold;
	void *resized;

	if (sp_own_block_is(ptr))
		return sp_own_block_resize(ptr, size_bytes);
	if (sp_heap_passes_through())
		return sp_alloc_line.realloc(ptr, size_bytes);
	if (!ptr) {
		resized = sp_alloc_next.realloc(NULL, size_bytes);
		sp_heap_note_alloc(resized, size_bytes);
		return resized;
	}
	hold = sp_heap_hold(ptr);
	resized = sp_alloc_next.realloc(ptr, size_bytes);
	/* NULL for a size of 0 means that the block is gone. */
	sp_heap_release(hold, resized || !size_bytes);
	sp_heap_note_alloc(resized, size_bytes);
	return resized;
}

/* Of a block that is not sampled, and stays none: an allocation and a free, which leave
 * as many in use if they fail. */
static inline bool count_unsampled_resize(void *ptr, size_t size_bytes)
{
	struct sp_heap_thread *self = sp_heap_self_quick();

	if (sp_unlikely(!self) || sp_unlikely(!ptr) || sp_unlikely(!size_bytes) ||
	    sp_unlikely(sp_heap_filter_asks(ptr)) ||
	    sp_unlikely(!sp_heap_count_unsampled_in(self, size_bytes)))
		return false;
	self->frees++;
	return true;
}

SP_EXPORT void *realloc(void *ptr, size_t size_bytes)
{
	if (sp_unlikely(!count_unsampled_resize(ptr, size_bytes)))
		return resize(ptr, size_bytes);
	return sp_alloc_line.realloc(ptr, size_bytes);
}

SP_EXPORT void *reallocarray(void *ptr, size_t count, size_t size_bytes)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size_bytes, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return resize(ptr, bytes);
}

SP_EXPORT void *memalign(size_t alignment_bytes, size_t size_bytes)
{
	void *ptr = sp_alloc_next.memalign(alignment_bytes, size_bytes);

	sp_heap_note_alloc(ptr, size_bytes);
	return ptr;
}

SP_EXPORT void *aligned_alloc(size_t alignment_bytes, size_t size_bytes)
{
	void *ptr = sp_alloc_next.aligned_alloc(alignment_bytes, size_bytes);

	sp_heap_note_alloc(ptr, size_bytes);
	return ptr;
}

SP_EXPORT int posix_memalign(void **ptr, size_t alignment_bytes, size_t size_bytes)
{
	int err = sp_alloc_next.posix_memalign(ptr, alignment_bytes, size_bytes);

	if (!err)
		sp_heap_note_alloc(*ptr, size_bytes);
	return err;
}

SP_EXPORT void *valloc(size_t size_bytes)
{
	void *ptr = sp_alloc_next.valloc(size_bytes);

	sp_heap_note_alloc(ptr, size_bytes);
	return ptr;
}

SP_EXPORT void *pvalloc(size_t size_bytes)
{
	void *ptr = sp_alloc_next.pvalloc(size_bytes);

	sp_heap_note_alloc(ptr, size_bytes);
	return ptr;
}

SP_EXPORT size_t malloc_usable_size(void *ptr)
{
	return sp_own_block_is(ptr) ? SP_OWN_BLOCK_BYTES
				    : sp_alloc_next.malloc_usable_size(ptr);
}
