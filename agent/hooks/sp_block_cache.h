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

struct sp_block_cache {
	/* By class; its first word leads to the next. */
	void *first[SP_BLOCK_CLASSES_MAX];
	/* By page byte: for so many more of the class. Always 0 for class 0, and where
	 * blocks of the page are sampled. Large classes have room for one block, and
	 * only as many of them at a time as the bytes for all of them allow. */
	uint8_t room[SP_BLOCK_PAGE_VALUES];
	uint32_t large_left_bytes;
};

/* NULL until jemalloc has served the thread. */
extern SP_HIDDEN SP_TLS struct sp_block_cache *sp_block_cache_self;

/* On a thread without one that jemalloc has served. */
void sp_block_cache_begin(void);

/* There is no room for a block of that class: room is made for it if the class is a large
 * one that has none, others' blocks going back to jemalloc. False: there is still none.
 */
bool sp_block_cache_make_room(struct sp_block_cache *cache, uint32_t block_class);

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

/* False: there is no room. page_byte: of the block's page, or the class alone where the
 * block is known to be no sampled one. */
static inline bool sp_block_cache_put(struct sp_block_cache *cache, uint32_t page_byte,
				      void *ptr)
{
	if (sp_unlikely(!cache->room[page_byte]))
		return false;
	/* So it is the class. */
	cache->room[page_byte]--;
	*(void **)ptr = cache->first[page_byte];
	cache->first[page_byte] = ptr;
	return true;
}

#endif
