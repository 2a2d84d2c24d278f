/*
 * A recording with a heap of two stacks that tests fill by hand, and what its profiles
 * come to.
 */
#ifndef TEST_PROFILE_HEAP_FIXTURE_H
#define TEST_PROFILE_HEAP_FIXTURE_H

#include "memory_sink.h"
#include "profile_decode.h"
#include "profile_heap.h"
#include "sp_absorb.h"
#include "sp_poisson.h"
#include "sp_reporter.h"
#include "test_heap.h"
#include "test_heap_fixture.h"

#include <check.h>
#include <math.h>
#include <string.h>

#define RATE (UINT64_C(512) << 10)
#define NS(cycles) ((cycles)*1000000000 / TEST_CYCLES_PER_SECOND)
/* Whole numbers of what hooks count births and ages in. */
#define CYCLES(count) (UINT64_C(1024) * (count))
#define YOUNG CYCLES(1000)
#define OLD CYCLES(10000)
_Static_assert(NS(YOUNG) < SP_HEAP_SHORT_NS && NS(OLD) > SP_HEAP_SHORT_NS, "as named");

static struct sp_recording recording;
static struct sp_heap_profile *profile;
static uint32_t first, second; /* cells */
static uint64_t first_leaf, second_leaf;

static inline uint64_t leaf_of(uint32_t cell)
{
	uint64_t frames[TEST_FRAMES_MAX];

	test_stack(cell, frames);
	return frames[0];
}

static inline void setup(void)
{
	struct sp_module_record module = {.base = 0x400000,
					  .text_start = 0x400000,
					  .text_end = 0x500000,
					  .flags = SP_MODULE_FLAG_MAIN};

	ck_assert_int_eq(test_recording_make(&recording, "/proc/nonexistent",
					     SP_RECORDING_BYTES_MIN * 8),
			 0);
	sp_recording_add_module(&recording, &module, "/bin/tested");
	test_heap_begin(&recording);
	recording.header->heap_rate_bytes = 1;
	ck_assert_int_eq(test_drain(&recording), 0);
	first = test_heap_add_cell(&recording);
	second = test_heap_add_cell(&recording);
	ck_assert(first != 0 && second != 0);
	first_leaf = leaf_of(first);
	second_leaf = leaf_of(second);
	profile = NULL;
}

static inline void teardown(void)
{
	sp_absorber_testpoint = NULL;
	if (profile)
		sp_heap_profile_destroy(profile);
	sp_recording_detach(&recording);
}

static inline void sampled(void)
{
	recording.header->heap_rate_bytes = RATE;
}

static inline struct sp_live_block *free_entry(void)
{
	for (uint64_t i = 0; i < test_heap_entries(&recording); i++) {
		struct sp_live_block *entry = test_heap_entry(&recording, i);

		if (atomic_load(&entry->word) == SP_LIVE_FREE)
			return entry;
	}
	ck_abort_msg("no free entry");
	return NULL;
}

static inline struct sp_live_block *add_live(uint32_t cell, uint64_t size_bytes,
					     uint64_t birth_epoch)
{
	const struct test_block block = {
		.cell = cell, .size_bytes = size_bytes, .birth_epoch = birth_epoch};
	struct sp_live_block *entry = free_entry();

	test_heap_live(entry, &block, 0x7f0000001000);
	return entry;
}

static inline void add_born(uint32_t cell, uint64_t birth_cycles, uint64_t birth_epoch)
{
	add_live(cell, 10, birth_epoch)->birth_and_epoch =
		birth_cycles >> SP_HEAP_BIRTH_SHIFT << 20 | birth_epoch;
}

static inline void add_freed(uint32_t cell, uint64_t size_bytes, uint64_t age_cycles,
			     bool is_cross)
{
	const struct test_block block = {.cell = cell,
					 .size_bytes = size_bytes,
					 .age_cycles = age_cycles,
					 .is_cross = is_cross};

	test_heap_freed(free_entry(), &block);
}

static inline void add_died(uint32_t cell, uint64_t size_bytes, uint64_t birth_epoch,
			    uint64_t death_epoch)
{
	const struct test_block block = {.cell = cell,
					 .size_bytes = size_bytes,
					 .birth_epoch = birth_epoch,
					 .death_epoch = death_epoch};

	test_heap_freed(free_entry(), &block);
}

static inline void store(_Atomic uint64_t *word, double value)
{
	atomic_store(word, sp_double_to_bits(value));
}

static inline void set_mark(uint64_t epoch, uint64_t bytes)
{
	atomic_store(&recording.header->heap_mark, bytes << SP_HEAP_EPOCH_BITS | epoch);
}

static inline const struct sp_profile_view *view_of(enum sp_heap_view which)
{
	if (!profile)
		profile = sp_heap_profile_create(&recording);
	ck_assert_ptr_nonnull(profile);
	return sp_heap_profile_view(profile, which);
}

static inline const double *totals(void)
{
	view_of(SP_HEAP_VIEW_HEAP);
	return sp_heap_profile_values(profile)->totals.of;
}

/* The one sample with that leaf, values 0 if there is none. */
static inline struct sp_view_sample sample_of(enum sp_heap_view which, uint64_t leaf)
{
	const struct sp_profile_view *view = view_of(which);
	struct sp_view_sample sample, found = {.frame_count = 0};

	view->rewind(view->cursor);
	while (view->next_sample(view->cursor, &sample) == 1) {
		ck_assert_uint_gt(sample.frame_count, 0);
		if (sample.frames[0] != leaf)
			continue;
		ck_assert_uint_eq(found.frame_count, 0);
		found = sample;
	}
	return found;
}

#define assert_values(which, leaf, ...)                                                  \
	do {                                                                             \
		const int64_t wanted[] = {__VA_ARGS__};                                  \
		struct sp_view_sample checked = sample_of(which, leaf);                  \
                                                                                         \
		ck_assert_uint_eq(view_of(which)->value_type_count,                      \
				  SP_ARRAY_COUNT(wanted));                               \
		for (size_t value = 0; value < SP_ARRAY_COUNT(wanted); value++)          \
			ck_assert_msg(checked.values[value] == wanted[value],            \
				      "%s is %lld, not %lld",                            \
				      view_of(which)->value_types[value].type,           \
				      (long long)checked.values[value],                  \
				      (long long)wanted[value]);                         \
	} while (0)

static inline int64_t sum_of(enum sp_heap_view which, unsigned int value)
{
	const struct sp_profile_view *view = view_of(which);
	struct sp_view_sample sample;
	int64_t sum = 0;

	view->rewind(view->cursor);
	while (view->next_sample(view->cursor, &sample) == 1)
		sum += sample.values[value];
	return sum;
}

static inline bool has_comment(enum sp_heap_view which, const char *part)
{
	const struct sp_profile_view *view = view_of(which);

	for (uint32_t i = 0; i < view->comment_count; i++) {
		if (strstr(view->comments[i], part))
			return true;
	}
	return false;
}

static inline void add_absorbed(uint32_t index)
{
	struct sp_heap_cell *cell = test_heap_cell(&recording, index);

	atomic_store(&cell->freed_samples, 10);
	store(&cell->freed_objects, 10);
	store(&cell->freed_bytes, 640);
	store(&cell->age_cycles, 6e9);
	store(&cell->short_objects, 4);
	store(&cell->short_bytes, 256);
	store(&cell->cross_objects, 3);
}

/* At the fifth mark, and what comes with it. */
static inline void make_past_peak(uint64_t epoch)
{
	struct sp_heap_cell *cell = test_heap_cell(&recording, first);

	set_mark(epoch, 100000);
	add_live(first, 1, epoch - 2);
	add_live(first, 2, epoch); /* came after it */
	add_died(first, 4, epoch - 1, epoch);
	add_died(first, 8, epoch, epoch);	   /* came and went after it */
	add_died(first, 16, epoch - 2, epoch - 1); /* went before it */
	add_died(first, 32, epoch - 1, epoch + 1); /* after a mark set meanwhile */
	atomic_store(&cell->peak_epoch, epoch);
	store(&cell->peak_objects, 3);
	store(&cell->peak_bytes, 640);
	cell = test_heap_cell(&recording, second);
	atomic_store(&cell->peak_epoch, epoch - 1); /* an older mark's */
	store(&cell->peak_objects, 5);
	store(&cell->peak_bytes, 50000);
}

#endif
