/*
 * Names of JIT code out of perf-PID.map, as runtimes write it.
 */
#include "sp_perf_map.h"
#include "sp_symbols.h"

#include "symbols_fixture.h"

#include <time.h>

#define PID 4711

static void setup(void)
{
	symbols_setup("perf-4711.map", true);
}

static void write_map(const char *text)
{
	write_file(file_path, text, strlen(text));
}

static void append(const char *text)
{
	FILE *file = fopen(file_path, "a");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

static void wait_for_refresh(void)
{
	struct timespec pause = {0, (long)SP_PERF_MAP_REFRESH_NS + 20000000};

	nanosleep(&pause, NULL);
}

static void expect(uint64_t address, const char *name)
{
	const char *found = sp_symbols_resolve_jit(symbols, PID, address);

	if (name) {
		ck_assert_ptr_nonnull(found);
		ck_assert_str_eq(found, name);
	} else {
		ck_assert_ptr_null(found);
	}
}

START_TEST(line_names_the_addresses_it_covers)
{
	write_map("7f0000001000 40 LazyCompile:*add /app/math.js:3\n"
		  "0x7f0000002000 0x20 with 0x\n"
		  "7F0000003000 20 upper case\r\n");
	expect(0x7f0000000fff, NULL);
	expect(0x7f0000001000, "LazyCompile:*add /app/math.js:3");
	expect(0x7f000000103f, "LazyCompile:*add /app/math.js:3");
	expect(0x7f0000001040, NULL);
	expect(0x7f000000201f, "with 0x");
	expect(0x7f0000003000, "upper case");
}
END_TEST

START_TEST(later_line_at_the_same_address_wins)
{
	write_map("1000 100 old\n2000 10 other\n1000 40 new\n");
	expect(0x1000, "new");
	expect(0x103f, "new");
	expect(0x1040, NULL);
}
END_TEST

START_TEST(later_line_wins_where_lines_overlap)
{
	write_map("1040 20 inner old\n1000 100 outer\n1080 10 inner new\n");
	expect(0x1050, "outer");
	expect(0x1085, "inner new");
	expect(0x1095, "outer");
}
END_TEST

START_TEST(broken_lines_are_skipped)
{
	write_map("\nzzz\n1000\n1000 \n1000 40\n1000 40 \n2000 0 empty\n"
		  "ffffffffffffffff ffff wraps\n11112222333344445 10 too long\n"
		  "3000 10 good\n4000 10 unfinished");
	expect(0x1000, NULL);
	expect(0x2000, NULL);
	expect(0xffffffffffffffff, NULL);
	expect(0x3000, "good");
	expect(0x4000, NULL);
}
END_TEST

START_TEST(line_is_taken_once_it_is_finished)
{
	write_map("1000 10 first\n2000 10 seco");
	expect(0x1000, "first");
	expect(0x2000, NULL);
	append("nd\n500 10 third\n1000 10 replaced\n");
	wait_for_refresh();
	expect(0x2000, "second");
	expect(0x500, "third");
	expect(0x1000, "replaced");
}
END_TEST

START_TEST(file_that_appears_later_is_read)
{
	expect(0x1000, NULL);
	write_map("1000 10 late\n");
	wait_for_refresh();
	expect(0x1000, "late");
}
END_TEST

START_TEST(file_started_anew_is_read_from_its_beginning)
{
	write_map("1000 10 first_generation\n2000 10 gone\n");
	expect(0x1000, "first_generation");
	write_map("1000 10 second\n");
	wait_for_refresh();
	expect(0x1000, "second");
	expect(0x2000, NULL);
}
END_TEST

START_TEST(line_that_changed_since_it_was_read_names_nothing)
{
	write_map("1000 10 one\n2000 10 two\n");
	expect(0x1000, "one");
	write_map("9000 10 xxx\n2000 10 two\n");
	expect(0x1000, NULL);
	expect(0x2000, "two");
}
END_TEST

START_TEST(other_process_has_its_own_file)
{
	static const char other[] = "1000 10 theirs\n";

	write_map("1000 10 ours\n");
	write_file(in_scratch("perf-12.map"), other, sizeof(other) - 1);
	expect(0x1000, "ours");
	ck_assert_str_eq(sp_symbols_resolve_jit(symbols, 12, 0x1000), "theirs");
	ck_assert_ptr_null(sp_symbols_resolve_jit(symbols, 13, 0x1000));
	ck_assert_ptr_null(sp_symbols_resolve_jit(symbols, 0, 0x1000));
	ck_assert_ptr_null(sp_symbols_resolve_jit(symbols, -1, 0x1000));
	expect(0x1000, "ours");
}
END_TEST

START_TEST(symbolic_link_is_not_followed)
{
	static const char target[] = "1000 10 trap\n";

	write_file(in_scratch("elsewhere"), target, sizeof(target) - 1);
	ck_assert_int_eq(symlink(in_scratch("elsewhere"), file_path), 0);
	expect(0x1000, NULL);
}
END_TEST

START_TEST(strangers_file_is_not_read)
{
	if (geteuid() != 0)
		return; /* only root can give files away */
	write_map("1000 10 trap\n");
	ck_assert_int_eq(chown(file_path, 12345, 12345), 0);
	expect(0x1000, NULL);
}
END_TEST

START_TEST(pipe_does_not_hold_up_the_caller)
{
	ck_assert_int_eq(mkfifo(file_path, 0600), 0);
	expect(0x1000, NULL);
}
END_TEST

START_TEST(mangled_name_becomes_readable)
{
	write_map("1000 10 _ZN3jit4loopEv\n");
	expect(0x1000, "jit::loop");
}
END_TEST

START_TEST(overlong_line_is_cut_and_the_next_ones_are_read)
{
	char *name = malloc(200001);
	FILE *file = fopen(file_path, "w");

	memset(name, 'n', 200000);
	name[200000] = '\0';
	fprintf(file, "1000 10 %.3000s\n2000 10 after\n3000 10 %s\n4000 10 last\n", name,
		name);
	fclose(file);
	name[SP_PERF_MAP_NAME_BYTES - 1] = '\0';
	expect(0x1000, name);
	expect(0x2000, "after");
	expect(0x4000, "last");
	free(name);
}
END_TEST

START_TEST(large_shuffled_file_is_searched_correctly)
{
	enum { LINES = 200000 };
	FILE *file = fopen(file_path, "w");
	char name[32];

	/* 99991 is prime: every number comes once, out of order. */
	for (uint64_t i = 0; i < LINES; i++) {
		uint64_t number = i * 99991 % LINES;

		fprintf(file, "%lx 40 function_%lu\n", 0x10000000 + number * 0x40,
			number);
	}
	fclose(file);
	for (uint64_t number = 0; number < LINES; number += 7919) {
		snprintf(name, sizeof(name), "function_%lu", number);
		expect(0x10000000 + number * 0x40 + number % 0x40, name);
	}
	expect(0x10000000 + LINES * 0x40, NULL);
	append("10000000 8000 replaced\nf000000 10 before\n");
	wait_for_refresh();
	expect(0x10000000 + 0x7fff, "replaced");
	expect(0x10000000 + 0x8000, "function_512");
	expect(0xf000000, "before");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("symbols_jit");
	TCase *tc = tcase_create("perf map");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, symbols_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, line_names_the_addresses_it_covers);
	tcase_add_test(tc, later_line_at_the_same_address_wins);
	tcase_add_test(tc, later_line_wins_where_lines_overlap);
	tcase_add_test(tc, broken_lines_are_skipped);
	tcase_add_test(tc, line_is_taken_once_it_is_finished);
	tcase_add_test(tc, file_that_appears_later_is_read);
	tcase_add_test(tc, file_started_anew_is_read_from_its_beginning);
	tcase_add_test(tc, line_that_changed_since_it_was_read_names_nothing);
	tcase_add_test(tc, other_process_has_its_own_file);
	tcase_add_test(tc, symbolic_link_is_not_followed);
	tcase_add_test(tc, strangers_file_is_not_read);
	tcase_add_test(tc, pipe_does_not_hold_up_the_caller);
	tcase_add_test(tc, mangled_name_becomes_readable);
	tcase_add_test(tc, overlong_line_is_cut_and_the_next_ones_are_read);
	tcase_add_test(tc, large_shuffled_file_is_searched_correctly);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
