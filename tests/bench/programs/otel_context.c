/*
 * What the handler's look at the span that an OpenTelemetry library publishes costs:
 * ns for one, the least of several rounds, without such a span, with one, and with one
 * whose ids samples carry. Built with the agent's own files, in a recording of its own.
 */
#include <check.h>

/* Nobody reports here; a setup that fails shows in what is printed. */
#undef ck_assert_int_eq
#undef ck_assert_ptr_nonnull
#define ck_assert_int_eq(a, b) ((void)((a) == (b)))
#define ck_assert_ptr_nonnull(a) ((void)(a))

#include "test_span_capture_fixture.h"

#include "sp_spans.h"
#include "span_sources.h"

#include <stdio.h>

#define ROUNDS 9
#define LOOKS 1000000

extern SP_TLS void *otel_thread_ctx_v1;

static double look_ns(const struct sp_slot *slot)
{
	double least_ns = 1e9;

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start_ns = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
		double ns;

		for (int i = 0; i < LOOKS; i++) {
			uint32_t label_set = sp_span_label_set_of(slot);

			__asm__ volatile("" : : "r"(label_set) : "memory");
		}
		ns = (double)(sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns) /
		     LOOKS;
		if (ns < least_ns)
			least_ns = ns;
	}
	return least_ns;
}

int main(void)
{
	static unsigned char record[28] = "0123456789abcdef01234567\1";
	struct sp_span_settings settings = {.probability_millionths = 1000000,
					    .labels = ""};
	const struct sp_spans_setup setup = {.labels = ""};
	struct sp_slot slot;

	memset(&slot, 0, sizeof(slot));
	/* A thread whose stack is known. */
	atomic_store(&slot.stack_high, UINT64_MAX);
	for (int has_ids = 0; has_ids < 2; has_ids++) {
		settings.has_ids = has_ids;
		begin_spans(&settings, UINT64_C(64) << 20);
		sp_span_otel_thread.begin(&setup);
		otel_thread_ctx_v1 = NULL;
		if (!has_ids)
			printf("%.2f ", look_ns(&slot));
		otel_thread_ctx_v1 = record;
		printf("%.2f ", look_ns(&slot));
		end_spans();
	}
	printf("\n");
	return 0;
}
