/*
 * The profile of spans: what hand-made paths must come to, value by value, and what it
 * says about itself.
 */
#include "profile_spans.h"
#include "sp_poisson.h"
#include "test_heap_fixture.h"
#include "test_span_fixture.h"

#include <check.h>

/* TEST_TICKS_PER_SECOND: two ticks are a nanosecond. */
#define TICKS(ns) (2 * (uint64_t)(ns))

static struct sp_recording recording;
static struct sp_heap_values heap;
static struct sp_span_profile *profile;
static uint32_t request, query, row; /* each in the one before */

static void setup(void)
{
	ck_assert_int_eq(test_recording_make(&recording, "/proc/nonexistent",
					     SP_RECORDING_BYTES_MIN * 8),
			 0);
	test_spans_begin(&recording);
	test_heap_begin(&recording);
	recording.header->heap_rate_bytes = 1;
	ck_assert_int_eq(test_drain(&recording), 0);
	request = test_path(&recording,
			    test_callsite(&recording, "request", "web", "web.c", 12), 0);
	query = test_named_path(&recording, "query", request + 1);
	row = test_named_path(&recording, "row", query + 1);
	profile = NULL;
}

static void teardown(void)
{
	if (profile)
		sp_span_profile_destroy(profile);
	sp_heap_values_fini(&heap);
	sp_recording_detach(&recording);
}

static void store(uint32_t path, uint64_t spans, uint64_t busy_ns, uint64_t idle_ns,
		  uint64_t cpu_ns)
{
	struct sp_span_path *sums = test_path_at(&recording, path);

	atomic_store(&sums->spans, spans);
	atomic_store(&sums->entered, busy_ns ? spans + 1 : 0);
	atomic_store(&sums->busy_ticks, TICKS(busy_ns));
	atomic_store(&sums->idle_ticks, TICKS(idle_ns));
	atomic_store(&sums->cpu_ns, cpu_ns);
}

static void store_allocations(uint32_t path, uint64_t allocations, uint64_t bytes)
{
	atomic_store(&test_path_at(&recording, path)->allocations, allocations);
	atomic_store(&test_path_at(&recording, path)->alloc_bytes, bytes);
}

static const struct sp_profile_view *view_of(void)
{
	if (!profile) {
		ck_assert_int_eq(sp_heap_values_init(&heap, &recording), 0);
		profile = sp_span_profile_create(&recording, &heap);
	}
	ck_assert_ptr_nonnull(profile);
	return sp_span_profile_view(profile);
}

static const char *name_of(const struct sp_profile_view *view, uint64_t frame)
{
	ck_assert_uint_eq(sp_frame_module(frame), SP_MODULE_NAMED);
	ck_assert_uint_lt(sp_frame_offset(frame), view->named_frame_count);
	return view->named_frames[sp_frame_offset(frame)].name;
}

/* The one sample whose innermost span is so called; no frames if there is none. */
static struct sp_view_sample sample_of(const char *name)
{
	const struct sp_profile_view *view = view_of();
	struct sp_view_sample sample, found = {.frame_count = 0};

	view->rewind(view->cursor);
	while (view->next_sample(view->cursor, &sample) == 1) {
		if (strcmp(name_of(view, sample.frames[0]), name) != 0)
			continue;
		ck_assert_uint_eq(found.frame_count, 0);
		found = sample;
	}
	return found;
}

static uint32_t column_of(const struct sp_profile_view *view, const char *type)
{
	uint32_t column = 0;

	while (strcmp(view->value_types[column].type, type) != 0)
		ck_assert_uint_lt(++column, view->value_type_count);
	return column;
}

static int64_t value_of(const char *name, const char *type)
{
	const struct sp_profile_view *view = view_of();

	return sample_of(name).values[column_of(view, type)];
}

/* As readers of profiles find it: over all stacks that the span is in. */
static int64_t cumulative_of(const char *name, const char *type)
{
	const struct sp_profile_view *view = view_of();
	uint32_t column = column_of(view, type);
	struct sp_view_sample sample;
	int64_t sum = 0;

	view->rewind(view->cursor);
	while (view->next_sample(view->cursor, &sample) == 1) {
		for (uint32_t i = 0; i < sample.frame_count; i++) {
			if (strcmp(name_of(view, sample.frames[i]), name) == 0)
				sum += sample.values[column];
		}
	}
	return sum;
}

static bool has_comment(const char *part)
{
	const struct sp_profile_view *view = view_of();

	for (uint32_t i = 0; i < view->comment_count; i++) {
		if (strstr(view->comments[i], part))
			return true;
	}
	return false;
}

START_TEST(stack_is_the_path_and_its_functions_are_callsites)
{
	const struct sp_view_named_frame *outermost;
	const struct sp_profile_view *view;
	struct sp_view_sample sample;

	store(row, 1, 10, 0, 0);
	view = view_of();
	sample = sample_of("row");
	ck_assert_uint_eq(sample.frame_count, 3);
	ck_assert_str_eq(name_of(view, sample.frames[1]), "query");
	ck_assert_str_eq(name_of(view, sample.frames[2]), "request");
	outermost = &view->named_frames[sp_frame_offset(sample.frames[2])];
	ck_assert_str_eq(outermost->target, "web");
	ck_assert_str_eq(outermost->file, "web.c");
	ck_assert_uint_eq(outermost->line, 12);
}
END_TEST

START_TEST(types_are_those_of_the_contract_in_its_order)
{
	static const char *const types[] = {
		"wall",		 "wall_busy",	"wall_idle",	 "cpu",
		"cpu_user",	 "cpu_sys",	"alloc_objects", "alloc_space",
		"inuse_objects", "inuse_space", "spans"};
	const struct sp_profile_view *view = view_of();

	ck_assert_str_eq(view->kind, "spans");
	ck_assert_uint_eq(view->value_type_count, SP_ARRAY_COUNT(types));
	for (uint32_t i = 0; i < view->value_type_count; i++)
		ck_assert_str_eq(view->value_types[i].type, types[i]);
	ck_assert_uint_eq(view->default_value_type, 0);
}
END_TEST

START_TEST(cumulative_time_is_what_was_measured)
{
	store(request, 2, 1000, 70, 900);
	store(query, 5, 600, 40, 500);
	store(row, 50, 450, 0, 450);
	ck_assert_int_eq(value_of("request", "wall_busy"), 400);
	ck_assert_int_eq(value_of("query", "wall_busy"), 150);
	ck_assert_int_eq(value_of("row", "wall_busy"), 450);
	ck_assert_int_eq(cumulative_of("request", "wall_busy"), 1000);
	ck_assert_int_eq(cumulative_of("query", "wall_busy"), 600);
	ck_assert_int_eq(cumulative_of("request", "cpu"), 900);
	ck_assert_int_eq(cumulative_of("query", "cpu"), 500);
	/* Idle time does not nest, and neither do counts. */
	ck_assert_int_eq(value_of("request", "wall_idle"), 70);
	ck_assert_int_eq(value_of("request", "wall"), 470);
	ck_assert_int_eq(value_of("query", "wall"), 190);
	ck_assert_int_eq(value_of("request", "spans"), 2);
	ck_assert_int_eq(value_of("row", "spans"), 50);
	ck_assert(!has_comment("ran beside"));
}
END_TEST

START_TEST(children_beside_their_parent_leave_it_nothing)
{
	store(request, 1, 100, 0, 100);
	store(query, 3, 130, 0, 90);
	ck_assert_int_eq(value_of("request", "wall_busy"), 0);
	ck_assert_int_eq(value_of("request", "cpu"), 10);
	ck_assert(has_comment("wall_busy: spans ran beside the one around them in 1 "
			      "places and took 30 ns more than it"));
	ck_assert(!has_comment("cpu: spans ran beside"));
}
END_TEST

START_TEST(parent_that_nobody_entered_is_no_excess)
{
	store(request, 1, 0, 500, 0);
	store(query, 3, 130, 0, 90);
	ck_assert_int_eq(value_of("request", "wall"), 500);
	ck_assert_int_eq(cumulative_of("request", "wall_busy"), 130);
	ck_assert(!has_comment("ran beside"));
}
END_TEST

/* A CPU cell of a label set. */
static void add_samples(uint32_t label_set, enum sp_cpu_mode mode, uint64_t periods)
{
	uint32_t index = 0;
	struct sp_cell *cell = test_append(&recording, SP_SECTION_CELLS, 1, &index);

	ck_assert_ptr_nonnull(cell);
	cell->kind = SP_CELL_CPU;
	cell->mode = (uint16_t)mode;
	cell->labels = label_set;
	atomic_store(&cell->values[0], 1);
	atomic_store(&cell->values[1], periods);
}

START_TEST(kernel_time_is_in_proportion_to_the_samples)
{
	uint32_t set = test_label_set(&recording, query);

	store(request, 1, 0, 0, 1500);
	store(query, 1, 0, 0, 1000);
	add_samples(set, SP_MODE_USER, 3);
	add_samples(set, SP_MODE_KERNEL, 1);
	/* Another label set of the same path counts, too. */
	add_samples(test_label_set(&recording, query), SP_MODE_KERNEL, 1);
	add_samples(SP_LABEL_SET_NONE, SP_MODE_USER, 95);
	ck_assert_int_eq(value_of("query", "cpu_sys"), 400);
	ck_assert_int_eq(value_of("query", "cpu_user"), 600);
	/* Without samples of its own: as all spans. */
	ck_assert_int_eq(value_of("request", "cpu"), 500);
	ck_assert_int_eq(value_of("request", "cpu_sys"), 200);
}
END_TEST

START_TEST(without_any_sample_the_kernels_split_is_used)
{
	store(request, 1, 0, 0, 1000);
	atomic_store(&recording.header->process_user_ns, 9000);
	atomic_store(&recording.header->process_system_ns, 1000);
	ck_assert_int_eq(value_of("request", "cpu_sys"), 100);
}
END_TEST

START_TEST(unread_clocks_leave_samples_to_estimate_cpu)
{
	recording.header->has_exact_span_cpu = 0;
	store(request, 1, 1000, 0, 0);
	store(query, 1, 1000, 0, 0);
	add_samples(test_label_set(&recording, query), SP_MODE_USER, 3);
	add_samples(test_label_set(&recording, request), SP_MODE_KERNEL, 2);
	ck_assert_int_eq(value_of("query", "cpu"), 3 * TEST_PERIOD_NS);
	ck_assert_int_eq(value_of("request", "cpu"), 2 * TEST_PERIOD_NS);
	ck_assert_int_eq(value_of("request", "cpu_sys"), 2 * TEST_PERIOD_NS);
	ck_assert(has_comment("cpu (estimate)"));
}
END_TEST

START_TEST(spans_that_only_samples_tell_of_have_their_time)
{
	uint32_t callsite = test_callsite(&recording, "otel", "", "", 0);
	struct sp_callsite *site =
		sp_recording_item(&recording, SP_SECTION_CALLSITES, callsite);

	site->source = SP_SPAN_SOURCE_OTEL_THREAD;
	store(request, 1, 1000, 0, 5 * TEST_PERIOD_NS);
	add_samples(
		test_label_set(&recording, test_path(&recording, callsite, request + 1)),
		SP_MODE_USER, 3);
	ck_assert_int_eq(value_of("otel", "cpu"), 3 * TEST_PERIOD_NS);
	ck_assert_int_eq(value_of("request", "cpu"), 2 * TEST_PERIOD_NS);
}
END_TEST

START_TEST(memory_is_the_allocating_spans)
{
	struct test_block block = {.size_bytes = 100};

	store_allocations(query, 7, 700);
	block.cell = test_heap_add_cell(&recording);
	test_heap_cell(&recording, block.cell)->labels =
		test_label_set(&recording, query);
	test_heap_live(test_heap_entry(&recording, 0), &block, 0x1000);
	test_heap_live(test_heap_entry(&recording, 1), &block, 0x2000);
	test_heap_freed(test_heap_entry(&recording, 2), &block);
	/* Memory of nobody's. */
	block.cell = test_heap_add_cell(&recording);
	test_heap_live(test_heap_entry(&recording, 3), &block, 0x3000);
	ck_assert_int_eq(value_of("query", "alloc_objects"), 7);
	ck_assert_int_eq(value_of("query", "alloc_space"), 700);
	ck_assert_int_eq(value_of("query", "inuse_objects"), 2);
	ck_assert_int_eq(value_of("query", "inuse_space"), 200);
	ck_assert_int_eq(value_of("request", "inuse_space"), 0);
	ck_assert(has_comment("inuse_objects, inuse_space (exact)"));
}
END_TEST

START_TEST(values_stand_for_the_spans_that_were_left_out)
{
	recording.header->span_probability_millionths = 250000;
	store(request, 3, 1000, 10, 900);
	store_allocations(request, 7, 700);
	ck_assert_int_eq(value_of("request", "wall_busy"), 4000);
	ck_assert_int_eq(value_of("request", "wall_idle"), 40);
	ck_assert_int_eq(value_of("request", "cpu"), 3600);
	ck_assert_int_eq(value_of("request", "alloc_space"), 2800);
	ck_assert_int_eq(value_of("request", "spans"), 12);
	ck_assert(has_comment("a part of 0.250000 of all outermost spans"));
	ck_assert(has_comment("multiplied by 4.0000"));
}
END_TEST

static int64_t total_of(const char *type)
{
	const struct sp_profile_view *view = view_of();
	uint32_t column = column_of(view, type);
	struct sp_view_sample sample;
	int64_t sum = 0;

	view->rewind(view->cursor);
	while (view->next_sample(view->cursor, &sample) == 1)
		sum += sample.values[column];
	return sum;
}

START_TEST(rounding_does_not_add_up)
{
	const uint64_t rate_bytes = 1000, size_bytes = 1300;
	const uint32_t paths = 200;
	double objects = paths * sp_poisson_weight(size_bytes, rate_bytes);

	recording.header->heap_rate_bytes = rate_bytes;
	recording.header->span_probability_millionths = 300000;
	for (uint32_t i = 0; i < paths; i++) {
		uint32_t path = test_named_path(&recording, "part", 0);
		struct test_block block = {.size_bytes = size_bytes};

		store(path, 1, 5, 0, 0);
		store_allocations(path, 1, size_bytes);
		block.cell = test_heap_add_cell(&recording);
		test_heap_cell(&recording, block.cell)->labels =
			test_label_set(&recording, path);
		test_heap_live(test_heap_entry(&recording, i), &block, 0x1000 * (i + 1));
	}
	/* One path alone has 5 objects instead of 4.58, and 3 spans instead of 3.33. */
	ck_assert_double_eq_tol((double)total_of("inuse_objects"), objects / 0.3, 1);
	ck_assert_double_eq_tol((double)total_of("inuse_space"),
				objects * (double)size_bytes / 0.3, 1);
	ck_assert_double_eq_tol((double)total_of("spans"), paths / 0.3, 1);
	ck_assert_double_eq_tol((double)total_of("alloc_objects"), paths / 0.3, 1);
	ck_assert_double_eq_tol((double)total_of("wall_busy"), paths * 5 / 0.3, 1);
}
END_TEST

START_TEST(path_without_values_is_no_sample)
{
	store(query, 1, 100, 0, 0);
	ck_assert_uint_eq(sample_of("request").frame_count, 0);
	ck_assert_uint_eq(sample_of("query").frame_count, 2);
}
END_TEST

START_TEST(what_is_not_tracked_is_left_out_and_told)
{
	store(request, 3, 1000, 10, 900);
	store_allocations(request, 7, 700);
	recording.header->span_untracked = SP_UNTRACKED_CPU | SP_UNTRACKED_ALLOCATIONS;
	ck_assert_int_eq(value_of("request", "wall"), 1010);
	ck_assert_int_eq(value_of("request", "cpu"), 0);
	ck_assert_int_eq(value_of("request", "cpu_user"), 0);
	ck_assert_int_eq(value_of("request", "alloc_space"), 0);
	ck_assert_int_eq(value_of("request", "spans"), 3);
	ck_assert(has_comment("cpu, cpu_user, cpu_sys: not tracked (track_cpu)"));
	ck_assert(has_comment("alloc_objects, alloc_space: not tracked"));
	ck_assert(!has_comment("wall, wall_busy, wall_idle: not tracked"));
}
END_TEST

START_TEST(recursion_shows_its_inner_end)
{
	uint32_t path = row, callsite = test_path_at(&recording, row)->callsite;
	const struct sp_profile_view *view;
	struct sp_view_sample sample;

	for (unsigned int i = 0; i < 3000; i++)
		path = test_path(&recording, callsite, path + 1);
	store(path, 1, 100, 0, 0);
	view = view_of();
	ck_assert_int_eq(view->next_sample(view->cursor, &sample), 1);
	ck_assert_uint_eq(sample.frame_count, 513);
	ck_assert_str_eq(name_of(view, sample.frames[511]), "row");
	ck_assert_uint_eq(sample.frames[512], sp_frame_pseudo(SP_PSEUDO_TRUNCATED));
	ck_assert_int_eq(view->next_sample(view->cursor, &sample), 0);
}
END_TEST

START_TEST(callsite_without_a_name_has_one)
{
	store(test_named_path(&recording, "", 0), 1, 100, 0, 0);
	ck_assert_int_eq(value_of("[unnamed]", "wall"), 100);
}
END_TEST

START_TEST(spans_that_are_not_over_are_told)
{
	struct sp_span *span;

	test_span(&recording, request, 1);
	span = test_span_at(&recording, test_span(&recording, request, 1));
	atomic_store(&span->use, 1);
	span = test_span_at(&recording, test_span(&recording, request, 1));
	atomic_store(&span->state, SP_SPAN_HELD);
	ck_assert(has_comment("unfinished: 2 spans were open"));
	ck_assert(has_comment("unfinished: 1 of them had a thread in them"));
	ck_assert(has_comment("held: 1 closed spans"));
}
END_TEST

START_TEST(losses_are_told)
{
	atomic_store(&recording.header->losses[SP_LOSS_SPAN_NO_ROOM], 3);
	atomic_store(&recording.header->losses[SP_LOSS_SPAN_MISUSE], 4);
	atomic_store(&recording.header->losses[SP_LOSS_SPAN_EVICTED], 5);
	atomic_store(&recording.header->losses[SP_LOSS_SPAN_LABELS], 6);
	atomic_store(&recording.header->losses[SP_LOSS_SPAN_NAMELESS], 7);
	ck_assert(has_comment("loss: 3 spans"));
	ck_assert(has_comment("loss: 4 calls"));
	ck_assert(has_comment("loss: 5 closed spans"));
	ck_assert(has_comment("loss: 6 names, labels or ids"));
	ck_assert(has_comment("loss: 7 samples with attributes"));
}
END_TEST

START_TEST(cost_of_the_agent_is_told)
{
	atomic_store(&recording.header->agent_cpu_ns, 3000000);
	atomic_store(&recording.header->process_cpu_ns, 1000000000);
	ck_assert(
		has_comment("cost of looking: agent thread 0.30 % of CPU time; entering "
			    "and leaving spans is not in it, and not measured"));
}
END_TEST

START_TEST(clock_that_was_never_compared_gives_no_time)
{
	atomic_store(&recording.header->span_ticks_per_second, 0);
	store(request, 3, 1000, 10, 900);
	ck_assert_int_eq(value_of("request", "wall"), 0);
	ck_assert_int_eq(value_of("request", "cpu"), 900);
	ck_assert(has_comment("wall is unknown"));
}
END_TEST

START_TEST(without_a_heap_profile_memory_is_said_to_be_unknown)
{
	store(request, 3, 1000, 10, 900);
	profile = sp_span_profile_create(&recording, NULL);
	ck_assert(has_comment("alloc, inuse: unknown"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("profile_spans");
	TCase *tc = tcase_create("profile_spans");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, stack_is_the_path_and_its_functions_are_callsites);
	tcase_add_test(tc, types_are_those_of_the_contract_in_its_order);
	tcase_add_test(tc, cumulative_time_is_what_was_measured);
	tcase_add_test(tc, children_beside_their_parent_leave_it_nothing);
	tcase_add_test(tc, parent_that_nobody_entered_is_no_excess);
	tcase_add_test(tc, kernel_time_is_in_proportion_to_the_samples);
	tcase_add_test(tc, without_any_sample_the_kernels_split_is_used);
	tcase_add_test(tc, unread_clocks_leave_samples_to_estimate_cpu);
	tcase_add_test(tc, spans_that_only_samples_tell_of_have_their_time);
	tcase_add_test(tc, memory_is_the_allocating_spans);
	tcase_add_test(tc, values_stand_for_the_spans_that_were_left_out);
	tcase_add_test(tc, rounding_does_not_add_up);
	tcase_add_test(tc, path_without_values_is_no_sample);
	tcase_add_test(tc, what_is_not_tracked_is_left_out_and_told);
	tcase_add_test(tc, recursion_shows_its_inner_end);
	tcase_add_test(tc, callsite_without_a_name_has_one);
	tcase_add_test(tc, spans_that_are_not_over_are_told);
	tcase_add_test(tc, losses_are_told);
	tcase_add_test(tc, cost_of_the_agent_is_told);
	tcase_add_test(tc, clock_that_was_never_compared_gives_no_time);
	tcase_add_test(tc, without_a_heap_profile_memory_is_said_to_be_unknown);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
