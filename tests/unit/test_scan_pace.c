/*
 * When the mappings are looked at again: at once for a module, at a pace for code
 * that may have been generated.
 */
#include "scan_pace.h"

#include "run_suite.h"
#include "sp_capture.h"
#include "sp_clock.h"

#define LONG_NS (100 * SP_NS_PER_SECOND)
#define APART_NS_LEAST (SP_NS_PER_SECOND / 20)

static void look(void)
{
	sp_scan_begin();
	sp_scan_end();
}

START_TEST(nothing_is_due_that_nobody_asked_for)
{
	ck_assert(!sp_scan_is_due());
	ck_assert_uint_eq(sp_scan_wait_ns(LONG_NS), LONG_NS);
}
END_TEST

START_TEST(module_is_looked_for_at_once)
{
	for (int i = 0; i < 3; i++) {
		atomic_store(&sp_capture.wants_modules, true);
		ck_assert(sp_scan_is_due());
		look();
		ck_assert(!sp_scan_is_due());
	}
}
END_TEST

START_TEST(code_is_looked_for_ever_more_rarely_while_there_is_none)
{
	uint64_t before_ns = 0;

	for (int i = 0; i < 12; i++) {
		uint64_t wait_ns;

		sp_capture_want_code();
		if (i == 0)
			ck_assert(sp_scan_is_due());
		look();
		sp_capture_want_code();
		wait_ns = sp_scan_wait_ns(LONG_NS);
		ck_assert(!sp_scan_is_due());
		ck_assert_uint_ge(wait_ns, APART_NS_LEAST / 2);
		ck_assert_uint_ge(wait_ns, before_ns - before_ns / 10);
		ck_assert_uint_le(wait_ns, 4 * SP_NS_PER_SECOND);
		before_ns = wait_ns;
	}
	/* Not later than somebody else has to be looked after. */
	ck_assert_uint_eq(sp_scan_wait_ns(1000), 1000);
	ck_assert_uint_gt(before_ns, 2 * SP_NS_PER_SECOND);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("scan_pace");

	tcase_add_test(tc, nothing_is_due_that_nobody_asked_for);
	tcase_add_test(tc, module_is_looked_for_at_once);
	tcase_add_test(tc, code_is_looked_for_ever_more_rarely_while_there_is_none);
	return run_suite("scan pace", tc);
}
