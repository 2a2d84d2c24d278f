/*
 * Names that are kept from one profile to the next: each address is looked for once,
 * whatever is asked with it, and memory that is short costs only a second look.
 */
#include "sp_known_names.h"

#include "run_suite.h"
#include "sp_frame.h"
#include "test_heap.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OFFSETS 4096
#define POOR "poor"

static const struct sp_view_module modules[2] = {{.id = 1}, {.id = 2}};

static struct sp_known_names known;
static unsigned int asked[2][OFFSETS];
static bool is_memory_short;
static char names[2][OFFSETS][16];

/* In place of those that read files. */
struct sp_symbols {
	int unused;
};

struct sp_symbols *sp_symbols_create(void)
{
	return calloc(1, sizeof(struct sp_symbols));
}

void sp_symbols_destroy(struct sp_symbols *symbols)
{
	free(symbols);
}

int sp_symbols_resolve(struct sp_symbols *symbols, const struct sp_view_module *module,
		       struct sp_symbol_query *queries, size_t count)
{
	(void)symbols;
	for (size_t i = 0; i < count; i++) {
		char *name = names[module->id - 1][queries[i].offset];

		ck_assert(i == 0 || queries[i - 1].offset <= queries[i].offset);
		asked[module->id - 1][queries[i].offset]++;
		snprintf(name, sizeof(names[0][0]), "%u+%" PRIu64, module->id,
			 queries[i].offset);
		queries[i].name = is_memory_short ? POOR : name;
		queries[i].system_name = queries[i].name;
		queries[i].start_offset = queries[i].offset / 16;
	}
	return is_memory_short ? -ENOMEM : 0;
}

static void setup(void)
{
	memset(asked, 0, sizeof(asked));
	is_memory_short = false;
	ck_assert_int_eq(sp_known_names_init(&known), 0);
}

static void teardown(void)
{
	test_heap_refuse_after(SIZE_MAX);
	sp_known_names_fini(&known);
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}

/* Each gets its own name, and in its place. */
static void resolve(const struct sp_view_module *module, const uint64_t *offsets,
		    size_t count)
{
	static struct sp_symbol_query queries[OFFSETS];

	memset(queries, 0, sizeof(queries));
	for (size_t i = 0; i < count; i++)
		queries[i].offset = offsets[i];
	ck_assert_int_eq(sp_known_names_resolve(&known, module, queries, count), 0);
	for (size_t i = 0; i < count; i++) {
		char expected[16];

		snprintf(expected, sizeof(expected), "%u+%" PRIu64, module->id,
			 offsets[i]);
		ck_assert_uint_eq(queries[i].offset, offsets[i]);
		ck_assert_str_eq(queries[i].name, expected);
		ck_assert_str_eq(queries[i].system_name, expected);
		ck_assert_uint_eq(queries[i].start_offset, offsets[i] / 16);
	}
}

START_TEST(only_what_nobody_has_asked_is_looked_for)
{
	static const uint64_t first[] = {10, 20, 30}, second[] = {5, 20, 30, 40},
			      third[] = {5, 10, 40};

	resolve(&modules[0], first, 3);
	resolve(&modules[0], second, 4);
	resolve(&modules[0], third, 3);
	for (uint64_t offset = 0; offset < OFFSETS; offset++) {
		bool is_of_them = offset == 5 || offset == 10 || offset == 20 ||
				  offset == 30 || offset == 40;

		ck_assert_uint_eq(asked[0][offset], is_of_them);
	}
}
END_TEST

START_TEST(what_is_expected_is_looked_for_along_with_the_first)
{
	static const uint64_t expected[] = {40, 5, 20, 25, 5, 4000},
			      first[] = {10, 10, 20, 30},
			      second[] = {5, 10, 25, 26, 4000};

	for (size_t i = 0; i < 6; i++)
		sp_known_names_expect(&known, sp_frame_make(1, expected[i]));
	sp_known_names_expect(&known, sp_frame_make(2, 10));
	resolve(&modules[0], first, 4);
	ck_assert_uint_eq(asked[0][10], 2); /* twice at once */
	ck_assert_uint_eq(asked[0][20], 1);
	ck_assert_uint_eq(asked[0][25], 1);
	ck_assert_uint_eq(asked[0][4000], 1);
	ck_assert_uint_eq(asked[1][10], 0);
	resolve(&modules[0], second, 5);
	ck_assert_uint_eq(asked[0][5], 1);
	ck_assert_uint_eq(asked[0][26], 1);
	ck_assert_uint_eq(asked[0][40], 1);
	ck_assert_uint_eq(asked[0][4000], 1);
	resolve(&modules[1], first, 4);
	ck_assert_uint_eq(asked[1][5], 0);
	ck_assert_uint_eq(asked[1][30], 1);
}
END_TEST

START_TEST(modules_are_told_apart)
{
	static const uint64_t offsets[] = {10, 20};

	resolve(&modules[0], offsets, 2);
	resolve(&modules[1], offsets, 2);
	ck_assert_uint_eq(asked[0][10], 1);
	ck_assert_uint_eq(asked[1][10], 1);
}
END_TEST

START_TEST(nothing_is_looked_for_twice)
{
	static uint64_t offsets[OFFSETS];
	uint64_t state = 1;

	for (unsigned int round = 0; round < 200; round++) {
		size_t count = 0;

		for (uint64_t offset = 0; offset < OFFSETS; offset++) {
			state = state * UINT64_C(6364136223846793005) + 1;
			if (state >> 59 == 0)
				offsets[count++] = offset;
		}
		resolve(&modules[round % 2], offsets, count);
	}
	for (uint64_t offset = 0; offset < OFFSETS; offset++) {
		ck_assert_uint_le(asked[0][offset], 1);
		ck_assert_uint_le(asked[1][offset], 1);
	}
}
END_TEST

START_TEST(nothing_is_asked_for_nothing)
{
	resolve(&modules[0], NULL, 0);
}
END_TEST

START_TEST(names_do_not_depend_on_memory_to_keep_them)
{
	static uint64_t offsets[1000];

	for (size_t i = 0; i < 1000; i++)
		offsets[i] = 2 * i;
	for (size_t allowed = 0; allowed < 16; allowed++) {
		test_heap_refuse_after(allowed);
		for (uint64_t offset = 0; offset < 2000; offset += 7)
			sp_known_names_expect(&known, sp_frame_make(1, offset));
		resolve(&modules[0], offsets, 1000);
		test_heap_refuse_after(SIZE_MAX);
		sp_known_names_fini(&known);
		ck_assert_int_eq(sp_known_names_init(&known), 0);
	}
}
END_TEST

START_TEST(poor_names_are_not_kept)
{
	static const uint64_t offsets[] = {7};
	struct sp_symbol_query query = {.offset = 7};

	is_memory_short = true;
	ck_assert_int_eq(sp_known_names_resolve(&known, &modules[0], &query, 1), -ENOMEM);
	ck_assert_str_eq(query.name, POOR);
	is_memory_short = false;
	resolve(&modules[0], offsets, 1);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("known_names");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, only_what_nobody_has_asked_is_looked_for);
	tcase_add_test(tcase, what_is_expected_is_looked_for_along_with_the_first);
	tcase_add_test(tcase, modules_are_told_apart);
	tcase_add_test(tcase, nothing_is_looked_for_twice);
	tcase_add_test(tcase, nothing_is_asked_for_nothing);
	tcase_add_test(tcase, names_do_not_depend_on_memory_to_keep_them);
	tcase_add_test(tcase, poor_names_are_not_kept);
	return run_suite("known_names", tcase);
}
