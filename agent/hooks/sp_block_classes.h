/*
 * Which blocks can stand for each other: jemalloc rounds sizes up to few classes, and of
 * all blocks that begin in one page it makes one class. So a byte for each page of its
 * addresses tells the class of a block, once whoever hands blocks out has noted it there;
 * and how many of the page's blocks are sampled, so that whoever frees one that is not
 * need look nowhere else. Context of everything here: hook.
 */
#ifndef SP_BLOCK_CLASSES_H
#define SP_BLOCK_CLASSES_H

#include "sp_alloc_jemalloc.h"
#include "sp_compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Larger blocks have no class, which is class 0. */
#define SP_BLOCK_BYTES_MAX ((size_t)512 << 10)
/* Classes beyond are multiples of a longer step, so that their table is small. */
#define SP_BLOCK_SHORT_STEP_BYTES_MAX ((size_t)128 << 10)
#define SP_BLOCK_LONG_STEP_BYTES ((size_t)32 << 10)
#define SP_BLOCK_CLASS_BITS 6U
#define SP_BLOCK_CLASSES_MAX (1U << SP_BLOCK_CLASS_BITS)
/* In the byte above the class: so many or more, which is never counted down. */
#define SP_BLOCK_SAMPLES_MAX 3U
#define SP_BLOCK_PAGE_VALUES 256U /* of such a byte */
/* Of blocks of a page and more no two begin in one page. */
#define SP_BLOCK_ALONE_BYTES ((uint32_t)1 << SP_ALLOC_JEMALLOC_PAGE_SHIFT)
/* All but jemalloc's smallest class, of 8 bytes, are multiples of it. */
#define SP_BLOCK_STEP_BYTES SP_ALLOC_JEMALLOC_SMALLEST

struct sp_block_classes {
	uint32_t count; /* class 0 is one of them; 0: not known yet */
	uint32_t bytes[SP_BLOCK_CLASSES_MAX];
	/* By size in steps, and of larger ones in long steps, rounded up. */
	uint8_t of_steps[SP_BLOCK_SHORT_STEP_BYTES_MAX / SP_BLOCK_STEP_BYTES + 1];
	uint8_t of_long_steps[SP_BLOCK_BYTES_MAX / SP_BLOCK_LONG_STEP_BYTES + 1];
};

extern SP_HIDDEN struct sp_block_classes sp_block_classes;

/* One thread, when jemalloc has begun. Until then all blocks are of class 0. */
void sp_block_classes_find(void);

/* Of what jemalloc gives for that size, with no alignment asked for. */
static inline uint32_t sp_block_class_of_size(size_t size_bytes)
{
	if (sp_likely(size_bytes <= SP_BLOCK_SHORT_STEP_BYTES_MAX))
		return sp_block_classes.of_steps[(size_bytes + SP_BLOCK_STEP_BYTES - 1) /
						 SP_BLOCK_STEP_BYTES];
	if (size_bytes > SP_BLOCK_BYTES_MAX)
		return 0;
	return sp_block_classes
		.of_long_steps[(size_bytes + SP_BLOCK_LONG_STEP_BYTES - 1) /
			       SP_BLOCK_LONG_STEP_BYTES];
}

/* All further functions are for blocks of jemalloc's only. */

static inline _Atomic uint8_t *sp_block_page(const void *ptr)
{
	return (_Atomic uint8_t *)(sp_alloc_jemalloc.page_classes +
				   ((uintptr_t)ptr >>
				    SP_ALLOC_JEMALLOC_PAGE_SHIFT)); // NOLINT
}

/* As it is: below SP_BLOCK_CLASSES_MAX it is the class of blocks that are not sampled. */
static inline uint32_t sp_block_page_byte(const void *ptr)
{
	/* Relaxed: whoever has the block got it from whoever noted its class, and that
	 * it is sampled. */
	return atomic_load_explicit(sp_block_page(ptr), memory_order_relaxed);
}

static inline uint32_t sp_block_class_of(const void *ptr)
{
	return sp_block_page_byte(ptr) % SP_BLOCK_CLASSES_MAX;
}

/* Of a byte: the page is that block's alone, and the byte says for sure whether it is a
 * sampled one. Whoever has the block is the only one to change it. */
static inline bool sp_block_is_alone(uint32_t page_byte)
{
	return sp_block_classes.bytes[page_byte % SP_BLOCK_CLASSES_MAX] >=
	       SP_BLOCK_ALONE_BYTES;
}

/* Before it is handed out: its page may have been another class's. Blocks that are out
 * keep their page, and each other's notes are the same. */
static inline void sp_block_note_class(const void *ptr, uint32_t block_class)
{
	_Atomic uint8_t *page = sp_block_page(ptr);
	uint8_t byte = atomic_load_explicit(page, memory_order_relaxed);

	/* Another thread's block there may be a sampled one by now. */
	while (sp_unlikely(byte % SP_BLOCK_CLASSES_MAX != block_class) &&
	       !atomic_compare_exchange_weak_explicit(
		       page, &byte,
		       (uint8_t)(byte - byte % SP_BLOCK_CLASSES_MAX + block_class),
		       memory_order_relaxed, memory_order_relaxed))
		;
}

/* Of any block, also of others than jemalloc's: it is sampled, or is not any more. True:
 * it is alone in its page, and sp_block_is_noted() will know. In a fork child the
 * parent's stay noted, which only costs a look. */
bool sp_block_note_sampled(const void *ptr, bool is_sampled);

/* Of any block: it is alone in its page, and noted as sampled. */
bool sp_block_is_noted(const void *ptr);

#endif
