/*
 * What reporters of events are told of real spans. The rules of each call are the
 * recorder's (event_recorder.h); here is what must have been told in the end.
 */
#include "event_recorder.h"
#include "sp_heap_capture.h"
#include "sp_poisson.h"
#include "span_reporters.h"
#include "test_heap_fixture.h"
#include "test_span_capture_fixture.h"

#include <pthread.h>

#define RECORDING_BYTES (UINT64_C(64) << 20)
#define INTERVAL_NS UINT64_C(1000)
#define SAMPLES_MAX 50U

static struct event_recorder *recorder;
static struct sp_span_reporters *reporters;
static uint64_t now_ns;

static const struct sp_span_settings plain = {
	.has_exact_cpu = true, .probability_millionths = 1000000, .labels = "user"};

static struct sp_reporter_config config_of(uint64_t interval_ns)
{
	return (struct sp_reporter_config){
		.program = "tested",
		.dir_fd = -1,
		.heap_interval_ns = interval_ns,
		.samples_max = SAMPLES_MAX,
		.period_ns = (int64_t)TEST_PERIOD_NS,
		.has_exact_cpu = true,
		.probability = 1,
	};
}

static void begin(uint64_t interval_ns)
{
	const struct sp_reporter_ops *list[] = {&recorder->ops};
	const struct sp_reporter_config config = config_of(interval_ns);

	reporters = sp_span_reporters_create(absorber, list, 1, &config);
	ck_assert_ptr_nonnull(reporters);
}

static void setup_without_reporters(void)
{
	begin_spans(&plain, RECORDING_BYTES);
	test_heap_begin(recorded());
	recorded()->header->heap_rate_bytes = 1;
	atomic_store(&recorded()->header->span_ticks_per_second, TEST_TICKS_PER_SECOND);
	recorder = event_recorder_create(0);
	reporters = NULL;
	now_ns = 1000000;
}

static void setup(void)
{
	setup_without_reporters();
	begin(INTERVAL_NS);
}

static void teardown(void)
{
	sp_heap_self = NULL;
	if (reporters)
		sp_span_reporters_destroy(reporters);
	ck_assert_uint_eq(recorder->inits, recorder->finis);
	ck_assert_uint_eq(recorder->unflushed_calls, recorder->fails_at ? 1 : 0);
	event_recorder_destroy(recorder);
	end_spans();
}

/* As the collector does it. */
static bool try_round(void)
{
	if (!sp_absorber_try_lock(absorber, (uint32_t)sp_syscall0(SYS_gettid)))
		return false;
	sp_absorber_drain(absorber);
	sp_span_keep_ahead(absorber);
	sp_span_reporters_look(reporters);
	sp_absorber_unlock(absorber);
	sp_span_reporters_tell(reporters, now_ns);
	now_ns += INTERVAL_NS;
	return true;
}

static void go_round(void)
{
	ck_assert(try_round());
}

/* As a handler does it on some other thread. */
static void drain_elsewhere(void)
{
	ck_assert(sp_absorber_try_lock(absorber, 1));
	sp_absorber_drain(absorber);
	sp_absorber_unlock(absorber);
}

static void spend_ticks(void)
{
	uint64_t start = sp_clock_ticks();

	while (sp_clock_ticks() - start < 4000)
		;
}

static uint64_t ns_of(uint64_t ticks)
{
	return (uint64_t)((double)ticks * 1e9 / (double)TEST_TICKS_PER_SECOND);
}

/* --- life of a span --- */

START_TEST(span_is_created_has_its_time_and_is_destroyed)
{
	uint64_t id = create("span", SP_SPAN_NONE), busy_ticks, life_ticks;
	const struct recorded_span *span;

	spend_ticks();
	sp_span_enter(id, 0);
	spend_ticks();
	sp_span_exit(id);
	sp_span_close(id);
	busy_ticks = busy_of(id);
	life_ticks =
		sp_atomic_value(&span_of(id)->closed_ticks) - span_of(id)->created_ticks;
	go_round();
	span = event_recorder_span(recorder, id);
	ck_assert_ptr_nonnull(span);
	ck_assert_str_eq(span->name, "span");
	ck_assert_uint_ne(span->destroyed_at, 0);
	ck_assert_uint_eq(span->busy_ns, ns_of(busy_ticks));
	ck_assert_uint_eq(span->idle_ns, ns_of(life_ticks - busy_ticks));
	ck_assert_uint_gt(span->user_ns + span->system_ns, 0);
	ck_assert_uint_eq(span->allocation_calls, 0);
	ck_assert_uint_eq(span->heap_calls, 0);
	ck_assert_uint_eq(recorder->flushes, 1);
}
END_TEST

START_TEST(deltas_of_an_open_span_add_up)
{
	uint64_t id = create("span", SP_SPAN_NONE);
	static struct sp_heap_thread heap;
	const struct recorded_span *span;

	sp_heap_self = &heap;
	for (unsigned int i = 1; i <= 5; i++) {
		sp_span_enter(id, 0);
		heap.allocations += i;
		heap.bytes += 100 * i;
		spend_ticks();
		sp_span_exit(id);
		go_round();
		span = event_recorder_span(recorder, id);
		ck_assert_uint_eq(span->cpu_calls, i);
		ck_assert_uint_eq(span->allocation_calls, i);
		ck_assert_uint_eq(span->busy_ns, ns_of(busy_of(id)));
		ck_assert_uint_eq(span->user_ns + span->system_ns,
				  sp_atomic_value(&span_of(id)->cpu_ns));
		ck_assert_uint_eq(span->allocations, i * (i + 1) / 2);
		ck_assert_uint_eq(span->alloc_bytes, 50 * i * (i + 1));
		ck_assert_uint_eq(span->destroyed_at, 0);
	}
}
END_TEST

START_TEST(without_news_nothing_is_told)
{
	uint64_t id = create("span", SP_SPAN_NONE);
	unsigned int calls;

	sp_span_enter(id, 0);
	go_round();
	calls = recorder->calls;
	ck_assert_uint_eq(calls, 1); /* created */
	go_round();
	ck_assert_uint_eq(recorder->calls, calls);
	ck_assert_uint_eq(recorder->flushes, 1);
	sp_span_exit(id);
}
END_TEST

START_TEST(metadata_say_all_that_is_known)
{
	const struct sp_span_site site = {
		.name = "name", .target = "target", .file = "file.c", .line = 17};
	const struct sp_span_context remote = {.trace_id = {1, 2, 3}};
	uint64_t cause = create("cause", SP_SPAN_NONE);
	uint64_t id = sp_span_create(sp_span_callsite(&site), SP_SPAN_NONE, &remote);
	const struct sp_span_info *info;
	uint64_t real_ns = sp_clock_realtime_ns();

	/* The true rate, as the time of creation depends on it. */
	atomic_store(&recorded()->header->span_ticks_per_second, 0);
	recorded()->header->start_realtime_ns = real_ns;
	sp_clock_read_both(&recorded()->header->start_monotonic_ns,
			   &recorded()->header->start_cycles);
	sp_span_label(id, "user", "me");
	sp_span_follows(id, cause);
	go_round();
	info = event_recorder_span(recorder, id)->info;
	ck_assert_str_eq(info->name, "name");
	ck_assert_str_eq(info->target, "target");
	ck_assert_str_eq(info->file, "file.c");
	ck_assert_uint_eq(info->line, 17);
	ck_assert_uint_eq(info->follows, cause);
	ck_assert_mem_eq(info->trace_id, remote.trace_id, 16);
	ck_assert_uint_eq(info->span_id, span_of(id)->span_id);
	ck_assert_uint_eq(info->label_count, 1);
	ck_assert_str_eq(info->labels[0].key, "user");
	ck_assert_str_eq(info->labels[0].str, "me");
	ck_assert_int_lt(info->created_ns, (int64_t)real_ns + 1000000);
	ck_assert_int_gt(info->created_ns, (int64_t)real_ns - 1000000000);
	ck_assert_str_eq(event_recorder_span(recorder, cause)->info->target, "");
}
END_TEST

/* --- scope --- */

START_TEST(spans_around_come_first)
{
	uint64_t outer = create("outer", SP_SPAN_NONE), middle, inner;
	const struct recorded_span *span;

	/* Nobody leaves these, so that they have nothing to tell. */
	sp_span_enter(outer, 0);
	middle = create("middle", SP_SPAN_CURRENT);
	sp_span_enter(middle, 0);
	inner = create("inner", SP_SPAN_CURRENT);
	sp_span_close(inner);
	go_round();
	span = event_recorder_span(recorder, inner);
	ck_assert_uint_eq(span->scope_count, 2);
	ck_assert_uint_eq(span->scope[0], middle);
	ck_assert_uint_eq(span->scope[1], outer);
	ck_assert_uint_eq(event_recorder_span(recorder, middle)->scope_count, 1);
	ck_assert_uint_lt(event_recorder_span(recorder, outer)->created_at,
			  event_recorder_span(recorder, middle)->created_at);
	sp_span_exit(middle);
	sp_span_exit(outer);
}
END_TEST

START_TEST(spans_around_come_first_wherever_their_entries_are)
{
	uint64_t ids[3], outer;
	const struct recorded_span *span;

	for (unsigned int i = 0; i < 3; i++)
		ids[i] = create("old", SP_SPAN_NONE);
	outer = create("outer", SP_SPAN_NONE);
	for (unsigned int i = 0; i < 3; i++)
		sp_span_close(ids[i]);
	go_round();
	/* In entries before that of the span around them, which ends at once. */
	ids[0] = create("child", outer);
	ids[1] = create("grandchild", ids[0]);
	ck_assert_uint_lt((uint32_t)ids[1], (uint32_t)outer);
	sp_span_close(ids[1]);
	sp_span_close(ids[0]);
	sp_span_close(outer);
	go_round();
	span = event_recorder_span(recorder, ids[1]);
	ck_assert_uint_eq(span->scope_count, 2);
	ck_assert_uint_eq(span->scope[1], outer);
	ck_assert_uint_ne(span->destroyed_at, 0);
}
END_TEST

START_TEST(span_around_that_is_destroyed_is_not_told)
{
	uint64_t outer = create("outer", SP_SPAN_NONE), inner = create("inner", outer);
	uint64_t later;

	sp_span_close(outer);
	go_round();
	later = create("later", inner);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, inner)->scope_count, 1);
	ck_assert_uint_eq(event_recorder_span(recorder, later)->scope_count, 1);
	ck_assert_uint_eq(event_recorder_span(recorder, later)->scope[0], inner);
}
END_TEST

START_TEST(deep_scope_is_cut)
{
	uint64_t id = SP_SPAN_NONE;

	for (unsigned int i = 0; i < 300; i++)
		id = create("recursion", id);
	go_round();
	ck_assert_uint_eq(recorder->count, 300);
	ck_assert_uint_eq(event_recorder_span(recorder, id)->scope_count,
			  SP_SPAN_SCOPE_MAX);
	ck_assert_uint_eq(recorder->spans[0].scope_count, 0);
}
END_TEST

/* --- memory --- */

static void add_block(uint64_t number, uint32_t mark, uint64_t size_bytes)
{
	const struct test_block block = {.size_bytes = size_bytes};
	struct sp_live_block *entry = test_heap_entry(recorded(), number);

	test_heap_live(entry, &block, 0x1000 * (number + 1));
	entry->span = mark;
	sp_span_add_live(mark, 1, (int64_t)size_bytes);
}

static void free_block(uint64_t number)
{
	struct sp_live_block *entry = test_heap_entry(recorded(), number);

	sp_span_add_live(entry->span, -1,
			 -(int64_t)(entry->size_and_thread & SP_HEAP_SIZE_MASK));
	atomic_store(&entry->word, SP_LIVE_FREE);
}

static uint32_t mark_in(uint64_t id)
{
	uint32_t mark;

	sp_span_enter(id, 0);
	mark = sp_span_mark().span;
	sp_span_exit(id);
	return mark;
}

START_TEST(memory_is_told_as_totals)
{
	uint64_t id = create("span", SP_SPAN_NONE), other = create("other", SP_SPAN_NONE);
	uint32_t mark = mark_in(id);
	const struct recorded_span *span;

	add_block(0, mark, 100);
	add_block(1, mark, 50);
	add_block(2, mark_in(other), 7);
	add_block(3, 0, 1000);
	go_round();
	span = event_recorder_span(recorder, id);
	ck_assert_uint_eq(span->heap_bytes, 150);
	ck_assert_uint_eq(span->heap_count, 2);
	ck_assert_uint_eq(event_recorder_span(recorder, other)->heap_bytes, 7);
	free_block(0);
	go_round();
	span = event_recorder_span(recorder, id);
	ck_assert_uint_eq(span->heap_bytes, 50);
	ck_assert_uint_eq(span->heap_calls, 2);
	/* Nothing left is told once. */
	free_block(1);
	go_round();
	go_round();
	span = event_recorder_span(recorder, id);
	ck_assert_uint_eq(span->heap_bytes, 0);
	ck_assert_uint_eq(span->heap_count, 0);
	ck_assert_uint_eq(span->heap_calls, 3);
	ck_assert_uint_eq(event_recorder_span(recorder, other)->heap_calls, 4);
}
END_TEST

START_TEST(closed_span_lasts_as_long_as_its_memory)
{
	uint64_t id = create("span", SP_SPAN_NONE);

	add_block(0, mark_in(id), 100);
	sp_span_close(id);
	go_round();
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->destroyed_at, 0);
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_calls, 2);
	free_block(0);
	go_round();
	ck_assert_uint_ne(event_recorder_span(recorder, id)->destroyed_at, 0);
}
END_TEST

START_TEST(evicted_span_is_destroyed_and_its_memory_nobodys)
{
	uint64_t id = create("span", SP_SPAN_NONE), next;

	absorber->held_spans_max = 0;
	add_block(0, mark_in(id), 100);
	sp_span_close(id);
	go_round();
	ck_assert_uint_ne(event_recorder_span(recorder, id)->destroyed_at, 0);
	next = create("next", SP_SPAN_NONE);
	ck_assert_uint_eq((uint32_t)next, (uint32_t)id);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, next)->heap_calls, 0);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_EVICTED), 1);
}
END_TEST

START_TEST(totals_keep_their_distance)
{
	uint64_t id = create("span", SP_SPAN_NONE);

	add_block(0, mark_in(id), 100);
	go_round();
	for (unsigned int i = 0; i < 10; i++) {
		now_ns -= INTERVAL_NS; /* no time goes by */
		go_round();
	}
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_calls, 1);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_calls, 2);
}
END_TEST

START_TEST(sampled_memory_is_told_as_what_it_stands_for)
{
	uint64_t id = create("span", SP_SPAN_NONE);
	double weight = sp_poisson_weight(4096, UINT64_C(512) << 10);

	recorded()->header->heap_rate_bytes = UINT64_C(512) << 10;
	add_block(0, mark_in(id), 4096);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_count,
			  (uint64_t)(weight + 0.5));
	ck_assert_uint_eq(event_recorder_span(recorder, id)->heap_bytes,
			  (uint64_t)(weight * 4096 + 0.5));
}
END_TEST

/* --- nothing is lost --- */

START_TEST(other_threads_leave_spans_to_the_reporters)
{
	uint64_t ids[20];

	for (unsigned int i = 0; i < 20; i++) {
		ids[i] = create("span", SP_SPAN_NONE);
		sp_span_enter(ids[i], 0);
		spend_ticks();
		sp_span_exit(ids[i]);
		if (i % 2)
			sp_span_close(ids[i]);
		drain_elsewhere();
	}
	ck_assert_uint_eq(recorder->calls, 0);
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->spans), 0);
	go_round();
	ck_assert_uint_eq(recorder->count, 20);
	for (unsigned int i = 0; i < 20; i++) {
		const struct recorded_span *span = event_recorder_span(recorder, ids[i]);

		ck_assert_uint_eq(span->busy_ns, ns_of(busy_of(ids[i])));
		ck_assert_uint_eq(span->destroyed_at != 0, i % 2);
	}
}
END_TEST

START_TEST(what_was_absorbed_before_is_told_too)
{
	uint64_t id = create("span", SP_SPAN_NONE);

	sp_span_enter(id, 0);
	spend_ticks();
	sp_span_exit(id);
	drain();
	begin(INTERVAL_NS);
	sp_span_enter(id, 0);
	spend_ticks();
	sp_span_exit(id);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->busy_ns, ns_of(busy_of(id)));
}
END_TEST

static uint64_t reused;

static void take_at_once(uint32_t index)
{
	sp_span_give_back(index);
	if (!reused)
		reused = create("next", SP_SPAN_NONE);
}

START_TEST(entry_that_is_taken_at_once_tells_of_both_spans)
{
	uint64_t id = create("span", SP_SPAN_NONE);

	absorber->give_span_back = take_at_once;
	reused = 0;
	sp_span_close(id);
	go_round();
	ck_assert_uint_eq((uint32_t)reused, (uint32_t)id);
	ck_assert_uint_ne(event_recorder_span(recorder, id)->destroyed_at, 0);
	go_round();
	ck_assert_ptr_nonnull(event_recorder_span(recorder, reused));
	ck_assert_uint_eq(event_recorder_span(recorder, reused)->destroyed_at, 0);
}
END_TEST

START_TEST(clock_that_becomes_known_better_takes_nothing_back)
{
	uint64_t id = create("span", SP_SPAN_NONE), busy_ticks = 0;

	sp_span_enter(id, 0);
	for (unsigned int i = 0; i < 500; i++)
		spend_ticks();
	sp_span_exit(id);
	for (unsigned int i = 0; i < 20; i++) {
		/* Shorter than what the rates differ by. */
		sp_span_enter(id, 0);
		sp_span_exit(id);
		busy_ticks = busy_of(id);
		atomic_store(&recorded()->header->span_ticks_per_second,
			     TEST_TICKS_PER_SECOND + (i % 2 ? 1000000 : 0));
		go_round();
	}
	/* To within the difference of the rates. */
	ck_assert_uint_ge(event_recorder_span(recorder, id)->busy_ns,
			  ns_of(busy_ticks) * 999 / 1000);
	ck_assert_uint_le(event_recorder_span(recorder, id)->busy_ns, ns_of(busy_ticks));
}
END_TEST

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

/* --- several reporters --- */

static struct event_recorder *others[2];

static void begin_three(void)
{
	const struct sp_reporter_ops *list[4] = {&sp_reporter_pprof, &recorder->ops};
	const struct sp_reporter_config config = config_of(INTERVAL_NS);

	for (unsigned int i = 0; i < 2; i++) {
		if (!others[i])
			others[i] = event_recorder_create(i + 1);
		list[i + 2] = &others[i]->ops;
	}
	reporters = sp_span_reporters_create(absorber, list, 4, &config);
}

static void end_others(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		event_recorder_destroy(others[i]);
		others[i] = NULL;
	}
}

static void live_a_while(void)
{
	for (unsigned int i = 0; i < 10; i++) {
		uint64_t id = create("span", SP_SPAN_NONE);

		sp_span_enter(id, 0);
		spend_ticks();
		sp_span_exit(id);
		sp_span_close(id);
		go_round();
	}
}

START_TEST(all_reporters_are_told_the_same)
{
	begin_three();
	live_a_while();
	for (unsigned int i = 0; i < 2; i++) {
		ck_assert_uint_eq(others[i]->calls, recorder->calls);
		ck_assert_uint_eq(others[i]->flushes, recorder->flushes);
		for (size_t span = 0; span < recorder->count; span++)
			ck_assert_uint_eq(others[i]->spans[span].busy_ns,
					  recorder->spans[span].busy_ns);
	}
	sp_span_reporters_destroy(reporters);
	reporters = NULL;
	ck_assert_uint_eq(others[0]->finis, 1);
	end_others();
}
END_TEST

START_TEST(reporter_that_fails_is_the_only_one_switched_off)
{
	begin_three();
	others[0]->fails_at = 7;
	live_a_while();
	ck_assert_uint_eq(others[0]->calls, 7);
	ck_assert_uint_eq(others[0]->finis, 1);
	ck_assert_uint_eq(others[1]->calls, recorder->calls);
	ck_assert_uint_gt(recorder->calls, 30);
	sp_span_reporters_destroy(reporters);
	reporters = NULL;
	ck_assert_uint_eq(others[0]->finis, 1);
	end_others();
}
END_TEST

START_TEST(reporter_that_does_not_start_is_not_called)
{
	others[0] = event_recorder_create(1);
	others[0]->error = -EACCES;
	begin_three();
	live_a_while();
	ck_assert_uint_eq(others[0]->calls + others[0]->finis, 0);
	ck_assert_uint_eq(others[1]->calls, recorder->calls);
	sp_span_reporters_destroy(reporters);
	reporters = NULL;
	end_others();
}
END_TEST

static void check_nobody_is_told(void)
{
	uint64_t id = create("span", SP_SPAN_NONE);

	ck_assert_uint_eq(absorber->telling_tid, 0);
	ck_assert_ptr_null(absorber->span_changed);
	sp_span_close(id);
	drain_elsewhere();
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->spans), 1);
}

START_TEST(where_none_starts_spans_are_anybodys)
{
	const struct sp_reporter_ops *list[] = {&recorder->ops};
	const struct sp_reporter_config config = config_of(0);

	recorder->error = -EACCES;
	ck_assert_ptr_null(sp_span_reporters_create(absorber, list, 1, &config));
	check_nobody_is_told();
}
END_TEST

START_TEST(reporters_of_profiles_want_no_events)
{
	const struct sp_reporter_ops *list[] = {&sp_reporter_pprof};
	const struct sp_reporter_config config = config_of(0);

	ck_assert_ptr_null(sp_span_reporters_create(absorber, list, 1, &config));
	check_nobody_is_told();
}
END_TEST

START_TEST(after_their_end_spans_are_anybodys_again)
{
	sp_span_reporters_destroy(reporters);
	reporters = NULL;
	ck_assert_uint_eq(recorder->finis, 1);
	check_nobody_is_told();
}
END_TEST

START_TEST(interest_in_one_call_is_enough)
{
	uint64_t id;

	recorder->ops.span_cpu = NULL;
	recorder->ops.span_heap = NULL;
	recorder->ops.samples = NULL;
	recorder->ops.flush = NULL;
	begin(INTERVAL_NS);
	id = create("span", SP_SPAN_NONE);
	sp_span_enter(id, 0);
	spend_ticks();
	sp_span_exit(id);
	go_round();
	ck_assert_uint_eq(event_recorder_span(recorder, id)->cpu_calls, 0);
	ck_assert_uint_eq(event_recorder_span(recorder, id)->wall_calls, 1);
	recorder->unflushed_calls = 0;
}
END_TEST

START_TEST(registry_knows_reporters_by_name_and_in_order)
{
	ck_assert_ptr_eq(sp_reporter_find("pprof"), &sp_reporter_pprof);
	ck_assert_ptr_null(sp_reporter_find("none"));
	ck_assert_ptr_null(sp_reporter_find(NULL));
	ck_assert_ptr_eq(sp_reporter_at(0), &sp_reporter_pprof);
	ck_assert_ptr_null(sp_reporter_at(1000));
}
END_TEST

/* --- all at once --- */

#define THREADS 4U
#define REQUESTS 150U

static _Atomic unsigned int running;

static void *serve(void *unused)
{
	for (unsigned int i = 0; i < REQUESTS; i++) {
		uint64_t request = create("request", SP_SPAN_NONE), query;

		sp_span_enter(request, 0);
		query = create("query", SP_SPAN_CURRENT);
		sp_span_enter(query, 0);
		spend_ticks();
		sp_span_exit(query);
		sp_span_close(query);
		sp_span_exit(request);
		sp_span_close(request);
	}
	sp_span_thread_end();
	atomic_fetch_sub(&running, 1);
	return unused;
}

static void check_told_of(const char *name, uint32_t path)
{
	const struct sp_span_path *sums = test_path_at(recorded(), path);
	uint64_t busy_ns = 0, cpu_ns = 0, spans = 0;

	for (size_t i = 0; i < recorder->count; i++) {
		const struct recorded_span *span = &recorder->spans[i];

		if (strcmp(span->name, name) != 0)
			continue;
		ck_assert_uint_ne(span->destroyed_at, 0);
		ck_assert_uint_eq(span->scope_count, path);
		busy_ns += span->busy_ns;
		cpu_ns += span->user_ns + span->system_ns;
		spans++;
	}
	ck_assert_uint_eq(spans, THREADS * REQUESTS);
	ck_assert_uint_eq(sp_atomic_value(&sums->spans), spans);
	ck_assert_uint_eq(sp_atomic_value(&sums->cpu_ns), cpu_ns);
	/* Each span's time is a whole number of nanoseconds. */
	ck_assert_uint_ge(busy_ns + spans, ns_of(sp_atomic_value(&sums->busy_ticks)));
	ck_assert_uint_le(busy_ns, ns_of(sp_atomic_value(&sums->busy_ticks)));
}

START_TEST(spans_of_many_threads_are_all_told)
{
	pthread_t threads[THREADS];

	atomic_store(&running, THREADS);
	for (unsigned int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, serve, NULL), 0);
	while (atomic_load(&running)) {
		struct timespec pause = {0, 200000};

		/* A thread without room may be at it. */
		try_round();
		nanosleep(&pause, NULL);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	go_round();
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_NO_ROOM) + lost(SP_LOSS_SPAN_MISUSE), 0);
	check_told_of("request", 0);
	check_told_of("query", 1);
}
END_TEST

static TCase *make_case(const char *name, void (*setup_case)(void))
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup_case, teardown);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("span_reporters");
	TCase *tc = make_case("one", setup);
	TCase *several = make_case("several", setup_without_reporters);
	SRunner *runner;
	int failed;

	tcase_add_test(tc, span_is_created_has_its_time_and_is_destroyed);
	tcase_add_test(tc, deltas_of_an_open_span_add_up);
	tcase_add_test(tc, without_news_nothing_is_told);
	tcase_add_test(tc, metadata_say_all_that_is_known);
	tcase_add_test(tc, spans_around_come_first);
	tcase_add_test(tc, spans_around_come_first_wherever_their_entries_are);
	tcase_add_test(tc, span_around_that_is_destroyed_is_not_told);
	tcase_add_test(tc, deep_scope_is_cut);
	tcase_add_test(tc, memory_is_told_as_totals);
	tcase_add_test(tc, closed_span_lasts_as_long_as_its_memory);
	tcase_add_test(tc, evicted_span_is_destroyed_and_its_memory_nobodys);
	tcase_add_test(tc, totals_keep_their_distance);
	tcase_add_test(tc, sampled_memory_is_told_as_what_it_stands_for);
	tcase_add_test(tc, other_threads_leave_spans_to_the_reporters);
	tcase_add_test(several, what_was_absorbed_before_is_told_too);
	tcase_add_test(tc, entry_that_is_taken_at_once_tells_of_both_spans);
	tcase_add_test(tc, clock_that_becomes_known_better_takes_nothing_back);
	tcase_add_test(tc, samples_come_in_batches_with_their_spans);
	tcase_add_test(tc, samples_that_a_handler_took_are_counted_as_missed);
	tcase_add_test(several, all_reporters_are_told_the_same);
	tcase_add_test(several, reporter_that_fails_is_the_only_one_switched_off);
	tcase_add_test(several, reporter_that_does_not_start_is_not_called);
	tcase_add_test(several, where_none_starts_spans_are_anybodys);
	tcase_add_test(several, reporters_of_profiles_want_no_events);
	tcase_add_test(tc, after_their_end_spans_are_anybodys_again);
	tcase_add_test(several, interest_in_one_call_is_enough);
	tcase_add_test(several, registry_knows_reporters_by_name_and_in_order);
	tcase_add_test(tc, spans_of_many_threads_are_all_told);
	suite_add_tcase(suite, tc);
	suite_add_tcase(suite, several);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
