/*
 * See sp_block_cache.h. A cache is a block of jemalloc's; its thread's end gives back
 * what is in it, and itself. Context: hook.
 */
#include "sp_block_cache.h"

#include "jemalloc_thread.h"
#include "sp_jemalloc.h"

#include <pthread.h>

/* Of each class at most so many bytes, and so many blocks; but one in any case, if it is
 * none of the large classes, which have to do with so many bytes together. In all that is
 * a megabyte. */
#define BIN_BYTES ((uint32_t)8 << 10)
#define BIN_BLOCKS 32U
#define LARGE_BYTES_MIN ((uint32_t)40 << 10)
#define ALL_LARGE_BYTES ((uint32_t)640 << 10)

SP_TLS struct sp_block_cache *sp_block_cache_self;

/* Of threads that have none any more, or can have none: it gives and takes nothing. */
static struct sp_block_cache nothing;

static pthread_key_t end_key;
static bool has_end_key;

static uint8_t room_of(uint32_t block_class)
{
	uint32_t blocks = BIN_BYTES / sp_block_classes.bytes[block_class];

	if (sp_block_classes.bytes[block_class] >= LARGE_BYTES_MIN)
		return 0;
	return (uint8_t)(blocks > BIN_BLOCKS ? BIN_BLOCKS : blocks ? blocks : 1);
}

static bool has_place(const struct sp_block_cache *cache, uint32_t block_class)
{
	return cache->room[block_class] || cache->first[block_class];
}

static void take_room(struct sp_block_cache *cache, uint32_t block_class)
{
	void *ptr = sp_block_cache_take(cache, block_class);

	if (ptr) {
		sp_je_thread_enter();
		sp_je_free(ptr);
		sp_je_thread_leave();
	}
	cache->room[block_class] = 0;
	cache->large_left_bytes += sp_block_classes.bytes[block_class];
}

bool sp_block_cache_make_room(struct sp_block_cache *cache, uint32_t block_class)
{
	uint32_t bytes = sp_block_classes.bytes[block_class];

	if (bytes < LARGE_BYTES_MIN || cache == &nothing || has_place(cache, block_class))
		return false;
	/* The largest first: they are the fewest to give back. */
	for (uint32_t other = sp_block_classes.count; cache->large_left_bytes < bytes;)
		if (has_place(cache, --other))
			take_room(cache, other);
	cache->large_left_bytes -= bytes;
	cache->room[block_class] = 1;
	return true;
}

/* Destructors of the program's may come later, and free and allocate. */
static void end(void *value)
{
	struct sp_block_cache *cache = value;

	sp_block_cache_self = &nothing;
	sp_je_thread_enter();
	for (uint32_t block_class = 1; block_class < sp_block_classes.count;
	     block_class++) {
		void *ptr;

		while ((ptr = sp_block_cache_take(cache, block_class)) != NULL)
			sp_je_free(ptr);
	}
	sp_je_free(cache);
	sp_je_thread_leave();
}

/* The process's first allocation: there is no second thread yet. */
static void begin_process(void)
{
	sp_block_classes_find();
	has_end_key = pthread_key_create(&end_key, end) == 0;
}

void sp_block_cache_begin(void)
{
	struct sp_block_cache *cache;

	if (!sp_block_classes.count)
		begin_process();
	cache = has_end_key ? sp_je_calloc(1, sizeof(*cache)) : NULL;
	if (cache && pthread_setspecific(end_key, cache) != 0) {
		sp_je_free(cache);
		cache = NULL;
	}
	if (!cache) {
		sp_block_cache_self = &nothing;
		return;
	}
	for (uint32_t block_class = 1; block_class < sp_block_classes.count;
	     block_class++)
		cache->room[block_class] = room_of(block_class);
	cache->large_left_bytes = ALL_LARGE_BYTES;
	sp_block_cache_self = cache;
}
