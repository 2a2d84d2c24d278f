/*
 * Rules found before, for the whole process. A key is an encoded frame
 * (sp_frame.h); ids of modules are never used twice, so no entry goes stale.
 *
 * Entries are read and written by any thread, and by handlers that interrupt a
 * writer, without a lock: the first word is key ^ rule, so that two halves of
 * different writes don't make up a hit.
 */
#ifndef UNWIND_CACHE_H
#define UNWIND_CACHE_H

#include "sp_compiler.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SP_CACHE_SET_BITS 14
#define SP_CACHE_WAYS 2

struct sp_cache_entry {
	_Atomic uint64_t check; /* key ^ rule */
	_Atomic uint64_t rule;
};

struct sp_cache_set {
	struct sp_cache_entry way[SP_CACHE_WAYS];
};

struct sp_unwind_cache {
	struct sp_cache_set *sets;
	size_t last_set; /* a power of 2, less 1 */
};
extern SP_HIDDEN struct sp_unwind_cache sp_unwind_cache;

static inline struct sp_cache_set *sp_cache_set(uint64_t key)
{
	/* Fibonacci hashing: neighbouring offsets spread over all sets. */
	return &sp_unwind_cache.sets[key * UINT64_C(0x9e3779b97f4a7c15) >>
					     (64 - SP_CACHE_SET_BITS) &
				     sp_unwind_cache.last_set];
}

/*
 * Where the rules of the last walk lie, whosever stack it was: many frames of the next
 * one are the same. After what the program did in between nothing of the table is in the
 * processor's caches; asked for all at once, lines take as long as one of them would. A
 * hint and no more: threads may mix theirs.
 */
#define SP_CACHE_RECENT 64U
extern SP_HIDDEN _Atomic uint16_t sp_cache_recent[SP_CACHE_RECENT];

/* Context: signal. A walk is about to begin. */
static inline void sp_cache_expect_recent(void)
{
	const struct sp_cache_set *sets = sp_unwind_cache.sets;

	for (unsigned int i = 0; i < SP_CACHE_RECENT; i++)
		__builtin_prefetch(&sets[atomic_load_explicit(&sp_cache_recent[i],
							      memory_order_relaxed)]);
}

/* Context: signal. Frame number index of the walk has that key. */
static inline void sp_cache_note_recent(uint32_t index, uint64_t key)
{
	atomic_store_explicit(&sp_cache_recent[index % SP_CACHE_RECENT],
			      (uint16_t)(sp_cache_set(key) - sp_unwind_cache.sets),
			      memory_order_relaxed);
}

/* Context: signal. The rule, or 0 (SP_RULE_EMPTY) when there is none. key != 0. */
static inline uint64_t sp_cache_get(uint64_t key)
{
	const struct sp_cache_set *set = sp_cache_set(key);

	for (unsigned int i = 0; i < SP_CACHE_WAYS; i++) {
		/* Relaxed: the xor, not the order, tells whether they belong together. */
		uint64_t check =
			atomic_load_explicit(&set->way[i].check, memory_order_relaxed);
		uint64_t rule =
			atomic_load_explicit(&set->way[i].rule, memory_order_relaxed);

		if (sp_likely((check ^ rule) == key))
			return rule;
	}
	return 0;
}

/* Context: signal. The older of two entries in the set makes room. */
void sp_cache_put(uint64_t key, uint64_t rule);

#endif
