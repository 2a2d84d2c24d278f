/*
 * See heap_pages.h. Small blocks are cut from chunks and kept for ever in lists, one for
 * each size class; large ones are mappings of their own. Before each block lies its
 * size. Nearly always one thread calls, so one lock is enough. Context: collector.
 */
#include "heap_pages.h"

#include "sp_compiler.h"
#include "sp_pages.h"
#include "sp_syscall.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define CHUNK_BYTES ((size_t)256 << 10)
/* With its header; above, blocks have pages of their own. */
#define SMALL_BYTES_MAX ((size_t)32 << 10)
/* 32, 48, 64, 96 and so on, up to that. */
#define CLASSES 21U

struct header {
	size_t whole_bytes; /* with this header: of the class, or of the mapping */
	struct header *next_free;
};
_Static_assert(sizeof(struct header) == 16, "keeps blocks aligned");

static struct header *free_blocks[CLASSES];
static unsigned char *chunk;
static size_t chunk_left_bytes;
static atomic_flag is_locked = ATOMIC_FLAG_INIT;

static size_t class_bytes(unsigned int index)
{
	return (size_t)(index % 2 ? 48 : 32) << index / 2;
}

static unsigned int class_of(size_t whole_bytes)
{
	unsigned int index = 0;

	while (class_bytes(index) < whole_bytes)
		index++;
	return index;
}

static void lock(void)
{
	while (atomic_flag_test_and_set_explicit(&is_locked, memory_order_acquire))
		sp_syscall0(SYS_sched_yield);
}

static void unlock(void)
{
	atomic_flag_clear_explicit(&is_locked, memory_order_release);
}

static struct header *cut(size_t whole_bytes)
{
	struct header *block;

	if (chunk_left_bytes < whole_bytes) {
		unsigned char *fresh = sp_pages_map(CHUNK_BYTES);

		if (!fresh)
			return NULL;
		chunk = fresh;
		chunk_left_bytes = CHUNK_BYTES;
	}
	block = (struct header *)(void *)chunk;
	block->whole_bytes = whole_bytes;
	chunk += whole_bytes;
	chunk_left_bytes -= whole_bytes;
	return block;
}

static struct header *get_small(size_t whole_bytes)
{
	unsigned int index = class_of(whole_bytes);
	struct header *block;

	lock();
	block = free_blocks[index];
	if (block)
		free_blocks[index] = block->next_free;
	else
		block = cut(class_bytes(index));
	unlock();
	return block;
}

static struct header *get_large(size_t whole_bytes)
{
	struct header *block;

	whole_bytes = SP_ROUND_UP(whole_bytes, SP_PAGE_BYTES);
	block = sp_pages_map(whole_bytes);
	if (block)
		block->whole_bytes = whole_bytes;
	return block;
}

static struct header *header_of(void *ptr)
{
	return (struct header *)ptr - 1;
}

void *sp_heap_pages_alloc(size_t size_bytes)
{
	size_t whole_bytes = size_bytes + sizeof(struct header);
	struct header *block;

	if (size_bytes > PTRDIFF_MAX)
		return NULL;
	block = whole_bytes <= SMALL_BYTES_MAX ? get_small(whole_bytes)
					       : get_large(whole_bytes);
	return block ? block + 1 : NULL;
}

void *sp_heap_pages_zalloc(size_t size_bytes)
{
	void *ptr = sp_heap_pages_alloc(size_bytes);

	/* A mapping is zero as it comes. */
	if (ptr && header_of(ptr)->whole_bytes <= SMALL_BYTES_MAX)
		memset(ptr, 0, size_bytes);
	return ptr;
}

void sp_heap_pages_free(void *ptr)
{
	struct header *block;
	unsigned int index;

	if (!ptr)
		return;
	block = header_of(ptr);
	if (block->whole_bytes > SMALL_BYTES_MAX) {
		sp_pages_unmap(block, block->whole_bytes);
		return;
	}
	index = class_of(block->whole_bytes);
	lock();
	block->next_free = free_blocks[index];
	free_blocks[index] = block;
	unlock();
}

static void *resize_large(struct header *block, size_t whole_bytes)
{
	long pages;

	whole_bytes = SP_ROUND_UP(whole_bytes, SP_PAGE_BYTES);
	pages = sp_syscall4(SYS_mremap, block, block->whole_bytes, whole_bytes,
			    MREMAP_MAYMOVE);
	if (pages < 0 && pages > -4096)
		return NULL;
	block = (struct header *)pages; // NOLINT
	block->whole_bytes = whole_bytes;
	return block + 1;
}

void *sp_heap_pages_realloc(void *ptr, size_t size_bytes)
{
	size_t whole_bytes = size_bytes + sizeof(struct header);
	struct header *block;
	void *moved;

	if (!ptr)
		return sp_heap_pages_alloc(size_bytes);
	if (size_bytes > PTRDIFF_MAX)
		return NULL;
	block = header_of(ptr);
	if (block->whole_bytes > SMALL_BYTES_MAX && whole_bytes > SMALL_BYTES_MAX)
		return resize_large(block, whole_bytes);
	if (whole_bytes <= block->whole_bytes && block->whole_bytes <= SMALL_BYTES_MAX)
		return ptr;
	moved = sp_heap_pages_alloc(size_bytes);
	if (!moved)
		return NULL;
	memcpy(moved, ptr,
	       (whole_bytes < block->whole_bytes ? whole_bytes : block->whole_bytes) -
		       sizeof(*block));
	sp_heap_pages_free(ptr);
	return moved;
}
