/*
 * What samples in a span carry: its labels and ids; and which spans are followed.
 */
#include "test_span_capture_fixture.h"

#define RECORDING_BYTES (UINT64_C(16) << 20)

static struct sp_span_settings settings;

static void setup(void)
{
	settings = (struct sp_span_settings){.probability_millionths = 1000000,
					     .labels = "user,tenant,a,b,c,d,e,f,g"};
	begin_spans(&settings, RECORDING_BYTES);
}

static void set(bool has_ids, uint32_t probability_millionths)
{
	settings.has_ids = has_ids;
	settings.probability_millionths = probability_millionths;
	sp_span_capture_init(&settings);
}

static const struct sp_label_set *current_set(void)
{
	return sp_recording_label_set(recorded(), sp_span_mark().label_set);
}

/* NULL if there is none of that key. */
static const char *current_label(const char *key)
{
	const struct sp_label_set *labels = current_set();

	for (unsigned int i = 0; i < 2 * SP_SPAN_LABELS_MAX && labels->labels[i]; i += 2)
		if (strcmp(sp_recording_span_text(recorded(), labels->labels[i]), key) ==
		    0)
			return sp_recording_span_text(recorded(), labels->labels[i + 1]);
	return NULL;
}

/* --- labels --- */

START_TEST(label_of_the_current_span_counts_at_once)
{
	uint64_t span = create("span", SP_SPAN_NONE);

	sp_span_enter(span, 0);
	ck_assert_ptr_null(current_label("user"));
	sp_span_label(SP_SPAN_NONE, "user", "me");
	ck_assert_str_eq(current_label("user"), "me");
	ck_assert_str_eq(current_name(), "span");
	sp_span_label(span, "tenant", "t");
	ck_assert_str_eq(current_label("user"), "me");
	ck_assert_str_eq(current_label("tenant"), "t");
	sp_span_label(span, "user", "you");
	ck_assert_str_eq(current_label("user"), "you");
	sp_span_exit(span);
	ck_assert_ptr_null(current_label("user"));
}
END_TEST

START_TEST(label_of_another_span_counts_when_it_is_entered)
{
	uint64_t outer = create("outer", SP_SPAN_NONE), inner = create("inner", outer);

	sp_span_enter(outer, 0);
	sp_span_label(inner, "user", "me");
	ck_assert_ptr_null(current_label("user"));
	sp_span_enter(inner, 0);
	ck_assert_str_eq(current_label("user"), "me");
	sp_span_exit(inner);
	sp_span_exit(outer);
}
END_TEST

START_TEST(only_recorded_keys_are_kept)
{
	sp_span_enter(create("span", SP_SPAN_NONE), 0);
	sp_span_label(SP_SPAN_NONE, "secret", "x");
	sp_span_label(SP_SPAN_NONE, "use", "x");
	sp_span_label(SP_SPAN_NONE, "users", "x");
	sp_span_label(SP_SPAN_NONE, "user,tenant", "x");
	sp_span_label(SP_SPAN_NONE, "", "x");
	sp_span_label(SP_SPAN_NONE, NULL, "x");
	sp_span_label(SP_SPAN_NONE, "user", NULL);
	ck_assert_uint_eq(current_set()->labels[0], 0);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
}
END_TEST

START_TEST(ninth_label_is_left_out)
{
	static const char *const keys[] = {"user", "tenant", "a", "b", "c",
					   "d",	   "e",	     "f", "g"};

	sp_span_enter(create("span", SP_SPAN_NONE), 0);
	for (size_t i = 0; i < SP_ARRAY_COUNT(keys); i++)
		sp_span_label(SP_SPAN_NONE, keys[i], keys[i]);
	for (size_t i = 0; i < SP_SPAN_LABELS_MAX; i++)
		ck_assert_str_eq(current_label(keys[i]), keys[i]);
	ck_assert_ptr_null(current_label("g"));
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_LABELS), 1);
	/* Another value of one that is there takes no place. */
	sp_span_label(SP_SPAN_NONE, "f", "other");
	ck_assert_str_eq(current_label("f"), "other");
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_LABELS), 1);
}
END_TEST

START_TEST(long_value_is_cut)
{
	char value[1000];

	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	sp_span_enter(create("span", SP_SPAN_NONE), 0);
	sp_span_label(SP_SPAN_NONE, "user", value);
	ck_assert_uint_eq(strlen(current_label("user")), 255);
}
END_TEST

START_TEST(long_value_is_cut_between_characters)
{
	/* So many bytes before the limit begins the last one. */
	static const char *const characters[] = {"\xc3\xa9", "\xe2\x82\xac",
						 "\xf0\x9f\x8e\xb5"};

	sp_span_enter(create("span", SP_SPAN_NONE), 0);
	for (size_t i = 0; i < SP_ARRAY_COUNT(characters); i++) {
		size_t bytes = strlen(characters[i]);

		for (size_t before = 0; before <= bytes; before++) {
			char value[300];

			memset(value, 'x', 255 - before);
			strcpy(value + 255 - before, characters[i]);
			strcat(value, "y");
			sp_span_label(SP_SPAN_NONE, "user", value);
			ck_assert_uint_eq(strlen(current_label("user")),
					  before == bytes ? 255 : 255 - before);
		}
	}
}
END_TEST

START_TEST(labels_outside_of_all_spans_are_nobodys)
{
	uint64_t span = create("span", SP_SPAN_NONE);

	sp_span_label(SP_SPAN_NONE, "user", "me");
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
	sp_span_close(span);
	sp_span_label(span, "user", "me");
	drain();
	sp_span_label(span, "user", "me");
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 2);
	ck_assert_uint_eq(sp_recording_used(recorded(), SP_SECTION_LABEL_SETS), 3);
}
END_TEST

START_TEST(same_labels_are_one_label_set)
{
	for (unsigned int i = 0; i < 100; i++) {
		uint64_t span = create("span", SP_SPAN_NONE);

		sp_span_enter(span, 0);
		sp_span_label(SP_SPAN_NONE, "user", i % 2 ? "me" : "you");
		sp_span_exit(span);
		sp_span_close(span);
	}
	/* None, other, without labels, and two. */
	ck_assert_uint_eq(sp_recording_used(recorded(), SP_SECTION_LABEL_SETS), 5);
}
END_TEST

static uint64_t capacity_of(enum sp_section_kind kind)
{
	return recorded()->header->sections[kind].capacity_items;
}

START_TEST(beyond_their_table_labels_go_and_the_name_stays)
{
	uint64_t capacity = capacity_of(SP_SECTION_LABEL_SETS);
	uint64_t span = create("span", SP_SPAN_NONE);

	sp_span_enter(span, 0);
	for (uint64_t i = 0; i < capacity + 10; i++) {
		char value[32];

		snprintf(value, sizeof(value), "%llu", (unsigned long long)i);
		sp_span_label(SP_SPAN_NONE, "user", value);
	}
	ck_assert_str_eq(current_name(), "span");
	ck_assert_ptr_null(current_label("user"));
	ck_assert_uint_gt(lost(SP_LOSS_SPAN_LABELS), 0);
	ck_assert_uint_le(sp_recording_used(recorded(), SP_SECTION_LABEL_SETS),
			  capacity / 2 + 2);
	sp_span_exit(span);
	sp_span_close(span);
	/* There is room for the names of all others. */
	span = create("next", SP_SPAN_NONE);
	sp_span_enter(span, 0);
	ck_assert_str_eq(current_name(), "next");
	sp_span_exit(span);
}
END_TEST

static uint64_t spans_so_called(const char *name)
{
	uint64_t paths = sp_recording_used(recorded(), SP_SECTION_SPAN_PATHS), spans = 0;

	for (uint32_t i = 0; i < paths; i++)
		if (strcmp(sp_recording_span_name(recorded(), i + 1), name) == 0)
			spans += sp_atomic_value(&test_path_at(recorded(), i)->spans);
	return spans;
}

static void make_spans(uint64_t count, uint64_t parent)
{
	for (uint64_t i = 0; i < count; i++) {
		char name[32];

		snprintf(name, sizeof(name), "name %llu", (unsigned long long)i);
		sp_span_close(create(name, parent));
		if (i % 50 == 0)
			drain();
	}
	drain();
}

/* Sum over all paths. */
static uint64_t all_spans(void)
{
	uint64_t paths = sp_recording_used(recorded(), SP_SECTION_SPAN_PATHS), spans = 0;

	for (uint32_t i = 0; i < paths; i++)
		spans += sp_atomic_value(&test_path_at(recorded(), i)->spans);
	return spans;
}

START_TEST(beyond_their_table_spans_are_others)
{
	uint64_t count = capacity_of(SP_SECTION_CALLSITES) + 1000;

	make_spans(count, SP_SPAN_NONE);
	ck_assert_uint_eq(all_spans(), count);
	ck_assert_uint_gt(spans_so_called("[other]"), 1000);
	ck_assert_uint_eq(spans_so_called("name 0"), 1);
	ck_assert_uint_ge(lost(SP_LOSS_SPAN_LABELS), spans_so_called("[other]"));
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_NO_ROOM), 0);
}
END_TEST

START_TEST(others_are_within_the_span_around_them)
{
	uint64_t count = capacity_of(SP_SECTION_SPAN_PATHS);
	uint64_t outer = create("outer", SP_SPAN_NONE);
	const struct sp_span_path *path;
	uint64_t span;

	make_spans(count, outer);
	span = create("one more name", outer);
	path = test_path_at(recorded(), span_of(span)->path);
	ck_assert_str_eq(sp_recording_span_name(recorded(), span_of(span)->path + 1),
			 "[other]");
	ck_assert_uint_eq(path->parent, span_of(outer)->path + 1);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_NO_ROOM), 0);
}
END_TEST

START_TEST(recursion_beyond_the_table_of_paths_is_kept)
{
	uint64_t count = capacity_of(SP_SECTION_SPAN_PATHS) + 500, span = SP_SPAN_NONE;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t next = create("recursion", span);

		ck_assert_uint_ne(next, SP_SPAN_NONE);
		sp_span_close(span);
		if (i % 20 == 0)
			drain();
		span = next;
	}
	sp_span_close(span);
	drain();
	ck_assert_uint_eq(all_spans(), count);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_NO_ROOM), 0);
}
END_TEST

/* --- ids --- */

static bool is_zero(const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i])
			return false;
	return true;
}

START_TEST(ids_are_kept_when_wanted)
{
	uint64_t one, other;

	one = create("span", SP_SPAN_NONE);
	sp_span_enter(one, 0);
	ck_assert(is_zero(current_set()->trace_id, 16));
	ck_assert(is_zero(current_set()->span_id, 8));
	sp_span_exit(one);
	set(true, 1000000);
	one = create("span", SP_SPAN_NONE);
	other = create("span", SP_SPAN_NONE);
	ck_assert_uint_ne(span_of(one)->label_set, span_of(other)->label_set);
	sp_span_enter(one, 0);
	ck_assert_mem_eq(current_set()->trace_id, span_of(one)->trace_id, 16);
	ck_assert_mem_eq(current_set()->span_id, &span_of(one)->span_id, 8);
	ck_assert(!is_zero(current_set()->trace_id, 16));
	ck_assert(!is_zero(current_set()->span_id, 8));
	ck_assert_mem_ne(span_of(one)->trace_id, span_of(other)->trace_id, 16);
	sp_span_exit(one);
}
END_TEST

START_TEST(children_are_of_their_parents_trace)
{
	uint64_t parent, child, grandchild;

	set(true, 1000000);
	parent = create("parent", SP_SPAN_NONE);
	child = create("child", parent);
	grandchild = create("grandchild", child);
	ck_assert_mem_eq(span_of(grandchild)->trace_id, span_of(parent)->trace_id, 16);
	ck_assert_uint_ne(span_of(child)->span_id, span_of(parent)->span_id);
	ck_assert_uint_ne(span_of(child)->span_id, span_of(grandchild)->span_id);
}
END_TEST

START_TEST(trace_that_came_from_elsewhere_goes_on)
{
	const struct sp_span_context remote = {.trace_id = {1, 2, 3}, .span_id = {4}};
	uint64_t span;

	set(true, 1000000);
	span = sp_span_create(site("span"), SP_SPAN_NONE, &remote);
	ck_assert_mem_eq(span_of(span)->trace_id, remote.trace_id, 16);
	ck_assert_mem_ne(&span_of(span)->span_id, remote.span_id, 8);
}
END_TEST

/* --- the head sampler --- */

START_TEST(part_of_all_roots_is_followed)
{
	unsigned int followed = 0;

	set(false, 250000);
	for (unsigned int i = 0; i < 10000; i++) {
		uint64_t span = create("span", SP_SPAN_NONE);

		ck_assert_uint_ne(span, SP_SPAN_NONE);
		followed += span != SP_SPAN_UNSAMPLED;
		sp_span_close(span);
	}
	/* 2500, and five standard deviations. */
	ck_assert_uint_gt(followed, 2500 - 217);
	ck_assert_uint_lt(followed, 2500 + 217);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
}
END_TEST

START_TEST(children_share_their_roots_lot)
{
	unsigned int both[2] = {0, 0};

	set(false, 500000);
	for (unsigned int i = 0; i < 200; i++) {
		uint64_t root = create("root", SP_SPAN_NONE), child;
		bool is_followed = root != SP_SPAN_UNSAMPLED;

		sp_span_enter(root, 0);
		child = create("child", SP_SPAN_CURRENT);
		ck_assert_int_eq(child != SP_SPAN_UNSAMPLED, is_followed);
		sp_span_enter(child, 0);
		if (is_followed)
			ck_assert_str_eq(current_name(), "child");
		else
			ck_assert_ptr_null(current_name());
		sp_span_exit(child);
		sp_span_close(child);
		sp_span_exit(root);
		sp_span_close(root);
		both[is_followed]++;
	}
	ck_assert_uint_gt(both[0], 20);
	ck_assert_uint_gt(both[1], 20);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 0);
	drain();
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->spans), both[1]);
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 1)->spans), both[1]);
}
END_TEST

START_TEST(nothing_is_followed_at_probability_0)
{
	set(false, 0);
	for (unsigned int i = 0; i < 1000; i++)
		ck_assert_uint_eq(create("span", SP_SPAN_NONE), SP_SPAN_UNSAMPLED);
	ck_assert_uint_eq(sp_recording_used(recorded(), SP_SECTION_SPANS), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_labels");
	TCase *tc = tcase_create("span_labels");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, end_spans);
	tcase_add_test(tc, label_of_the_current_span_counts_at_once);
	tcase_add_test(tc, label_of_another_span_counts_when_it_is_entered);
	tcase_add_test(tc, only_recorded_keys_are_kept);
	tcase_add_test(tc, ninth_label_is_left_out);
	tcase_add_test(tc, long_value_is_cut);
	tcase_add_test(tc, long_value_is_cut_between_characters);
	tcase_add_test(tc, labels_outside_of_all_spans_are_nobodys);
	tcase_add_test(tc, same_labels_are_one_label_set);
	tcase_add_test(tc, beyond_their_table_labels_go_and_the_name_stays);
	tcase_add_test(tc, beyond_their_table_spans_are_others);
	tcase_add_test(tc, others_are_within_the_span_around_them);
	tcase_add_test(tc, recursion_beyond_the_table_of_paths_is_kept);
	tcase_add_test(tc, ids_are_kept_when_wanted);
	tcase_add_test(tc, children_are_of_their_parents_trace);
	tcase_add_test(tc, trace_that_came_from_elsewhere_goes_on);
	tcase_add_test(tc, part_of_all_roots_is_followed);
	tcase_add_test(tc, children_share_their_roots_lot);
	tcase_add_test(tc, nothing_is_followed_at_probability_0);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
