/*
 * The samples that reporters of events are told of, and when they are asked to flush.
 */
#include "test_span_reporters_fixture.h"

/* --- samples --- */

static void produce(struct sp_slot *slot, uint32_t stack, uint32_t label_set)
{
	struct sp_ring *ring = test_ring_of(recorded(), slot);
	struct sp_cpu_record *record =
		(void *)(ring->data + atomic_load(&ring->head) % ring->capacity_bytes);

	ck_assert(test_produce(ring, stack, 2, TEST_END_OUTERMOST));
	record->label_set = label_set;
}

START_TEST(samples_come_in_batches_with_their_spans)
{
	struct sp_slot *slot = test_thread(recorded(), 1, true);
	uint64_t id = create("span", SP_SPAN_NONE);

	for (uint32_t i = 0; i < 2 * SAMPLES_MAX + 10; i++)
		produce(slot, i, i % 2 ? span_of(id)->label_set : SP_LABEL_SET_NONE);
	go_round();
	ck_assert_uint_eq(recorder->samples, 2 * SAMPLES_MAX + 10);
	ck_assert_uint_eq(recorder->sampled_ns,
			  2 * TEST_PERIOD_NS * (2 * SAMPLES_MAX + 10));
	ck_assert_uint_eq(recorder->last_labelled, SAMPLES_MAX + 5);
	ck_assert_uint_eq(recorder->largest_batch, SAMPLES_MAX);
	ck_assert_uint_eq(recorder->missed_samples, 0);
	/* Once. */
	go_round();
	ck_assert_uint_eq(recorder->samples, 2 * SAMPLES_MAX + 10);
}
END_TEST

START_TEST(samples_that_a_handler_took_are_counted_as_missed)
{
	struct sp_slot *slot = test_thread(recorded(), 1, true);

	for (uint32_t i = 0; i < 7; i++)
		produce(slot, i, SP_LABEL_SET_NONE);
	drain_elsewhere();
	go_round();
	ck_assert_uint_eq(recorder->samples, 0);
	produce(slot, 1, SP_LABEL_SET_NONE);
	go_round();
	ck_assert_uint_eq(recorder->samples, 1);
	ck_assert_uint_eq(recorder->missed_samples, 7);
}
END_TEST

START_TEST(samples_that_nobody_was_told_of_are_counted_at_the_end)
{
	struct sp_slot *slot = test_thread(recorded(), 1, true);

	for (uint32_t i = 0; i < 7; i++)
		produce(slot, i, SP_LABEL_SET_NONE);
	drain_elsewhere();
	go_last_round();
	ck_assert_uint_eq(recorder->samples, 0);
	ck_assert_uint_eq(recorder->missed_samples, 7);
}
END_TEST

/* --- when to flush --- */

START_TEST(flush_comes_after_so_many_samples)
{
	struct sp_slot *slot = test_thread(recorded(), 1, true);

	now_ns -= INTERVAL_NS; /* it is not time yet */
	for (uint32_t i = 0; i < SAMPLES_MAX - 1; i++)
		produce(slot, i, SP_LABEL_SET_NONE);
	go_round();
	ck_assert_uint_eq(recorder->samples, SAMPLES_MAX - 1);
	ck_assert_uint_eq(recorder->flushes, 0);
	now_ns -= INTERVAL_NS;
	produce(slot, 1, SP_LABEL_SET_NONE);
	go_round();
	ck_assert_uint_eq(recorder->flushes, 1);
}
END_TEST

START_TEST(flush_comes_when_it_is_time)
{
	open_with_nothing_to_tell();
	now_ns -= INTERVAL_NS;
	go_round();
	ck_assert_uint_eq(recorder->calls, 1);
	ck_assert_uint_eq(recorder->flushes, 0);
	go_round();
	ck_assert_uint_eq(recorder->flushes, 1);
}
END_TEST

START_TEST(flush_comes_at_the_end)
{
	open_with_nothing_to_tell();
	now_ns -= INTERVAL_NS;
	go_last_round();
	ck_assert_uint_eq(recorder->flushes, 1);
	/* Once. */
	now_ns -= INTERVAL_NS;
	go_last_round();
	ck_assert_uint_eq(recorder->flushes, 1);
}
END_TEST

START_TEST(flush_comes_before_their_end)
{
	open_with_nothing_to_tell();
	now_ns -= INTERVAL_NS;
	go_round();
	sp_span_reporters_destroy(reporters);
	reporters = NULL;
	ck_assert_uint_eq(recorder->flushes, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_reporters_samples");
	TCase *tc = make_case("one", setup);

	tcase_add_test(tc, samples_come_in_batches_with_their_spans);
	tcase_add_test(tc, samples_that_a_handler_took_are_counted_as_missed);
	tcase_add_test(tc, samples_that_nobody_was_told_of_are_counted_at_the_end);
	tcase_add_test(tc, flush_comes_after_so_many_samples);
	tcase_add_test(tc, flush_comes_when_it_is_time);
	tcase_add_test(tc, flush_comes_at_the_end);
	tcase_add_test(tc, flush_comes_before_their_end);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
