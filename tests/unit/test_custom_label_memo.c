/* Custom labels that are what they were, and that are not. */
/* Sources of spans are not in the library of the tests. */
#include "../../agent/spans/custom_label_memo.c"
#include "test_span_capture_fixture.h"

#include "span_names.h"

#include <check.h>
#include <sys/mman.h>

/* What a program has: something that is read, and what it then points to. */
static struct {
	char words[24];
	char text[13];
} program;

static struct sp_span_labels labels;
static struct sp_sample_label user, tenant;

static uint64_t address_of(const void *at)
{
	return (uint64_t)(uintptr_t)at;
}

static void setup(void)
{
	begin_plain_spans();
	atomic_store(&memos, NULL);
	memset(&labels, 0, sizeof(labels));
	strcpy(program.words, "words");
	strcpy(program.text, "text");
	user = sp_sample_label_of("user", "me");
	tenant = sp_sample_label_of("tenant", "acme");
}

static void look_anew(struct sp_custom_memo *memo)
{
	sp_custom_memo_begin(memo, address_of(&program));
	sp_custom_memo_note_read(memo, address_of(program.words), program.words,
				 sizeof(program.words));
	sp_custom_memo_note_read(memo, address_of(program.text), program.text,
				 sizeof(program.text));
	sp_custom_memo_note_label(memo, user);
	sp_custom_memo_note_label(memo, tenant);
	sp_custom_memo_keep(memo);
}

static bool is_known(void)
{
	struct sp_custom_memo *memo = sp_custom_memo_take(address_of(&program));
	bool has_added = false, is_known;

	memset(&labels, 0, sizeof(labels));
	is_known = sp_custom_memo_add(memo, address_of(&program), &labels, &has_added);
	sp_custom_memo_give(memo);
	ck_assert_int_eq(has_added, is_known);
	return is_known;
}

static void look(void)
{
	struct sp_custom_memo *memo = sp_custom_memo_take(address_of(&program));

	ck_assert_ptr_nonnull(memo);
	look_anew(memo);
	sp_custom_memo_give(memo);
}

START_TEST(labels_are_found_while_nothing_changes)
{
	ck_assert(!is_known());
	look();
	for (unsigned int i = 0; i < 3; i++) {
		ck_assert(is_known());
		ck_assert_uint_eq(labels.texts[0], user.key);
		ck_assert_uint_eq(labels.texts[1], user.value);
		ck_assert_uint_eq(labels.texts[2], tenant.key);
		ck_assert_uint_eq(labels.texts[3], tenant.value);
		ck_assert_uint_eq(labels.texts[4], 0);
	}
}
END_TEST

START_TEST(any_byte_that_changes_is_seen)
{
	char *bytes = (char *)&program;

	look();
	for (size_t i = 0; i < sizeof(program.words) + sizeof(program.text); i++) {
		bytes[i] ^= 1;
		ck_assert_msg(!is_known(), "byte %zu", i);
		bytes[i] ^= 1;
		ck_assert(is_known());
	}
}
END_TEST

START_TEST(other_recording_has_other_labels)
{
	look();
	ck_assert(is_known());
	sp_span_capture_begin(recorded());
	ck_assert(!is_known());
}
END_TEST

START_TEST(label_of_the_span_comes_first)
{
	struct sp_custom_memo *memo;
	bool has_added = false;

	look();
	labels.texts[0] = tenant.key;
	labels.texts[1] = user.value;
	memo = sp_custom_memo_take(address_of(&program));
	ck_assert(sp_custom_memo_add(memo, address_of(&program), &labels, &has_added));
	sp_custom_memo_give(memo);
	ck_assert_uint_eq(labels.texts[1], user.value);
	ck_assert_uint_eq(labels.texts[2], user.key);
	ck_assert_uint_eq(labels.texts[4], 0);
}
END_TEST

/* As a handler that interrupts a hook meets it. */
START_TEST(memo_in_use_is_nobody_elses)
{
	struct sp_custom_memo *memo = sp_custom_memo_take(address_of(&program));

	look_anew(memo);
	ck_assert_ptr_null(sp_custom_memo_take(address_of(&program)));
	ck_assert(!is_known());
	look_anew(NULL);
	sp_custom_memo_give(memo);
	ck_assert(is_known());
}
END_TEST

START_TEST(another_address_is_another_memos_or_takes_it)
{
	const uint64_t other = 4096;
	struct sp_custom_memo *memo;
	bool has_added = false;

	look();
	memo = sp_custom_memo_take(other);
	ck_assert(!sp_custom_memo_add(memo, other, &labels, &has_added));
	sp_custom_memo_give(memo);
	ck_assert(is_known());
	memo = sp_custom_memo_take(address_of(&program));
	ck_assert(!sp_custom_memo_add(memo, other, &labels, &has_added));
	sp_custom_memo_begin(memo, other);
	sp_custom_memo_keep(memo);
	sp_custom_memo_give(memo);
	ck_assert(!is_known());
}
END_TEST

START_TEST(memory_that_is_gone_is_looked_at_anew)
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sp_custom_memo *memo = sp_custom_memo_take(address_of(&program));

	ck_assert_ptr_ne(page, MAP_FAILED);
	look_anew(memo);
	sp_custom_memo_note_read(memo, address_of(page), page, 16);
	sp_custom_memo_give(memo);
	ck_assert(is_known());
	munmap(page, 4096);
	ck_assert(!is_known());
}
END_TEST

/* In any order, across a page's end, and one that is far away. */
START_TEST(neighbours_are_read_at_once)
{
	static const struct {
		size_t at, bytes;
		uint32_t runs;
	} pieces[] = {
		{4000, 10, 1},
		{3900, 20, 1},
		{4090, 12, 1},
		{4300, 10, 1},
		{3 * SP_PAGE_BYTES, 8, 2},
		{3910, 5, 2},
		{3 * SP_PAGE_BYTES + 2000, 10, 2},
		{4299, 1, 2},
	};
	struct sp_custom_memo *memo = sp_custom_memo_take(address_of(&program));
	static char pages[5 * SP_PAGE_BYTES] __attribute__((aligned(SP_PAGE_BYTES)));

	for (size_t i = 0; i < sizeof(pages); i++)
		pages[i] = (char)(i * 7 % 251);
	sp_custom_memo_begin(memo, address_of(&program));
	for (size_t i = 0; i < SP_ARRAY_COUNT(pieces); i++) {
		const char *at = pages + pieces[i].at;

		sp_custom_memo_note_read(memo, address_of(at), at, pieces[i].bytes);
		ck_assert_uint_eq(memo->run_count, pieces[i].runs);
	}
	sp_custom_memo_note_label(memo, user);
	sp_custom_memo_keep(memo);
	sp_custom_memo_give(memo);
	ck_assert_uint_eq(memo->runs[0].iov_len, 4310 - 3900);
	ck_assert(is_known());
	for (size_t i = 0; i < SP_ARRAY_COUNT(pieces); i++) {
		pages[pieces[i].at + pieces[i].bytes - 1]++;
		ck_assert(!is_known());
		pages[pieces[i].at + pieces[i].bytes - 1]--;
	}
	/* What lies between them is nobody's. */
	pages[4200]++;
	ck_assert(is_known());
}
END_TEST

START_TEST(what_is_not_whole_is_not_kept)
{
	static const char text[BYTES_MAX], other[2 * SP_PAGE_BYTES];
	struct sp_custom_memo *memo = sp_custom_memo_take(address_of(&program));

	look_anew(memo);
	sp_custom_memo_begin(memo, address_of(&program));
	sp_custom_memo_note_label(memo, user);
	switch (_i) {
	case 0: /* it could not be read to the end */
		break;
	case 1:
		for (unsigned int i = 0; i <= PIECES_MAX; i++)
			sp_custom_memo_note_read(memo, address_of(text), text, 1);
		sp_custom_memo_keep(memo);
		break;
	case 2:
		sp_custom_memo_note_read(memo, address_of(text), text, sizeof(text));
		sp_custom_memo_note_read(memo, address_of(other), other, 1);
		sp_custom_memo_keep(memo);
		break;
	case 3:
		for (unsigned int i = 0; i < SP_SPAN_LABELS_MAX; i++)
			sp_custom_memo_note_label(memo, user);
		sp_custom_memo_keep(memo);
		break;
	default: /* there was no room for the text */
		sp_custom_memo_note_label(memo, (struct sp_sample_label){user.key, 0});
		sp_custom_memo_keep(memo);
	}
	sp_custom_memo_give(memo);
	ck_assert(!is_known());
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("custom_label_memo");
	TCase *tcase = tcase_create("custom_label_memo");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, end_spans);
	tcase_add_test(tcase, labels_are_found_while_nothing_changes);
	tcase_add_test(tcase, any_byte_that_changes_is_seen);
	tcase_add_test(tcase, other_recording_has_other_labels);
	tcase_add_test(tcase, label_of_the_span_comes_first);
	tcase_add_test(tcase, memo_in_use_is_nobody_elses);
	tcase_add_test(tcase, another_address_is_another_memos_or_takes_it);
	tcase_add_test(tcase, memory_that_is_gone_is_looked_at_anew);
	tcase_add_test(tcase, neighbours_are_read_at_once);
	tcase_add_loop_test(tcase, what_is_not_whole_is_not_kept, 0, 5);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
