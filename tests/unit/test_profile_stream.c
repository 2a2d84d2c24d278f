/*
 * The parts below the pprof reporter: texts and their numbers, frames in order,
 * what is UTF-8, and pieces of a profile becoming one.
 */
#include "memory_sink.h"
#include "profile_decode.h"
#include "sp_frame_table.h"
#include "sp_profile_stream.h"
#include "sp_string_table.h"
#include "sp_utf8.h"
#include "test_heap.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(text_keeps_its_number)
{
	struct sp_string_table table;
	bool is_new;
	char text[16];

	sp_string_table_init(&table);
	for (int i = 0; i < 20000; i++) {
		int length = snprintf(text, sizeof(text), "text %d", i);

		ck_assert_int_eq(
			sp_string_table_add(&table, text, (size_t)length, &is_new), i);
		ck_assert(is_new);
	}
	for (int i = 0; i < 20000; i++) {
		int length = snprintf(text, sizeof(text), "text %d", i);

		ck_assert_int_eq(
			sp_string_table_add(&table, text, (size_t)length, &is_new), i);
		ck_assert(!is_new);
	}
	sp_string_table_fini(&table);
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}
END_TEST

START_TEST(texts_differ_by_length_and_by_bytes_after_zero)
{
	struct sp_string_table table;
	bool is_new;

	sp_string_table_init(&table);
	ck_assert_int_eq(sp_string_table_add(&table, "ab", 2, &is_new), 0);
	ck_assert_int_eq(sp_string_table_add(&table, "ab", 1, &is_new), 1);
	ck_assert_int_eq(sp_string_table_add(&table, "a\0b", 3, &is_new), 2);
	ck_assert_int_eq(sp_string_table_add(&table, "a\0c", 3, &is_new), 3);
	ck_assert_int_eq(sp_string_table_add(&table, "", 0, &is_new), 4);
	ck_assert_int_eq(sp_string_table_add(&table, "a\0b", 3, &is_new), 2);
	ck_assert(!is_new);
	sp_string_table_fini(&table);
}
END_TEST

START_TEST(string_table_without_memory_is_as_before)
{
	struct sp_string_table table;
	char text[16];
	bool is_new;

	sp_string_table_init(&table);
	for (int i = 0; i < 2000; i++) {
		int length = snprintf(text, sizeof(text), "text %d", i);

		test_heap_refuse_after(0);
		if (sp_string_table_add(&table, text, (size_t)length, &is_new) < 0) {
			test_heap_refuse_after(SIZE_MAX);
			ck_assert_int_eq(sp_string_table_add(&table, text, (size_t)length,
							     &is_new),
					 i);
		}
		test_heap_refuse_after(SIZE_MAX);
	}
	ck_assert_int_eq(sp_string_table_add(&table, "text 7", 6, &is_new), 7);
	sp_string_table_fini(&table);
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}
END_TEST

START_TEST(frames_come_out_sorted_and_once)
{
	struct sp_frame_table table;
	uint64_t random = 7;
	uint32_t index;

	sp_frame_table_init(&table);
	ck_assert(!sp_frame_table_find(&table, 1, &index));
	for (int i = 0; i < 30000; i++) {
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		ck_assert_int_eq(sp_frame_table_add(&table, random >> 50), 0);
	}
	ck_assert_int_eq(sp_frame_table_add(&table, UINT64_MAX), 0);
	sp_frame_table_sort(&table);
	ck_assert_uint_gt(table.count, 10000);
	for (uint32_t i = 0; i < table.count; i++) {
		ck_assert(i == 0 || table.frames[i - 1] < table.frames[i]);
		ck_assert(sp_frame_table_find(&table, table.frames[i], &index));
		ck_assert_uint_eq(index, i);
	}
	ck_assert(!sp_frame_table_find(&table, 1 << 20, &index));
	sp_frame_table_fini(&table);
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}
END_TEST

/* Every size around the powers of two that a heap's shape depends on. */
START_TEST(few_frames_are_sorted_too)
{
	for (uint64_t count = 0; count < 70; count++) {
		struct sp_frame_table table;

		sp_frame_table_init(&table);
		for (uint64_t i = 0; i < count; i++)
			ck_assert_int_eq(sp_frame_table_add(&table, i * 37 % 71), 0);
		sp_frame_table_sort(&table);
		ck_assert_uint_eq(table.count, count);
		for (uint32_t i = 1; i < table.count; i++)
			ck_assert_uint_lt(table.frames[i - 1], table.frames[i]);
		sp_frame_table_fini(&table);
	}
}
END_TEST

static const struct {
	const char *text, *escaped;
} texts[] = {
	{"", NULL},
	{"plain", NULL},
	{"\x7f", NULL},
	{"\xc2\x80 \xdf\xbf", NULL},
	{"\xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf", NULL},
	{"\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf", NULL},
	{"\x80", "\\x80"},
	{"\xc0\x80", "\\xc0\\x80"},
	{"\xc1\xbf", "\\xc1\\xbf"},
	{"\xe0\x9f\xbf", "\\xe0\\x9f\\xbf"},
	{"\xed\xa0\x80", "\\xed\\xa0\\x80"},
	{"\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf"},
	{"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
	{"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
	{"\xff", "\\xff"},
	{"a\xe2\x82", "a\\xe2\\x82"},
	{"\xe2\x82z", "\\xe2\\x82z"},
	{"\xc3\xc3\xa9", "\\xc3\xc3\xa9"},
};

START_TEST(only_utf8_passes_and_the_rest_is_escaped)
{
	const char *text = texts[_i].text;
	char out[128];
	size_t length;

	ck_assert_int_eq(sp_utf8_is_valid(text, strlen(text)), texts[_i].escaped == NULL);
	length = sp_utf8_escape(text, strlen(text), out);
	ck_assert_str_eq(out, texts[_i].escaped ? texts[_i].escaped : text);
	ck_assert_uint_eq(length, strlen(out));
	ck_assert(sp_utf8_is_valid(out, length));
}
END_TEST

START_TEST(cut_splits_no_character)
{
	const char *text = "a\xe2\x82\xac\xf0\x9f\x92\xa9z"; /* of 1, 3, 4, 1 bytes */
	static const size_t cuts[] = {0, 1, 1, 1, 4, 4, 4, 4, 8};

	for (size_t limit = 0; limit < 9; limit++)
		ck_assert_uint_eq(sp_utf8_cut(text, limit), cuts[limit]);
	ck_assert_uint_eq(sp_utf8_cut("\x80\x80\x80\x80\x80\x80", 5), 2);
}
END_TEST

static struct profile *close_and_decode(struct sp_profile_stream *stream,
					const struct memory_sink *sink)
{
	struct profile *profile;
	char error[128] = "";

	ck_assert_int_eq(sp_profile_stream_close(stream), 0);
	profile = profile_decode(sink->data, sink->size_bytes, error, sizeof(error));
	ck_assert_msg(profile != NULL, "%s", error);
	return profile;
}

/* The compressor is a small one for the first and a large one for the second. */
START_TEST(pieces_become_one_profile)
{
	static const size_t expected_bytes[] = {0, 1000000};
	struct sp_profile_stream *stream;
	struct profile *profile;
	struct memory_sink sink;

	memory_sink_init(&sink);
	ck_assert_int_eq(sp_profile_stream_open(&stream, &sink.sink, expected_bytes[_i]),
			 0);
	for (uint64_t i = 1; i <= 5000; i++) {
		Perftools__Profiles__Profile part = PERFTOOLS__PROFILES__PROFILE__INIT;
		Perftools__Profiles__Function function =
			PERFTOOLS__PROFILES__FUNCTION__INIT;
		Perftools__Profiles__Function *pointer = &function;
		char name[32];

		snprintf(name, sizeof(name), "function %d", (int)(i % 100));
		function.id = i;
		function.name = sp_profile_stream_string(stream, name);
		part.n_function = 1;
		part.function = &pointer;
		part.period = (int64_t)i;
		sp_profile_stream_put(stream, &part);
	}
	profile = close_and_decode(stream, &sink);
	ck_assert_uint_eq(profile->message->n_function, 5000);
	ck_assert_uint_eq(profile->message->n_string_table, 101);
	ck_assert_int_eq(profile->message->period, 5000);
	ck_assert_str_eq(profile_string(profile, profile->message->function[4242]->name),
			 "function 43");
	profile_free(profile);
	memory_sink_fini(&sink);
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}
END_TEST

START_TEST(no_text_is_number_zero)
{
	struct sp_profile_stream *stream;
	struct profile *profile;
	struct memory_sink sink;

	memory_sink_init(&sink);
	ck_assert_int_eq(sp_profile_stream_open(&stream, &sink.sink, 0), 0);
	ck_assert_int_eq(sp_profile_stream_string(stream, NULL), 0);
	ck_assert_int_eq(sp_profile_stream_string(stream, ""), 0);
	ck_assert_int_eq(sp_profile_stream_string(stream, "first"), 1);
	profile = close_and_decode(stream, &sink);
	ck_assert_uint_eq(profile->message->n_string_table, 2);
	ck_assert_str_eq(profile->message->string_table[0], "");
	profile_free(profile);
	memory_sink_fini(&sink);
}
END_TEST

START_TEST(first_error_sticks)
{
	struct sp_profile_stream *stream;
	struct memory_sink sink;

	memory_sink_init(&sink);
	sink.failing_write = 1;
	sink.error = -EDQUOT;
	ck_assert_int_eq(sp_profile_stream_open(&stream, &sink.sink, 0), 0);
	ck_assert_int_eq(sp_profile_stream_error(stream), 0);
	for (uint64_t i = 0, random = 3; i < 200000; i++) {
		char name[24];

		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		snprintf(name, sizeof(name), "%016llx", (unsigned long long)random);
		sp_profile_stream_string(stream, name);
		sink.error = sink.writes ? -EIO : -EDQUOT;
	}
	ck_assert_int_eq(sp_profile_stream_error(stream), -EDQUOT);
	ck_assert_int_eq(sp_profile_stream_string(stream, "late"), 0);
	ck_assert_int_eq(sp_profile_stream_close(stream), -EDQUOT);
	ck_assert_uint_eq(sink.writes, 1);
	ck_assert_uint_eq(test_heap_used_bytes(), 0);
}
END_TEST

/* Packed it is that many bytes and a few more. */
static void put_text(struct sp_profile_stream *stream, size_t bytes)
{
	char *text = malloc(bytes + 1);

	ck_assert_ptr_nonnull(text);
	memset(text, 'x', bytes);
	text[bytes] = '\0';
	sp_profile_stream_string(stream, text);
	free(text);
}

START_TEST(small_profile_has_a_small_compressor)
{
	struct sp_profile_stream *stream;
	struct memory_sink sink;

	memory_sink_init(&sink);
	test_heap_reset_peak();
	ck_assert_int_eq(sp_profile_stream_open(&stream, &sink.sink, 8000), 0);
	put_text(stream, 8000);
	ck_assert_int_eq(sp_profile_stream_close(stream), 0);
	ck_assert_uint_lt(test_heap_peak_bytes(), 65536);
	/* It was compressed, and in the usual way. */
	ck_assert_uint_lt(sink.size_bytes, 4000);
	memory_sink_fini(&sink);
}
END_TEST

/* On both sides of the least that is compressed. */
START_TEST(tiny_profile_is_stored_and_fits_a_page)
{
	bool was_stored = false, was_compressed = false;

	for (size_t bytes = 3600; bytes < 4400; bytes++) {
		struct sp_profile_stream *stream;
		struct profile *profile;
		struct memory_sink sink;

		memory_sink_init(&sink);
		ck_assert_int_eq(sp_profile_stream_open(&stream, &sink.sink, bytes), 0);
		put_text(stream, bytes);
		profile = close_and_decode(stream, &sink);
		ck_assert_uint_ge(profile->packed_bytes, bytes);
		ck_assert_uint_eq(profile->message->n_string_table, 2);
		ck_assert_uint_eq(strlen(profile->message->string_table[1]), bytes);
		if (sink.size_bytes > profile->packed_bytes) {
			was_stored = true;
			ck_assert_uint_eq(sink.writes, 1);
			ck_assert_uint_le(sink.size_bytes, 4096);
		} else {
			was_compressed = true;
		}
		profile_free(profile);
		memory_sink_fini(&sink);
	}
	ck_assert(was_stored && was_compressed);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("profile_stream");
	TCase *tc = tcase_create("parts");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, text_keeps_its_number);
	tcase_add_test(tc, texts_differ_by_length_and_by_bytes_after_zero);
	tcase_add_test(tc, string_table_without_memory_is_as_before);
	tcase_add_test(tc, frames_come_out_sorted_and_once);
	tcase_add_test(tc, few_frames_are_sorted_too);
	tcase_add_loop_test(tc, only_utf8_passes_and_the_rest_is_escaped, 0,
			    (int)(sizeof(texts) / sizeof(texts[0])));
	tcase_add_test(tc, cut_splits_no_character);
	tcase_add_loop_test(tc, pieces_become_one_profile, 0, 2);
	tcase_add_test(tc, no_text_is_number_zero);
	tcase_add_test(tc, first_error_sticks);
	tcase_add_test(tc, small_profile_has_a_small_compressor);
	tcase_add_test(tc, tiny_profile_is_stored_and_fits_a_page);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
