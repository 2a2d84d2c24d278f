/*
 * What the environment says of the span around the process: well-formed or not.
 */
#include "test_span_capture_fixture.h"

#include "span_sources.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "TRACEPARENT=00-" TRACE "-00f067aa0ba902b7-01"

static void setup(void)
{
	static const struct sp_span_settings settings = {
		.probability_millionths = 1000000, .has_ids = true, .labels = ""};

	begin_spans(&settings, UINT64_C(16) << 20);
}

static bool begin_with(const char *first, const char *second)
{
	const char *environment[] = {"PATH=/bin", first, second, NULL};
	const struct sp_spans_setup with = {
		.functions = "", .labels = "", .environment = (char *const *)environment};

	sp_span_set_root(SP_SPAN_NONE);
	return sp_span_environment.begin(&with);
}

static void assert_name(const char *attributes, const char *name)
{
	ck_assert_msg(begin_with(attributes, NULL), "%s", attributes);
	ck_assert_str_eq(current_name(), name);
}

static bool has_parents_trace(void)
{
	static const uint8_t trace[] = {0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6,
					0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36};
	const struct sp_label_set *set =
		sp_recording_label_set(recorded(), sp_span_mark().label_set);

	return memcmp(set->trace_id, trace, sizeof(trace)) == 0;
}

START_TEST(service_is_the_name)
{
	assert_name("OTEL_SERVICE_NAME=shop", "shop");
	ck_assert(begin_with("OTEL_RESOURCE_ATTRIBUTES=service.name=stall",
			     "OTEL_SERVICE_NAME=shop"));
	ck_assert_str_eq(current_name(), "shop");
}
END_TEST

START_TEST(attributes_are_read_as_baggage)
{
	assert_name("OTEL_RESOURCE_ATTRIBUTES=service.name=shop,a=b", "shop");
	assert_name("OTEL_RESOURCE_ATTRIBUTES=a=b,service.name=shop", "shop");
	assert_name("OTEL_RESOURCE_ATTRIBUTES=a=b , service.name =\t shop ", "shop");
	assert_name("OTEL_RESOURCE_ATTRIBUTES=a=b,,=,service.name,service.name=shop",
		    "shop");
	assert_name("OTEL_RESOURCE_ATTRIBUTES=service.name=my%20shop%2c%20caf%C3%A9",
		    "my shop, caf\xc3\xa9");
	assert_name("OTEL_RESOURCE_ATTRIBUTES=service.name=a=b", "a=b");
	/* What is not encoded well stands for itself. */
	assert_name("OTEL_RESOURCE_ATTRIBUTES=service.name=100%", "100%");
	assert_name("OTEL_RESOURCE_ATTRIBUTES=service.name=%4", "%4");
	assert_name("OTEL_RESOURCE_ATTRIBUTES=service.name=%zz%00%41", "%zz%00A");
}
END_TEST

START_TEST(without_a_service_the_program_is_the_name)
{
	static const char *const attributes[] = {
		"OTEL_RESOURCE_ATTRIBUTES=a=b",
		"OTEL_RESOURCE_ATTRIBUTES=service.name=",
		"OTEL_RESOURCE_ATTRIBUTES=service.name",
		"OTEL_RESOURCE_ATTRIBUTES=my.service.name=shop",
		"OTEL_RESOURCE_ATTRIBUTES=service.name.x=shop",
		PARENT,
	};

	for (size_t i = 0; i < SP_ARRAY_COUNT(attributes); i++)
		assert_name(attributes[i], "test_span_environment");
}
END_TEST

START_TEST(empty_variables_are_none)
{
	ck_assert(!begin_with(NULL, NULL));
	ck_assert(!begin_with("OTEL_SERVICE_NAME=", "TRACEPARENT="));
	ck_assert(!begin_with("OTEL_RESOURCE_ATTRIBUTES=", NULL));
	ck_assert_ptr_null(current_name());
}
END_TEST

START_TEST(trace_goes_on)
{
	static const char *const parents[] = {
		PARENT,
		"TRACEPARENT=00-" TRACE "-00f067aa0ba902b7-00",
		"TRACEPARENT=01-" TRACE "-00f067aa0ba902b7-01",
		"TRACEPARENT=cc-" TRACE "-00f067aa0ba902b7-01-what comes later",
	};

	for (size_t i = 0; i < SP_ARRAY_COUNT(parents); i++) {
		ck_assert(begin_with(parents[i], NULL));
		ck_assert_msg(has_parents_trace(), "%s", parents[i]);
	}
}
END_TEST

START_TEST(malformed_parents_are_none)
{
	static const char *const parents[] = {
		PARENT "-00",
		PARENT "0",
		"TRACEPARENT=01-" TRACE "-00f067aa0ba902b7-01.",
		"TRACEPARENT=ff-" TRACE "-00f067aa0ba902b7-01",
		"TRACEPARENT=0x-" TRACE "-00f067aa0ba902b7-01",
		"TRACEPARENT=00-" TRACE "-00f067aa0ba902b7-0",
		"TRACEPARENT=00-" TRACE "-00f067aa0ba902b7-0g",
		"TRACEPARENT=00-" TRACE "-00f067aa0ba902b7-",
		"TRACEPARENT=00-" TRACE "-0000000000000000-01",
		"TRACEPARENT=00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"TRACEPARENT=00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
		"TRACEPARENT=00_" TRACE "_00f067aa0ba902b7_01",
		("TRACEPARENT=" TRACE),
		"TRACEPARENT=-",
	};

	for (size_t i = 0; i < SP_ARRAY_COUNT(parents); i++) {
		ck_assert_msg(!begin_with(parents[i], NULL), "%s", parents[i]);
		ck_assert_ptr_null(current_name());
		ck_assert(begin_with(parents[i], "OTEL_SERVICE_NAME=shop"));
		ck_assert_str_eq(current_name(), "shop");
		ck_assert_msg(!has_parents_trace(), "%s", parents[i]);
	}
}
END_TEST

/* As in a fork child, which may be about to change its environment. */
START_TEST(without_an_environment_the_last_one_counts)
{
	const struct sp_spans_setup child = {.functions = "", .labels = ""};

	ck_assert(begin_with(PARENT, "OTEL_SERVICE_NAME=shop"));
	sp_span_set_root(SP_SPAN_NONE);
	ck_assert(sp_span_environment.begin(&child));
	ck_assert_str_eq(current_name(), "shop");
	ck_assert(has_parents_trace());
	ck_assert(!begin_with(NULL, NULL));
	ck_assert(!sp_span_environment.begin(&child));
	ck_assert_ptr_null(current_name());
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_environment");
	TCase *tc = tcase_create("span_environment");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, end_spans);
	tcase_add_test(tc, service_is_the_name);
	tcase_add_test(tc, attributes_are_read_as_baggage);
	tcase_add_test(tc, without_a_service_the_program_is_the_name);
	tcase_add_test(tc, empty_variables_are_none);
	tcase_add_test(tc, trace_goes_on);
	tcase_add_test(tc, malformed_parents_are_none);
	tcase_add_test(tc, without_an_environment_the_last_one_counts);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
