/*
 * Rules found before, for the whole process. A rule is kept with the run of code that
 * it was found to be for, so that who returns to another place of a function, or is
 * interrupted at another instruction, mostly finds it too. Ids of modules are never
 * used twice, so no entry goes stale.
 *
 * Entries are read and written by any thread, and by handlers that interrupt a
 * writer, without a lock: the first word is made of both run and rule, so that two
 * halves of different writes don't make up a hit.
 */
#ifndef UNWIND_CACHE_H
#define UNWIND_CACHE_H

#include "sp_compiler.h"
#include "sp_frame.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Code in blocks of 256 bytes: the rules of a block are in one set, one of the
 * processor's lines, and those of 64 neighbouring blocks on one page.
 */
#define SP_CACHE_BLOCK_BITS 8
#define SP_CACHE_PAGE_SET_BITS 6
#define SP_CACHE_WAYS 4
/*
 * A walk of the processor's to a page that it has not seen for long takes it as long as
 * all the rest of a look into the table, so most programs get a table of few pages. It is
 * doubled when so many rules were kept, for each set, that they push each other out.
 */
#define SP_CACHE_PAGE_BITS_FIRST 4
#define SP_CACHE_PAGE_BITS 7
#define SP_CACHE_PUTS_A_SET 2

/* Modules are smaller than this; of one that is not no rules are kept. */
#define SP_CACHE_OFFSET_BITS 40

struct sp_cache_entry {
	_Atomic uint64_t check; /* sp_cache_seal() of run and rule */
	_Atomic uint64_t rule;
};

struct sp_cache_set {
	_Alignas(64) struct sp_cache_entry way[SP_CACHE_WAYS];
};

struct sp_unwind_cache {
	struct sp_cache_set *sets;
	_Atomic uint32_t last_set; /* of those in use: a power of 2, less 1 */
	_Atomic uint32_t puts;	   /* since there are so many */
};
extern SP_HIDDEN struct sp_unwind_cache sp_unwind_cache;

static inline bool sp_cache_can_keep(uint64_t frame)
{
	return sp_frame_module(frame) != SP_MODULE_NONE &&
	       sp_frame_offset(frame) >> SP_CACHE_OFFSET_BITS == 0;
}

/* 48 bits, not 0. */
static inline uint64_t sp_cache_block(uint64_t frame)
{
	return (uint64_t)sp_frame_module(frame)
		       << (SP_CACHE_OFFSET_BITS - SP_CACHE_BLOCK_BITS) |
	       sp_frame_offset(frame) >> SP_CACHE_BLOCK_BITS;
}

static inline struct sp_cache_set *sp_cache_set(uint64_t frame)
{
	uint64_t block = sp_cache_block(frame);
	/* Fibonacci hashing: neighbouring groups of blocks spread over all pages. */
	uint64_t page =
		(block >> SP_CACHE_PAGE_SET_BITS) * UINT64_C(0x9e3779b97f4a7c15) >>
		(64 - SP_CACHE_PAGE_BITS);

	/* Relaxed: where the table has grown meanwhile, the rule is found once more. */
	return &sp_unwind_cache.sets[(page << SP_CACHE_PAGE_SET_BITS |
				      (block & ((1U << SP_CACHE_PAGE_SET_BITS) - 1))) &
				     atomic_load_explicit(&sp_unwind_cache.last_set,
							  memory_order_relaxed)];
}

/* Undoes itself. Odd, so that rules which differ in few bits differ in those above. */
static inline uint64_t sp_cache_seal(uint64_t run, uint64_t rule)
{
	return run ^ rule * UINT64_C(0xd6e8feb86659fd93);
}

/*
 * Where the rules of the last walk lie, whosever stack it was, and the two modules that
 * most of it was in: many frames of the next one are the same. After what the program
 * did in between nothing of the table is in the processor's caches; asked for all at
 * once, lines take as long as one of them would. A hint and no more: threads may mix
 * theirs.
 */
#define SP_CACHE_RECENT 61U
struct sp_cache_recent {
	_Atomic uint16_t count;
	_Atomic uint16_t modules[2]; /* in the snapshot; the leaf's, and another */
	_Atomic uint16_t sets[SP_CACHE_RECENT];
};
extern SP_HIDDEN struct sp_cache_recent sp_cache_recent;

/* Context: signal. A walk is about to begin. */
static inline void sp_cache_expect_recent(void)
{
	const struct sp_cache_set *sets = sp_unwind_cache.sets;
	uint32_t count =
		atomic_load_explicit(&sp_cache_recent.count, memory_order_relaxed);

	for (uint32_t i = 0; i < count; i++)
		__builtin_prefetch(&sets[atomic_load_explicit(&sp_cache_recent.sets[i],
							      memory_order_relaxed)]);
}

/* Context: signal. A frame of the walk, which is number index. */
static inline void sp_cache_note_recent(uint32_t index, uint64_t frame)
{
	if (index < SP_CACHE_RECENT)
		atomic_store_explicit(
			&sp_cache_recent.sets[index],
			(uint16_t)(sp_cache_set(frame) - sp_unwind_cache.sets),
			memory_order_relaxed);
}

/* Context: signal. The walk is over. */
static inline void sp_cache_end_recent(uint32_t count)
{
	atomic_store_explicit(
		&sp_cache_recent.count,
		(uint16_t)(count < SP_CACHE_RECENT ? count : SP_CACHE_RECENT),
		memory_order_relaxed);
}

/* Context: signal. The rule of a frame that can be kept, or 0 (SP_RULE_EMPTY) when there
 * is none. */
static inline uint64_t sp_cache_get(uint64_t frame)
{
	const struct sp_cache_set *set = sp_cache_set(frame);
	uint64_t block = sp_cache_block(frame);
	uint8_t at = (uint8_t)frame;

	for (unsigned int i = 0; i < SP_CACHE_WAYS; i++) {
		/* Relaxed: the seal, not the order, tells whether they belong together.
		 */
		uint64_t rule =
			atomic_load_explicit(&set->way[i].rule, memory_order_relaxed);
		uint64_t run = sp_cache_seal(
			atomic_load_explicit(&set->way[i].check, memory_order_relaxed),
			rule);

		if (run >> 16 == block && at >= (uint8_t)(run >> 8) && at <= (uint8_t)run)
			return rule;
	}
	return 0;
}

/*
 * Context: signal. The rule of a frame that can be kept, and of the code from so many
 * bytes before it up to so many behind it. The oldest entry of the set makes room.
 */
void sp_cache_put(uint64_t frame, uint64_t rule, uint64_t bytes_before,
		  uint64_t bytes_behind);

#endif
