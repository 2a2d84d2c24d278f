/*
 * The table of spans where spans come faster than the consumer does.
 */
#include "test_span_capture_fixture.h"

#define BYTES_MAX (UINT64_C(1) << 20)

static uint32_t callsite;
static uint64_t entries;

static uint64_t create_one(void)
{
	return sp_span_create(callsite, SP_SPAN_NONE, NULL);
}

static uint64_t make_one(void)
{
	uint64_t span = create_one();

	sp_span_close(span);
	return span;
}

/* All storage that there may be, and all of it free. */
static void begin_with_full_table(void)
{
	static const struct sp_span_settings settings = {
		.probability_millionths = 1000000, .labels = ""};

	begin_spans(&settings, BYTES_MAX);
	callsite = site("span");
	entries = recorded()->header->sections[SP_SECTION_SPANS].capacity_items;
	sp_capture.drain = NULL;
	for (uint64_t i = 0; i < entries; i++)
		ck_assert_uint_ne(make_one(), SP_SPAN_NONE);
	ck_assert_uint_eq(make_one(), SP_SPAN_NONE);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_NO_ROOM), 1);
	drain();
}

static unsigned int drains, closed_then, refused_then;

/* As if others went on meanwhile. */
static void drain_beside_others(void)
{
	drains++;
	sp_capture.drain = NULL;
	for (unsigned int i = 0; i < closed_then; i++)
		refused_then += make_one() == SP_SPAN_NONE;
	sp_capture.drain = drain_beside_others;
	drain();
}

static void make_many(uint64_t times)
{
	for (uint64_t i = 0; i < times; i++)
		ck_assert_uint_ne(make_one(), SP_SPAN_NONE);
}

START_TEST(entries_are_left_for_others_while_one_drains)
{
	drains = refused_then = 0;
	closed_then = (unsigned int)entries / 8;
	sp_capture.drain = drain_beside_others;
	make_many(20 * entries);
	ck_assert_uint_gt(drains, 20);
	ck_assert_uint_lt(drains, 40);
	ck_assert_uint_eq(refused_then, 0);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_NO_ROOM), 1);
}
END_TEST

/* Those that are open do not count: what there is beside them is shared out. */
START_TEST(open_spans_do_not_make_everybody_drain)
{
	drains = refused_then = closed_then = 0;
	for (uint64_t i = 0; i < entries - 100; i++)
		ck_assert_uint_ne(create_one(), SP_SPAN_NONE);
	drain();
	sp_capture.drain = drain_beside_others;
	make_many(1000);
	ck_assert_uint_ge(drains, 10);
	ck_assert_uint_lt(drains, 20);
}
END_TEST

static uint64_t made_in_pass, freed_in_pass;

static void make_during_pass(const char *step)
{
	if (strcmp(step, "span: free") != 0 || freed_in_pass++ == 0 || made_in_pass)
		return;
	made_in_pass = create_one();
	ck_assert_uint_ne(made_in_pass, SP_SPAN_NONE);
	/* The others wait to be looked at. */
	ck_assert_uint_eq(
		atomic_load(&test_span_at(recorded(), (uint32_t)entries - 1)->state),
		SP_SPAN_CLOSED);
}

START_TEST(entry_is_free_as_soon_as_it_is_looked_at)
{
	made_in_pass = freed_in_pass = 0;
	sp_capture.drain = NULL;
	make_many(entries);
	sp_absorber_testpoint = make_during_pass;
	drain();
	sp_absorber_testpoint = NULL;
	ck_assert_uint_ne(made_in_pass, 0);
	ck_assert_uint_eq(freed_in_pass, entries);
}
END_TEST

/* Who may not take them over tries in vain, but ever more rarely. */
static void drain_in_vain(void)
{
	drains++;
}

START_TEST(reporter_thread_is_woken_where_it_alone_takes_spans)
{
	drains = 0;
	atomic_store(&sp_capture.wake, 0);
	sp_capture.drain = drain_in_vain;
	make_many(entries / 2);
	ck_assert_uint_eq(drains, 0);
	ck_assert_uint_eq(atomic_load(&sp_capture.wake), 0);
	make_many(entries - entries / 2);
	ck_assert_uint_ge(drains, 1);
	ck_assert_uint_lt(drains, 20);
	ck_assert_uint_eq(atomic_load(&sp_capture.wake), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_table");
	TCase *tc = tcase_create("span_table");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, begin_with_full_table, end_spans);
	tcase_add_test(tc, entries_are_left_for_others_while_one_drains);
	tcase_add_test(tc, open_spans_do_not_make_everybody_drain);
	tcase_add_test(tc, entry_is_free_as_soon_as_it_is_looked_at);
	tcase_add_test(tc, reporter_thread_is_woken_where_it_alone_takes_spans);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
