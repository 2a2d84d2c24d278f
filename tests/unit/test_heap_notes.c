/*
 * Blocks of an allocator that knows by itself which of its blocks are sampled
 * (sp_heap_tell_sampled()): what it has noted of an address is true of whichever block
 * is there, also while one is resized.
 */
#include "test_heap_capture_fixture.h"

#define RATE_BYTES UINT64_C(4096)
/* Each block of so many bytes is sampled. */
#define LARGE_BYTES (64 * RATE_BYTES)
#define PAGES 16U
#define FIRST_PAGE UINT64_C(0x7f0000410)

static bool notes[PAGES];

static void *block_at(uint64_t page)
{
	return address(FIRST_PAGE + page);
}

static bool *note_of(const void *ptr)
{
	uint64_t page = ((uint64_t)(uintptr_t)ptr >> 12) - FIRST_PAGE;

	ck_assert_uint_lt(page, PAGES);
	return &notes[page];
}

/* Of another allocator's, which only the filter knows. Others begin with a page. */
static void *stranger_at(uint64_t page)
{
	return (char *)block_at(page) + 16;
}

static bool is_stranger(const void *ptr)
{
	return (uintptr_t)ptr % 4096 != 0;
}

static bool note(const void *ptr, bool is_sampled)
{
	if (is_stranger(ptr))
		return false;
	*note_of(ptr) = is_sampled;
	return true;
}

static bool is_noted(const void *ptr)
{
	return !is_stranger(ptr) && *note_of(ptr);
}

static void setup_notes(void)
{
	memset(notes, 0, sizeof(notes));
	begin_capture(RATE_BYTES, 64 << 20);
	sp_heap_tell_sampled(note, is_noted);
	sp_alloc_line.has_block_caches = true;
}

static void teardown_notes(void)
{
	sp_alloc_line.has_block_caches = false;
	sp_heap_tell_sampled(NULL, NULL);
	teardown();
}

/* As whoever frees it asks. */
static bool is_asked_for(const void *ptr)
{
	return sp_heap_may_be_sampled(ptr) &&
	       sp_heap_filter_may_be(sp_heap_filter_now(), ptr);
}

static void make_sampled(void *ptr)
{
	sp_heap_note_alloc(ptr, LARGE_BYTES);
	ck_assert_ptr_nonnull(find_at(ptr));
}

static struct sp_heap_hold hold_sampled(void *ptr)
{
	struct sp_heap_hold hold = sp_heap_hold(ptr);

	ck_assert_ptr_nonnull(hold.block);
	return hold;
}

START_TEST(block_is_noted_from_its_sample_to_its_end)
{
	make_sampled(block_at(1));
	ck_assert(is_asked_for(block_at(1)));
	ck_assert(!is_asked_for(block_at(2)));
	sp_heap_note_free(block_at(1));
	ck_assert(!is_asked_for(block_at(1)));
	ck_assert_double_eq(SUM(freed_objects), 1);
}
END_TEST

/* From the moment on that the allocator may give it to another thread. */
START_TEST(address_of_a_block_that_is_resized_is_no_sample_s)
{
	struct sp_heap_hold hold;

	make_sampled(block_at(1));
	hold = hold_sampled(block_at(1));
	ck_assert(!is_asked_for(block_at(1)));
	/* Of another thread, which no point fell into. */
	sp_heap_note_free(block_at(1));
	sp_heap_release(hold, true);
	ck_assert(!is_asked_for(block_at(1)));
	ck_assert_double_eq(SUM(freed_objects), 1);
}
END_TEST

START_TEST(sampled_block_where_another_was_resized_stays_noted)
{
	struct sp_heap_hold hold;

	make_sampled(block_at(1));
	hold = hold_sampled(block_at(1));
	make_sampled(block_at(1));
	sp_heap_release(hold, true);
	ck_assert(is_asked_for(block_at(1)));
	sp_heap_note_free(block_at(1));
	ck_assert_ptr_null(find_at(block_at(1)));
	ck_assert(!is_asked_for(block_at(1)));
	ck_assert_double_eq(SUM(freed_objects), 2);
	ck_assert_uint_eq(loss(SP_LOSS_HEAP_STALE), 0);
}
END_TEST

START_TEST(block_that_was_not_resized_is_noted_again)
{
	make_sampled(block_at(1));
	sp_heap_release(hold_sampled(block_at(1)), false);
	ck_assert(is_asked_for(block_at(1)));
	sp_heap_note_free(block_at(1));
	ck_assert(!is_asked_for(block_at(1)));
	ck_assert_double_eq(SUM(freed_objects), 1);
}
END_TEST

/* It never had them, and what it has there is another's. */
START_TEST(filter_is_not_told_of_noted_blocks_that_go)
{
	make_sampled(stranger_at(1));
	for (unsigned int i = 0; i < 3; i++) {
		make_sampled(block_at(1));
		sp_heap_release(hold_sampled(block_at(1)), true);
		make_sampled(block_at(1));
		sp_heap_note_free(block_at(1));
		ck_assert(is_asked_for(stranger_at(1)));
	}
	sp_heap_note_free(stranger_at(1));
	ck_assert(!is_asked_for(stranger_at(1)));
	ck_assert_double_eq(SUM(freed_objects), 7);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("heap_notes");

	tcase_add_checked_fixture(tests, setup_notes, teardown_notes);
	tcase_add_test(tests, block_is_noted_from_its_sample_to_its_end);
	tcase_add_test(tests, address_of_a_block_that_is_resized_is_no_sample_s);
	tcase_add_test(tests, sampled_block_where_another_was_resized_stays_noted);
	tcase_add_test(tests, block_that_was_not_resized_is_noted_again);
	tcase_add_test(tests, filter_is_not_told_of_noted_blocks_that_go);
	return run_tests("heap_notes", tests);
}
