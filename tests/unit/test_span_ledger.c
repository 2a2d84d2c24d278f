/* What comes out of the ledger of spans adds up to what all of them have done. */
#include "sp_span_ledger.h"

#include <check.h>
#include <stdlib.h>

static struct sp_span_ledger ledger;

static void add(uint64_t id, uint64_t parent, const char *name)
{
	struct sp_span_info info = {
		.id = id, .name = name, .target = "", .file = "", .scope = &parent};

	info.scope_count = parent ? 1 : 0;
	ck_assert_int_eq(sp_span_ledger_add(&ledger, &info), 0);
}

static void count(uint64_t id, uint64_t busy_ns)
{
	sp_span_ledger_count(&ledger, id, SP_LEDGER_WALL_BUSY, busy_ns);
}

/* Of all spans, as for one more file. */
static uint64_t come_out(void)
{
	uint64_t sum = 0;

	sp_span_ledger_settle(&ledger);
	for (uint32_t i = 0; i < ledger.span_count; i++) {
		uint64_t values[SP_LEDGER_VALUES];

		sp_span_ledger_take(&ledger, &ledger.spans[i], values);
		sum += values[SP_LEDGER_WALL_BUSY];
	}
	ck_assert_int_eq(sp_span_ledger_tidy(&ledger), 0);
	return sum;
}

static void setup(void)
{
	add(1, 0, "request");
	add(2, 1, "part");
	add(3, 0, "request");
}

static void teardown(void)
{
	sp_span_ledger_fini(&ledger);
	ledger = (struct sp_span_ledger){0};
}

START_TEST(inner_spans_are_taken_off_those_around_them)
{
	count(1, 100);
	count(2, 60);
	count(3, 5);
	ck_assert_uint_eq(come_out(), 100 + 5);
	ck_assert_uint_eq(come_out(), 0);
}
END_TEST

START_TEST(inner_span_told_of_before_the_one_around_it_adds_nothing)
{
	count(2, 60);
	ck_assert_uint_eq(come_out(), 60);
	count(1, 100);
	ck_assert_uint_eq(come_out(), 40);
}
END_TEST

/* The part was told of a moment too much, as its thread stood still at its end. */
START_TEST(what_a_span_lacks_at_its_end_is_made_up_for_by_its_like)
{
	count(1, 100);
	count(2, 130);
	count(3, 50);
	sp_span_ledger_end(&ledger, 2);
	sp_span_ledger_end(&ledger, 1);
	ck_assert_uint_eq(come_out(), 130 + 50 - 30);
	count(3, 7);
	ck_assert_uint_eq(come_out(), 7);
}
END_TEST

START_TEST(what_came_out_too_early_is_made_up_for_later)
{
	count(1, 100);
	ck_assert_uint_eq(come_out(), 100);
	count(2, 90);
	sp_span_ledger_end(&ledger, 2);
	sp_span_ledger_end(&ledger, 1);
	ck_assert_uint_eq(come_out(), 90);
	count(3, 50);
	ck_assert_uint_eq(come_out(), 0);
	count(3, 50);
	ck_assert_uint_eq(come_out(), 10);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("sums");
	Suite *suite = suite_create("span ledger");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, inner_spans_are_taken_off_those_around_them);
	tcase_add_test(tests, inner_span_told_of_before_the_one_around_it_adds_nothing);
	tcase_add_test(tests, what_a_span_lacks_at_its_end_is_made_up_for_by_its_like);
	tcase_add_test(tests, what_came_out_too_early_is_made_up_for_later);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
