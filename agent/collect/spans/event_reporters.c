/*
 * From options to reporters that are told of events. Context: collector.
 */
#include "event_reporters.h"

#include "sp_clock.h"
#include "sp_reporter.h"
#include "span_reporters.h"

/* Those that were asked for; how many. */
static size_t list_reporters(const struct sp_options *options,
			     const struct sp_reporter_ops **list)
{
	size_t count = 0;

	while (count < SP_EVENT_REPORTERS_MAX &&
	       (list[count] = sp_reporter_listed(options->reporters, count)))
		count++;
	return count;
}

void sp_event_reporters_await(const struct sp_collector *collector)
{
	const struct sp_reporter_ops *list[SP_EVENT_REPORTERS_MAX];

	if (!collector->reporters)
		sp_span_reporters_await(collector->absorber, list,
					list_reporters(collector->options, list));
}

void sp_event_reporters_begin(struct sp_collector *collector, const char *program,
			      int dir_fd)
{
	const struct sp_options *options = collector->options;
	const struct sp_recording_header *header = collector->recording->header;
	const struct sp_reporter_ops *list[SP_EVENT_REPORTERS_MAX];
	const struct sp_reporter_config config = {
		.program = program,
		.pid = (int)header->pid,
		.start_ns = (int64_t)header->start_realtime_ns,
		.dir_fd = dir_fd,
		.heap_interval_ns = options->heap_snapshot_interval_ns,
		.samples_max = options->samples_max,
		.aggregates_samples = options->aggregates_samples,
		.period_ns = (int64_t)header->cpu_period_ns,
		.has_exact_cpu = header->has_exact_span_cpu,
		.probability = (double)header->span_probability_millionths / 1e6,
	};

	collector->reporters = sp_span_reporters_create(collector->absorber, list,
							list_reporters(options, list),
							&config, sp_clock_monotonic_ns());
}

void sp_event_reporters_end(struct sp_collector *collector)
{
	sp_span_reporters_destroy(collector->reporters);
	collector->reporters = NULL;
}

bool sp_event_reporters_leave_profiles(const struct sp_options *options)
{
	return sp_reporter_is_listed(options->reporters, &sp_reporter_pprof);
}
