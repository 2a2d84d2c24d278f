/*
 * What samples of CPU and heap profiles say of the span that they belong to.
 */
#include "profile_labels.h"
#include "test_heap_fixture.h"
#include "test_span_fixture.h"

#include <check.h>

static struct sp_recording recording;
static uint32_t path, label_set;

static void setup(void)
{
	ck_assert_int_eq(test_recording_make(&recording, "/proc/nonexistent",
					     SP_RECORDING_BYTES_MIN * 8),
			 0);
	test_spans_begin(&recording);
	test_heap_begin(&recording);
	recording.header->heap_rate_bytes = 1;
	ck_assert_int_eq(test_drain(&recording), 0);
	path = test_named_path(&recording, "query",
			       test_named_path(&recording, "request", 0) + 1);
	label_set = test_label_set(&recording, path);
}

static void teardown(void)
{
	sp_recording_detach(&recording);
}

static struct sp_view_sample labels_of(uint32_t set)
{
	static struct sp_profile_ids ids;
	struct sp_view_sample sample = {.label_count = 0};

	sp_profile_add_labels(&recording, set, &ids, &sample);
	return sample;
}

/* NULL if there is none of that key. */
static const char *value_of(const struct sp_view_sample *sample, const char *key)
{
	const char *found = NULL;

	for (uint32_t i = 0; i < sample->label_count; i++) {
		if (strcmp(sample->labels[i].key, key) != 0)
			continue;
		ck_assert_ptr_null(found);
		found = sample->labels[i].str;
		ck_assert_ptr_nonnull(found);
	}
	return found;
}

START_TEST(span_is_named_by_its_innermost_callsite)
{
	struct sp_view_sample sample = labels_of(label_set);

	ck_assert_uint_eq(sample.label_count, 1);
	ck_assert_str_eq(value_of(&sample, "span_name"), "query");
}
END_TEST

START_TEST(sample_outside_of_spans_has_no_labels)
{
	ck_assert_uint_eq(labels_of(SP_LABEL_SET_NONE).label_count, 0);
}
END_TEST

START_TEST(label_set_without_room_is_other)
{
	struct sp_view_sample sample = labels_of(SP_LABEL_SET_OTHER);

	ck_assert_uint_eq(sample.label_count, 1);
	ck_assert_str_eq(value_of(&sample, "span_name"), "[other]");
	/* Of a hook that was killed before it had filled it. */
	atomic_store(&test_label_set_at(&recording, label_set)->is_filled, 0);
	sample = labels_of(label_set);
	ck_assert_str_eq(value_of(&sample, "span_name"), "[other]");
}
END_TEST

START_TEST(ids_are_hexadecimal_in_their_own_order)
{
	struct sp_label_set *set = test_label_set_at(&recording, label_set);
	struct sp_view_sample sample;

	for (uint8_t i = 0; i < 16; i++)
		set->trace_id[i] = (uint8_t)(i * 17);
	for (uint8_t i = 0; i < 8; i++)
		set->span_id[i] = (uint8_t)(0xf0 + i);
	sample = labels_of(label_set);
	ck_assert_str_eq(value_of(&sample, "trace_id"),
			 "00112233445566778899aabbccddeeff");
	ck_assert_str_eq(value_of(&sample, "span_id"), "f0f1f2f3f4f5f6f7");
}
END_TEST

START_TEST(recorded_labels_come_as_they_are)
{
	struct sp_view_sample sample;

	for (unsigned int i = 0; i < SP_SPAN_LABELS_MAX; i++) {
		char key[8];

		snprintf(key, sizeof(key), "key%u", i);
		test_label(&recording, label_set, i, key, key + 2);
	}
	sample = labels_of(label_set);
	ck_assert_uint_eq(sample.label_count, 1 + SP_SPAN_LABELS_MAX);
	ck_assert_str_eq(value_of(&sample, "key0"), "y0");
	ck_assert_str_eq(value_of(&sample, "key7"), "y7");
}
END_TEST

START_TEST(recorded_label_never_takes_the_name_of_ours)
{
	struct sp_view_sample sample;

	test_label(&recording, label_set, 0, "span_name", "mine");
	test_label(&recording, label_set, 1, "bytes", "many");
	test_label(&recording, label_set, 2, "user", "me");
	sample = labels_of(label_set);
	ck_assert_uint_eq(sample.label_count, 2);
	ck_assert_str_eq(value_of(&sample, "span_name"), "query");
	ck_assert_str_eq(value_of(&sample, "user"), "me");
}
END_TEST

START_TEST(label_without_a_value_is_left_out)
{
	struct sp_view_sample sample;

	test_label(&recording, label_set, 0, "user", "");
	test_label(&recording, label_set, 1, "tenant", "t");
	sample = labels_of(label_set);
	ck_assert_uint_eq(sample.label_count, 2);
	ck_assert_str_eq(value_of(&sample, "tenant"), "t");
}
END_TEST

/* One CPU sample of stack 0 in a label set. */
static void produce_in(struct sp_slot *slot, uint32_t set, uint32_t periods)
{
	struct sp_ring *ring = test_ring_of(&recording, slot);
	struct sp_cpu_record *record =
		(void *)(ring->data + atomic_load(&ring->head) % ring->capacity_bytes);

	ck_assert(test_produce(ring, 0, periods, TEST_END_OUTERMOST));
	record->label_set = set;
}

START_TEST(cpu_samples_of_one_stack_stay_apart_by_label_set)
{
	struct sp_slot *slot = test_thread(&recording, 1, true);
	uint32_t outer = test_label_set(&recording, path - 1);
	int64_t query = 0, request = 0, outside = 0;
	struct sp_cpu_profile *profile;
	const struct sp_profile_view *view;
	struct sp_view_sample sample;
	unsigned int samples = 0;

	produce_in(slot, label_set, 1);
	produce_in(slot, outer, 2);
	produce_in(slot, label_set, 4);
	produce_in(slot, SP_LABEL_SET_NONE, 8);
	/* No such label set: the sample is not lost. */
	produce_in(slot, 4711, 16);
	atomic_store(&slot->cpu_ns, 31 * TEST_PERIOD_NS);
	ck_assert_int_eq(test_drain(&recording), 0);
	profile = sp_cpu_profile_create(&recording);
	ck_assert_ptr_nonnull(profile);
	view = sp_cpu_profile_view(profile);
	while (view->next_sample(view->cursor, &sample) == 1) {
		const char *name = value_of(&sample, "span_name");

		samples++;
		ck_assert_str_eq(value_of(&sample, "mode"), "user");
		if (!name)
			outside += sample.values[1];
		else if (strcmp(name, "query") == 0)
			query += sample.values[1];
		else if (strcmp(name, "request") == 0)
			request += sample.values[1];
	}
	ck_assert_uint_eq(samples, 3);
	ck_assert_int_eq(query, 5 * TEST_PERIOD_NS);
	ck_assert_int_eq(request, 2 * TEST_PERIOD_NS);
	ck_assert_int_eq(outside, 24 * TEST_PERIOD_NS);
	sp_cpu_profile_destroy(profile);
}
END_TEST

START_TEST(every_heap_profile_tells_the_allocating_span)
{
	struct test_block block = {.cell = test_heap_add_cell(&recording),
				   .size_bytes = 100};
	struct sp_heap_profile *profile;

	test_heap_cell(&recording, block.cell)->labels = label_set;
	test_heap_live(test_heap_entry(&recording, 0), &block, 0x1000);
	test_heap_freed(test_heap_entry(&recording, 1), &block);
	profile = sp_heap_profile_create(&recording);
	ck_assert_ptr_nonnull(profile);
	for (unsigned int which = 0; which < SP_HEAP_VIEWS; which++) {
		const struct sp_profile_view *view =
			sp_heap_profile_view(profile, (enum sp_heap_view)which);
		struct sp_view_sample sample;

		ck_assert_int_eq(view->next_sample(view->cursor, &sample), 1);
		ck_assert_str_eq(value_of(&sample, "span_name"), "query");
		ck_assert_str_eq(sample.labels[0].key, "bytes");
		ck_assert_int_eq(view->next_sample(view->cursor, &sample), 0);
	}
	sp_heap_profile_destroy(profile);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("profile_labels");
	TCase *tc = tcase_create("profile_labels");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, span_is_named_by_its_innermost_callsite);
	tcase_add_test(tc, sample_outside_of_spans_has_no_labels);
	tcase_add_test(tc, label_set_without_room_is_other);
	tcase_add_test(tc, ids_are_hexadecimal_in_their_own_order);
	tcase_add_test(tc, recorded_labels_come_as_they_are);
	tcase_add_test(tc, recorded_label_never_takes_the_name_of_ours);
	tcase_add_test(tc, label_without_a_value_is_left_out);
	tcase_add_test(tc, cpu_samples_of_one_stack_stay_apart_by_label_set);
	tcase_add_test(tc, every_heap_profile_tells_the_allocating_span);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
