/*
 * The program's heap, served by the private jemalloc, with the blocks that a thread has
 * at hand in front of it (sp_block_cache.h). A block that the C library made behind our
 * back, for whoever looked up its malloc(), goes back to it. What programs rely on is as
 * the C library has it: blocks are aligned to 16 bytes, realloc() to nothing frees, odd
 * alignments are rounded up. Context: hook, also before our constructor.
 *
 * Of each block that is handed out its page's class is noted.
 */
#include "jemalloc_memory.h"
#include "jemalloc_thread.h"
#include "jemalloc_variables.h"
#include "sp_alloc_jemalloc.h"
#include "sp_alloc_next.h"
#include "sp_block_cache.h"
#include "sp_block_classes.h"
#include "sp_compiler.h"
#include "sp_heap_capture.h"
#include "sp_jemalloc.h"
#include "sp_pages.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* For blocks that are not jemalloc's. */
static struct sp_alloc_next c_library;

/*
 * A thread's first call takes memory, and jemalloc does not live through having none.
 * Threads that come when the kernel has refused some are left to the C library. True: the
 * caller leaves jemalloc again.
 */
static bool enter_jemalloc(void)
{
	if (!sp_block_cache_self &&
	    !atomic_load_explicit(&sp_alloc_jemalloc.has_memory, memory_order_relaxed))
		return false;
	sp_je_thread_enter();
	return true;
}

static bool is_power_of_2(size_t number)
{
	return number && !(number & (number - 1));
}

static size_t at_least_smallest(size_t size_bytes)
{
	return size_bytes < SP_ALLOC_JEMALLOC_SMALLEST ? SP_ALLOC_JEMALLOC_SMALLEST
						       : size_bytes;
}

/* jemalloc leaves errno as it is where a size is beyond all it knows. */
static void *or_no_memory(void *ptr)
{
	if (sp_unlikely(!ptr))
		errno = ENOMEM;
	return ptr;
}

/* From here on, or after this very call: what jemalloc asks the C library for on the way
 * may come back to us. */
static SP_COLD void begin_thread(void)
{
	static SP_TLS bool is_beginning;
	/* The block that was asked for is there, whatever becomes of this. */
	int saved_errno = errno;

	if (is_beginning || sp_je_thread_is_for_call)
		return;
	is_beginning = true;
	sp_block_cache_begin();
	is_beginning = false;
	errno = saved_errno;
}

/* What jemalloc has given for a size. */
static void *hand_out(void *ptr, size_t size_bytes)
{
	if (sp_likely(ptr != NULL))
		sp_block_note_class(ptr, sp_block_class_of_size(size_bytes));
	return ptr;
}

/* On a thread that is new, or past its end. */
static SP_COLD void *get_first(size_t size_bytes)
{
	void *ptr;

	if (!enter_jemalloc())
		return c_library.malloc(size_bytes);
	ptr = sp_je_malloc(at_least_smallest(size_bytes));
	if (!sp_block_cache_self)
		begin_thread();
	sp_je_thread_leave();
	return hand_out(ptr, size_bytes);
}

static bool has_all(void)
{
	return sp_likely(sp_block_cache_self != NULL) && sp_je_thread_has_state();
}

static SP_NOINLINE void *get(size_t size_bytes)
{
	if (sp_unlikely(!has_all()))
		return get_first(size_bytes);
	return hand_out(sp_je_malloc(at_least_smallest(size_bytes)), size_bytes);
}

/* NULL: there is none at hand. */
static inline void *take(size_t size_bytes)
{
	struct sp_block_cache *cache = sp_block_cache_self;

	if (sp_unlikely(!cache))
		return NULL;
	return sp_block_cache_take(cache, sp_block_class_of_size(size_bytes));
}

static void *serve_malloc(size_t size_bytes)
{
	void *ptr = take(size_bytes);

	return sp_likely(ptr != NULL) ? ptr : get(size_bytes);
}

static SP_COLD void give_back_first(void *ptr)
{
	sp_je_thread_enter();
	sp_je_free(ptr);
	sp_je_thread_leave();
}

static SP_NOINLINE void give_back(void *ptr)
{
	if (sp_likely(sp_je_thread_has_state()))
		sp_je_free(ptr);
	else
		give_back_first(ptr);
}

static bool put(void *ptr)
{
	struct sp_block_cache *cache = sp_block_cache_self;
	uint32_t block_class = sp_block_class_of(ptr);

	return sp_likely(cache != NULL) &&
	       (sp_block_cache_put(cache, block_class, ptr) ||
		(sp_block_cache_make_room(cache, block_class) &&
		 sp_block_cache_put(cache, block_class, ptr)));
}

static void serve_free(void *ptr)
{
	if (sp_unlikely(!sp_alloc_jemalloc_owns(ptr)))
		c_library.free(ptr);
	else if (!put(ptr))
		give_back(ptr);
}

static SP_COLD void *get_zeroed_first(size_t size_bytes)
{
	void *ptr;

	if (!enter_jemalloc())
		return c_library.calloc(1, size_bytes);
	ptr = sp_je_calloc(1, at_least_smallest(size_bytes));
	if (!sp_block_cache_self)
		begin_thread();
	sp_je_thread_leave();
	return or_no_memory(hand_out(ptr, size_bytes));
}

static SP_NOINLINE void *get_zeroed(size_t size_bytes)
{
	if (sp_unlikely(!has_all()))
		return get_zeroed_first(size_bytes);
	return or_no_memory(
		hand_out(sp_je_calloc(1, at_least_smallest(size_bytes)), size_bytes));
}

static void *serve_calloc(size_t count, size_t size_bytes)
{
	size_t bytes;
	void *ptr;

	if (__builtin_mul_overflow(count, size_bytes, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	ptr = take(bytes);
	return sp_likely(ptr != NULL) ? memset(ptr, 0, bytes) : get_zeroed(bytes);
}

/* Is it better resized by jemalloc? */
static bool is_large(uint32_t block_class)
{
	return !block_class ||
	       sp_block_classes.bytes[block_class] > SP_BLOCK_SHORT_STEP_BYTES_MAX;
}

/* One of jemalloc's, to a size that is not 0. */
static void *resize(void *ptr, size_t size_bytes)
{
	uint32_t block_class = sp_block_class_of(ptr);
	uint32_t wanted = sp_block_class_of_size(size_bytes);
	void *moved;

	/* Of large ones it may be able to move the end only. */
	if (is_large(block_class) || is_large(wanted))
		return hand_out(sp_je_realloc(ptr, at_least_smallest(size_bytes)),
				size_bytes);
	if (block_class == wanted)
		return ptr;
	moved = serve_malloc(size_bytes);
	if (sp_unlikely(!moved))
		return NULL;
	memcpy(moved, ptr,
	       sp_block_classes.bytes[block_class < wanted ? block_class : wanted]);
	serve_free(ptr);
	return moved;
}

/* A block of the C library stays one: whoever made it may free it there. */
static void *serve_realloc(void *ptr, size_t size_bytes)
{
	if (!ptr)
		return serve_malloc(size_bytes);
	if (sp_unlikely(!sp_alloc_jemalloc_owns(ptr)))
		return c_library.realloc(ptr, size_bytes);
	if (sp_unlikely(!size_bytes)) {
		serve_free(ptr);
		return NULL;
	}
	if (sp_unlikely(!enter_jemalloc()))
		return or_no_memory(NULL);
	ptr = resize(ptr, size_bytes);
	sp_je_thread_leave();
	return or_no_memory(ptr);
}

static void *serve_memalign(size_t alignment_bytes, size_t size_bytes)
{
	void *ptr;

	if (alignment_bytes <= SP_ALLOC_JEMALLOC_SMALLEST)
		return serve_malloc(size_bytes);
	if (alignment_bytes > SIZE_MAX / 2 + 1) {
		errno = EINVAL;
		return NULL;
	}
	if (!is_power_of_2(alignment_bytes))
		alignment_bytes = (size_t)1 << (64 - __builtin_clzl(alignment_bytes));
	if (sp_unlikely(!enter_jemalloc()))
		return c_library.memalign(alignment_bytes, size_bytes);
	ptr = sp_je_memalign(alignment_bytes, at_least_smallest(size_bytes));
	/* It may be of a larger class than its size alone would be. */
	hand_out(ptr, ptr ? sp_je_malloc_usable_size(ptr) : 0);
	sp_je_thread_leave();
	return or_no_memory(ptr);
}

static int serve_posix_memalign(void **ptr, size_t alignment_bytes, size_t size_bytes)
{
	void *memory;

	if (alignment_bytes % sizeof(void *) || !is_power_of_2(alignment_bytes))
		return EINVAL;
	memory = serve_memalign(alignment_bytes, size_bytes);
	if (!memory)
		return ENOMEM;
	*ptr = memory;
	return 0;
}

static void *serve_valloc(size_t size_bytes)
{
	return serve_memalign(SP_PAGE_BYTES, size_bytes);
}

static void *serve_pvalloc(size_t size_bytes)
{
	if (size_bytes > SIZE_MAX - SP_PAGE_BYTES) {
		errno = ENOMEM;
		return NULL;
	}
	return serve_memalign(SP_PAGE_BYTES, SP_ROUND_UP(size_bytes, SP_PAGE_BYTES));
}

static size_t serve_malloc_usable_size(void *ptr)
{
	size_t bytes;

	if (!sp_alloc_jemalloc_owns(ptr))
		return c_library.malloc_usable_size(ptr);
	sp_je_thread_enter();
	bytes = sp_je_malloc_usable_size(ptr);
	sp_je_thread_leave();
	return bytes;
}

/*
 * The C library takes its first call for one of the process's only thread: of several
 * threads that come first together, later, each would believe that the main arena is
 * its own, and the second of them end the process when it ends. It cannot have so much.
 */
static void settle_c_library(void)
{
	int saved_errno = errno;

	c_library.free(c_library.malloc(PTRDIFF_MAX));
	errno = saved_errno;
}

SP_COLD bool sp_alloc_jemalloc_begin(struct sp_alloc_next *next)
{
	if (!sp_jemalloc_variables_open() || !sp_jemalloc_memory_reserve())
		return false;
	sp_je_malloc_conf_2_conf_harder = SP_JEMALLOC_CONF_PROGRAM;
	c_library = *next;
	settle_c_library();
	sp_heap_tell_sampled(sp_block_note_sampled, sp_block_is_noted);
	*next = (struct sp_alloc_next){
		.malloc = serve_malloc,
		.free = serve_free,
		.calloc = serve_calloc,
		.realloc = serve_realloc,
		.has_block_caches = true,
		.memalign = serve_memalign,
		.aligned_alloc = serve_memalign,
		.posix_memalign = serve_posix_memalign,
		.valloc = serve_valloc,
		.pvalloc = serve_pvalloc,
		.malloc_usable_size = serve_malloc_usable_size,
	};
	return true;
}

/*
 * After how many bytes, allocated or freed, a thread is to look for its own peak of
 * memory: never, as nobody asks for it. jemalloc would have it after each 64 KiB, and
 * each time wait for a memory fence.
 */
uint64_t je_peak_alloc_new_event_wait(void *thread);
uint64_t je_peak_dalloc_new_event_wait(void *thread);

uint64_t je_peak_alloc_new_event_wait(void *thread)
{
	(void)thread;
	return UINT64_MAX;
}

uint64_t je_peak_dalloc_new_event_wait(void *thread)
{
	(void)thread;
	return UINT64_MAX;
}
