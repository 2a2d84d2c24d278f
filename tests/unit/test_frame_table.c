/*
 * The set of frames that profiles are written with: each is found again, with its place
 * in the order, and without a walk past most of the others, however alike they are.
 */
#include "run_suite.h"
#include "test_heap.h"

#include "sp_frame.h"

/* How far a look-up has to go is told by its own slots. */
#include "../../reporters/frame_table.c"

#define MODULES 2000U
#define PLACES 5U

static struct sp_frame_table table;

static void setup(void)
{
	sp_frame_table_init(&table);
}

static void teardown(void)
{
	sp_frame_table_fini(&table);
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}

static void add(uint64_t frame)
{
	uint32_t count = table.count, index;

	ck_assert_int_eq(sp_frame_table_add(&table, frame), 0);
	ck_assert_uint_eq(table.count, count + 1);
	ck_assert_int_eq(sp_frame_table_add(&table, frame), 0);
	ck_assert_uint_eq(table.count, count + 1);
	ck_assert(sp_frame_table_find(&table, frame, &index));
	ck_assert_uint_eq(index, count);
}

/* Slots that are looked at until each frame is found: two are usual where half of them
 * are taken. */
static void check_walks(void)
{
	uint64_t looks = 0;

	for (uint32_t i = 0; i < table.count; i++) {
		uint32_t slot = first_slot(&table, table.frames[i]), index;

		for (looks++; table.slots[slot] != i + 1; looks++)
			slot = next_slot(&table, slot);
		ck_assert(sp_frame_table_find(&table, table.frames[i], &index));
		ck_assert_uint_eq(index, i);
	}
	ck_assert_uint_le(looks, 3 * (uint64_t)table.count);
}

START_TEST(copies_of_a_library_do_not_meet)
{
	for (unsigned int module = 1; module <= MODULES; module++)
		for (unsigned int place = 0; place < PLACES; place++)
			add(sp_frame_make((uint16_t)module, 0x1129 + 0x52 * place));
	check_walks();
	sp_frame_table_sort(&table);
	check_walks();
}
END_TEST

START_TEST(places_at_regular_distances_do_not_meet)
{
	for (uint64_t distance = 1; distance <= 4096; distance *= 16) {
		for (uint64_t i = 0; i < 3000; i++)
			add(sp_frame_make(3, 0x401000 + i * distance));
		check_walks();
		sp_frame_table_fini(&table);
	}
}
END_TEST

START_TEST(frames_are_sorted_by_module_and_place)
{
	for (uint64_t i = 0; i < 1000; i++)
		add(sp_frame_make((uint16_t)(i * 7 % 13), i * 7919 % 1009));
	sp_frame_table_sort(&table);
	for (uint32_t i = 1; i < table.count; i++)
		ck_assert_uint_lt(table.frames[i - 1], table.frames[i]);
	check_walks();
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("frame_table");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, copies_of_a_library_do_not_meet);
	tcase_add_test(tcase, places_at_regular_distances_do_not_meet);
	tcase_add_test(tcase, frames_are_sorted_by_module_and_place);
	return run_suite("frame_table", tcase);
}
