/*
 * Blocks that a thread has freed, kept at hand for its next allocations of that class in
 * front of jemalloc: a pop or a push, where jemalloc looks for the block's class in a
 * tree and keeps statistics. They are few, so what does not fit goes to jemalloc, and
 * what is not there comes from it. Context of everything here: hook.
 */
#ifndef SP_BLOCK_CACHE_H
#define SP_BLOCK_CACHE_H

#include "sp_block_classes.h"
#include "sp_compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* By class. */
struct sp_block_cache {
	void *first[SP_BLOCK_CLASSES_MAX]; /* its first word leads to the next */
	/* For so many more; always 0 for class 0. */
	uint16_t room[SP_BLOCK_CLASSES_MAX];
};

/* NULL until jemalloc has served the thread. */
extern SP_HIDDEN SP_TLS struct sp_block_cache *sp_block_cache_self;

/* On a thread without one that jemalloc has served. */
void sp_block_cache_begin(void);

/* NULL: there is none. */
static inline void *sp_block_cache_take(struct sp_block_cache *cache,
					uint32_t block_class)
{
	void *ptr = cache->first[block_class];

	if (sp_likely(ptr != NULL)) {
		cache->first[block_class] = *(void **)ptr;
		cache->room[block_class]++;
	}
	return ptr;
}

/* False: there is no room. */
static inline bool sp_block_cache_put(struct sp_block_cache *cache, uint32_t block_class,
				      void *ptr)
{
	if (sp_unlikely(!cache->room[block_class]))
		return false;
	cache->room[block_class]--;
	*(void **)ptr = cache->first[block_class];
	cache->first[block_class] = ptr;
	return true;
}

#endif
