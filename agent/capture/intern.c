/*
 * The index: buckets of words, upper half of the hash and item + 1, in levels that are
 * made when they are first needed. Context: hook.
 */
#include "sp_intern.h"

#include "sp_capture.h"
#include "sp_pages.h"
#include "sp_recording_writer.h"

#define LEVEL0_WORDS UINT64_C(1024)
#define BUCKET_WORDS 8U
/* Storage is taken for this part of what there is, ahead. */
#define AHEAD_PART 8U

static uint64_t level_words(uint32_t level)
{
	return LEVEL0_WORDS << (2 * level);
}

/* The level's words, made if need be; NULL without memory. */
static _Atomic uint64_t *make_level(struct sp_intern *index, uint32_t level)
{
	_Atomic uint64_t *words =
		atomic_load_explicit(&index->levels[level], memory_order_acquire);
	_Atomic uint64_t *made;

	if (words)
		return words;
	made = sp_pages_map(level_words(level) * sizeof(*made));
	if (!made)
		return NULL;
	if (atomic_compare_exchange_strong_explicit(&index->levels[level], &words, made,
						    memory_order_acq_rel,
						    memory_order_acquire))
		return made;
	sp_pages_unmap(made, level_words(level) * sizeof(*made));
	return words;
}

static _Atomic uint64_t *bucket_of(_Atomic uint64_t *words, uint32_t level, uint64_t hash)
{
	return words + (hash & (level_words(level) / BUCKET_WORDS - 1)) * BUCKET_WORDS;
}

static bool is_match(const struct sp_intern *index, uint64_t word, uint64_t hash)
{
	return word >> 32 == hash >> 32 && index->hash_of((uint32_t)word - 1) == hash;
}

uint32_t sp_intern_find(const struct sp_intern *index, uint64_t hash)
{
	for (uint32_t level = 0; level < SP_INTERN_LEVELS; level++) {
		_Atomic uint64_t *words =
			atomic_load_explicit(&index->levels[level], memory_order_acquire);
		_Atomic uint64_t *bucket;

		if (!words)
			return SP_INTERN_NONE;
		bucket = bucket_of(words, level, hash);
		for (uint32_t i = 0; i < BUCKET_WORDS; i++) {
			/* Acquire: what the word stands for was filled before. */
			uint64_t word =
				atomic_load_explicit(&bucket[i], memory_order_acquire);

			if (!word)
				return SP_INTERN_NONE;
			if (is_match(index, word, hash))
				return (uint32_t)word - 1;
		}
	}
	return SP_INTERN_NONE;
}

uint32_t sp_intern_add(struct sp_intern *index, uint64_t hash, uint32_t item)
{
	uint64_t mine = (hash & ~UINT64_C(0xffffffff)) | (item + 1);

	for (uint32_t level = 0; level < SP_INTERN_LEVELS; level++) {
		_Atomic uint64_t *words = make_level(index, level);
		_Atomic uint64_t *bucket;

		if (!words)
			return item;
		bucket = bucket_of(words, level, hash);
		for (uint32_t i = 0; i < BUCKET_WORDS; i++) {
			uint64_t word = 0;

			if (atomic_compare_exchange_strong_explicit(
				    &bucket[i], &word, mine, memory_order_acq_rel,
				    memory_order_acquire))
				return item;
			if (is_match(index, word, hash))
				return (uint32_t)word - 1;
		}
	}
	return item; /* not found again: it is added once more next time */
}

void sp_intern_forget(struct sp_intern *index)
{
	for (uint32_t level = 0; level < SP_INTERN_LEVELS; level++) {
		_Atomic uint64_t *words = atomic_exchange(&index->levels[level], NULL);

		if (words && !sp_capture_is_cut_off())
			sp_pages_unmap(words, level_words(level) * sizeof(*words));
	}
}

bool sp_intern_append(struct sp_recording *recording, enum sp_section_kind kind,
		      uint64_t items, uint32_t *first)
{
	_Atomic uint64_t *used_items = &recording->header->sections[kind].used_items;
	uint64_t used = atomic_load_explicit(used_items, memory_order_relaxed);

	for (unsigned int tries = 0; tries < 4; tries++) {
		while (used + items <= sp_recording_reserved(recording, kind)) {
			/* Release: readers check what they find there. */
			if (atomic_compare_exchange_weak_explicit(
				    used_items, &used, used + items, memory_order_release,
				    memory_order_relaxed)) {
				*first = (uint32_t)used;
				return true;
			}
		}
		/* Here and now: whoever drains may be a thread that does not run. */
		if (sp_recording_reserve(recording, kind,
					 used + items + used / AHEAD_PART) != 0 &&
		    sp_recording_reserve(recording, kind, used + items) != 0)
			return false;
	}
	return false;
}
