/*
 * From a stack and a size to the heap cell that their samples go to. Stacks and cells
 * are appended to the recording by whichever hook meets them first; they are found
 * again through two hash indexes in private memory, which nobody needs after the
 * process. Nothing is ever taken out of an index, so a search may end at the first
 * free place. Context: hook.
 */
#include "heap_threads.h"

#include "sp_capture.h"

#include "sp_pages.h"
#include "sp_recording_heap.h"

#include <string.h>

#define LEVELS 8U
#define LEVEL0_WORDS UINT64_C(1024)
#define BUCKET_WORDS 8U
#define NOT_FOUND UINT32_MAX

/* Words: upper half of the hash, and item + 1. A full bucket goes on one level up. */
struct index {
	_Atomic(_Atomic uint64_t *) levels[LEVELS];
	uint64_t (*hash_of)(uint32_t item);
};

static struct sp_heap_stack *stack_at(uint32_t word)
{
	return sp_recording_item(&sp_capture.recording, SP_SECTION_HEAP_STACKS, word);
}

static struct sp_heap_cell *cell_at(uint32_t item)
{
	return sp_recording_item(&sp_capture.recording, SP_SECTION_HEAP_CELLS, item);
}

static uint64_t hash_of_stack(uint32_t word)
{
	return stack_at(word)->hash;
}

static uint64_t hash_of_cell(uint32_t item)
{
	return cell_at(item)->hash;
}

static struct index stacks = {.hash_of = hash_of_stack};
static struct index cells = {.hash_of = hash_of_cell};

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * UINT64_C(0x9fb21c651e98df25);
	return hash ^ hash >> 32;
}

static uint64_t level_words(uint32_t level)
{
	return LEVEL0_WORDS << (2 * level);
}

/* The level's words, made if need be; NULL without memory. */
static _Atomic uint64_t *make_level(struct index *index, uint32_t level)
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

static bool is_match(const struct index *index, uint64_t word, uint64_t hash)
{
	return word >> 32 == hash >> 32 && index->hash_of((uint32_t)word - 1) == hash;
}

static uint32_t find(const struct index *index, uint64_t hash)
{
	for (uint32_t level = 0; level < LEVELS; level++) {
		_Atomic uint64_t *words =
			atomic_load_explicit(&index->levels[level], memory_order_acquire);
		_Atomic uint64_t *bucket;

		if (!words)
			return NOT_FOUND;
		bucket = bucket_of(words, level, hash);
		for (uint32_t i = 0; i < BUCKET_WORDS; i++) {
			/* Acquire: what the word stands for was filled before. */
			uint64_t word =
				atomic_load_explicit(&bucket[i], memory_order_acquire);

			if (!word)
				return NOT_FOUND;
			if (is_match(index, word, hash))
				return (uint32_t)word - 1;
		}
	}
	return NOT_FOUND;
}

/* Returns the item that stands for hash from now on: another thread may be first. */
static uint32_t insert(struct index *index, uint64_t hash, uint32_t item)
{
	uint64_t mine = (hash & ~UINT64_C(0xffffffff)) | (item + 1);

	for (uint32_t level = 0; level < LEVELS; level++) {
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
	return item; /* not found again: it gets a second cell next time */
}

/* Items of an append-only section, now the caller's alone; false: no storage. */
static bool append(enum sp_section_kind kind, uint64_t items, uint32_t *first)
{
	const struct sp_recording *recording = &sp_capture.recording;
	_Atomic uint64_t *used_items = &recording->header->sections[kind].used_items;
	uint64_t used = atomic_load_explicit(used_items, memory_order_relaxed);

	for (unsigned int tries = 0; tries < 2; tries++) {
		while (used + items <= sp_recording_reserved(recording, kind)) {
			/* Release: readers check what they find there. */
			if (atomic_compare_exchange_weak_explicit(
				    used_items, &used, used + items, memory_order_release,
				    memory_order_relaxed)) {
				*first = (uint32_t)used;
				return true;
			}
		}
		sp_heap_take_storage();
	}
	return false;
}

static uint32_t add_stack(uint64_t hash, const uint64_t *frames, uint32_t frame_count)
{
	struct sp_heap_stack *stack;
	uint32_t word;

	if (!append(SP_SECTION_HEAP_STACKS, SP_HEAP_STACK_WORDS + frame_count, &word))
		return NOT_FOUND;
	stack = stack_at(word);
	stack->frame_count = frame_count;
	memcpy(stack->frames, frames, frame_count * sizeof(*frames));
	stack->hash = hash;
	return insert(&stacks, hash, word);
}

static uint32_t add_cell(uint64_t hash, uint32_t stack, uint64_t size_class_bytes)
{
	struct sp_heap_cell *cell;
	uint32_t item;

	if (!append(SP_SECTION_HEAP_CELLS, 1, &item))
		return NOT_FOUND;
	cell = cell_at(item);
	cell->stack = stack;
	cell->hash = hash;
	cell->size_class_bytes = size_class_bytes;
	/* Release: pairs with readers of the recording. */
	atomic_store_explicit(&cell->is_filled, 1, memory_order_release);
	return insert(&cells, hash, item);
}

/* Upper bounds in steps of 16 up to 128, then four to each doubling. */
static uint64_t size_class(uint64_t size_bytes)
{
	uint64_t step = 16;

	if (size_bytes > 128)
		step = UINT64_C(1) << (61 - __builtin_clzll(size_bytes - 1));
	if (size_bytes > UINT64_MAX / 2)
		return size_bytes;
	return size_bytes ? SP_ROUND_UP(size_bytes, step) : 16;
}

uint32_t sp_heap_cell_of(const uint64_t *frames, uint32_t frame_count,
			 uint64_t size_bytes)
{
	uint64_t class_bytes = size_class(size_bytes);
	uint64_t stack_hash = frame_count, cell_hash;
	uint32_t stack, cell;

	for (uint32_t i = 0; i < frame_count; i++)
		stack_hash = mix(stack_hash, frames[i]);
	cell_hash = mix(stack_hash, class_bytes);
	cell = find(&cells, cell_hash);
	if (sp_likely(cell != NOT_FOUND))
		return cell;
	stack = find(&stacks, stack_hash);
	if (stack == NOT_FOUND)
		stack = add_stack(stack_hash, frames, frame_count);
	if (stack != NOT_FOUND)
		cell = add_cell(cell_hash, stack, class_bytes);
	if (cell != NOT_FOUND)
		return cell;
	sp_recording_count(&sp_capture.recording, SP_LOSS_HEAP_STACK, 1);
	return SP_HEAP_CELL_DROPPED;
}

static void forget(struct index *index)
{
	for (uint32_t level = 0; level < LEVELS; level++) {
		_Atomic uint64_t *words = atomic_exchange(&index->levels[level], NULL);

		if (words)
			sp_pages_unmap(words, level_words(level) * sizeof(*words));
	}
}

void sp_heap_stacks_forked(void)
{
	forget(&stacks);
	forget(&cells);
}
