/*
 * Rules are checked where they can be broken: at each call.
 */
#include "event_recorder.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct event_recorder *recorders[EVENT_RECORDERS_MAX];

/* --- what is common to all calls --- */

static struct recorded_span *find(const struct event_recorder *recorder, uint64_t id)
{
	for (size_t i = recorder->count; i-- > 0;)
		if (recorder->spans[i].id == id)
			return &recorder->spans[i];
	return NULL;
}

/* Created and not destroyed. */
static struct recorded_span *find_alive(const struct event_recorder *recorder,
					uint64_t id)
{
	struct recorded_span *span = find(recorder, id);

	ck_assert_msg(span != NULL, "a call for a span that was not created");
	ck_assert_msg(!span->destroyed_at, "a call for a span that is destroyed");
	/* What was given at first still is what it was. */
	ck_assert_uint_eq(span->info->id, id);
	ck_assert_str_eq(span->info->name, span->name);
	ck_assert_uint_eq(span->info->scope_count, span->scope_count);
	for (uint32_t i = 0; i < span->scope_count && i < 8; i++)
		ck_assert_uint_eq(span->info->scope[i], span->scope[i]);
	return span;
}

/* Its result is the reporter's. */
static int begin_call(struct event_recorder *recorder)
{
	ck_assert_uint_eq(recorder->inits, 1);
	ck_assert_uint_eq(recorder->finis, 0);
	ck_assert(pthread_equal(recorder->thread, pthread_self()));
	recorder->calls++;
	recorder->unflushed_calls++;
	ck_assert_msg(!recorder->fails_at || recorder->calls <= recorder->fails_at,
		      "a call after one that failed");
	return recorder->calls == recorder->fails_at ? -EIO : 0;
}

/* --- calls --- */

static int init(struct event_recorder *recorder, void **state,
		const struct sp_reporter_config *config)
{
	ck_assert_uint_eq(recorder->inits, 0);
	if (recorder->error)
		return recorder->error;
	recorder->inits++;
	recorder->thread = pthread_self();
	recorder->config = *config;
	*state = recorder;
	return 0;
}

static int init_0(void **state, const struct sp_reporter_config *config)
{
	return init(recorders[0], state, config);
}

static int init_1(void **state, const struct sp_reporter_config *config)
{
	return init(recorders[1], state, config);
}

static int init_2(void **state, const struct sp_reporter_config *config)
{
	return init(recorders[2], state, config);
}

static struct recorded_span *new_span(struct event_recorder *recorder)
{
	if (recorder->count == recorder->capacity) {
		recorder->capacity = recorder->capacity ? 2 * recorder->capacity : 64;
		recorder->spans = realloc(recorder->spans,
					  recorder->capacity * sizeof(*recorder->spans));
		ck_assert_ptr_nonnull(recorder->spans);
	}
	memset(&recorder->spans[recorder->count], 0, sizeof(*recorder->spans));
	return &recorder->spans[recorder->count++];
}

static void write_labels(struct recorded_span *span)
{
	size_t used = 0;

	span->labels[0] = '\0';
	for (uint32_t i = 0; i < span->info->label_count; i++)
		used += (size_t)snprintf(span->labels + used, sizeof(span->labels) - used,
					 "%s=%s,", span->info->labels[i].key,
					 span->info->labels[i].str);
	ck_assert_uint_lt(used, sizeof(span->labels));
}

static int span_created(void *state, const struct sp_span_info *info)
{
	struct event_recorder *recorder = state;
	int err = begin_call(recorder);
	struct recorded_span *span;

	ck_assert_uint_ne(info->id, 0);
	ck_assert_msg(find(recorder, info->id) == NULL, "an id comes twice");
	ck_assert_ptr_nonnull(info->name);
	ck_assert_ptr_nonnull(info->target);
	ck_assert_ptr_nonnull(info->file);
	ck_assert_ptr_nonnull(info->trace_id);
	for (uint32_t i = 0; i < info->scope_count; i++) {
		const struct recorded_span *around = find(recorder, info->scope[i]);

		ck_assert_msg(around && !around->destroyed_at,
			      "a span around this one that is not there");
	}
	span = new_span(recorder);
	span->info = info;
	span->id = info->id;
	snprintf(span->name, sizeof(span->name), "%s", info->name);
	span->scope_count = info->scope_count;
	for (uint32_t i = 0; i < info->scope_count && i < 8; i++)
		span->scope[i] = info->scope[i];
	span->created_at = recorder->calls;
	write_labels(span);
	return err;
}

/* What was told at first changes in its place. */
static int span_labelled(void *state, const struct sp_span_info *info)
{
	struct event_recorder *recorder = state;
	int err = begin_call(recorder);
	struct recorded_span *span = find_alive(recorder, info->id);

	ck_assert_ptr_eq(span->info, info);
	write_labels(span);
	span->label_calls++;
	return err;
}

static int span_destroyed(void *state, uint64_t span_id)
{
	struct event_recorder *recorder = state;
	int err = begin_call(recorder);

	find_alive(recorder, span_id)->destroyed_at = recorder->calls;
	return err;
}

static int span_cpu(void *state, uint64_t span_id, const struct sp_span_cpu *delta)
{
	struct event_recorder *recorder = state;
	int err = begin_call(recorder);
	struct recorded_span *span = find_alive(recorder, span_id);

	ck_assert_uint_gt(delta->user_ns + delta->system_ns, 0);
	span->user_ns += delta->user_ns;
	span->system_ns += delta->system_ns;
	span->cpu_calls++;
	return err;
}

static int span_wall(void *state, uint64_t span_id, const struct sp_span_wall *delta)
{
	struct event_recorder *recorder = state;
	int err = begin_call(recorder);
	struct recorded_span *span = find_alive(recorder, span_id);

	ck_assert_uint_gt(delta->busy_ns + delta->idle_ns, 0);
	span->busy_ns += delta->busy_ns;
	span->idle_ns += delta->idle_ns;
	span->wall_calls++;
	return err;
}

static int span_allocations(void *state, uint64_t span_id,
			    const struct sp_span_allocations *delta)
{
	struct event_recorder *recorder = state;
	int err = begin_call(recorder);
	struct recorded_span *span = find_alive(recorder, span_id);

	ck_assert_uint_gt(delta->count, 0);
	span->allocations += delta->count;
	span->alloc_bytes += delta->bytes;
	span->allocation_calls++;
	return err;
}

static int span_heap(void *state, uint64_t span_id, const struct sp_span_heap *total)
{
	struct event_recorder *recorder = state;
	int err = begin_call(recorder);
	struct recorded_span *span = find_alive(recorder, span_id);

	span->heap_bytes = total->bytes;
	span->heap_count = total->count;
	span->heap_calls++;
	return err;
}

static int samples(void *state, const struct sp_sample_batch *batch)
{
	struct event_recorder *recorder = state;
	int err = begin_call(recorder);

	ck_assert_uint_gt(batch->count + batch->missed_samples, 0);
	ck_assert_uint_le(batch->count, recorder->config.samples_max);
	for (uint32_t i = 0; i < batch->count; i++) {
		const struct sp_view_sample *sample = &batch->samples[i];

		recorder->samples += (uint64_t)sample->values[0];
		recorder->sampled_ns += (uint64_t)sample->values[1];
		ck_assert_uint_gt(sample->frame_count, 0);
		for (uint32_t label = 0; label < sample->label_count; label++)
			recorder->last_labelled +=
				strcmp(sample->labels[label].key, "span_name") == 0;
	}
	if (batch->count > recorder->largest_batch)
		recorder->largest_batch = batch->count;
	recorder->missed_samples += batch->missed_samples;
	return err;
}

static int flush(void *state)
{
	struct event_recorder *recorder = state;

	ck_assert_uint_gt(recorder->unflushed_calls, 0);
	ck_assert_uint_eq(recorder->finis, 0);
	recorder->unflushed_calls = 0;
	recorder->flushes++;
	return recorder->flush_error;
}

static void fini(void *state)
{
	struct event_recorder *recorder = state;

	ck_assert_uint_eq(recorder->inits, 1);
	/* But for one that has failed nothing is told that is not flushed. */
	ck_assert(recorder->unflushed_calls == 0 ||
		  recorder->calls == recorder->fails_at || !recorder->ops.flush);
	recorder->finis++;
	ck_assert_uint_eq(recorder->finis, 1);
}

/* --- life --- */

struct event_recorder *event_recorder_create(unsigned int number)
{
	static const char *const names[EVENT_RECORDERS_MAX] = {"recorder 0", "recorder 1",
							       "recorder 2"};
	int (*const inits[EVENT_RECORDERS_MAX])(
		void **, const struct sp_reporter_config *) = {init_0, init_1, init_2};
	struct event_recorder *recorder = calloc(1, sizeof(*recorder));

	ck_assert_ptr_nonnull(recorder);
	recorder->ops = (struct sp_reporter_ops){
		.name = names[number],
		.init = inits[number],
		.span_created = span_created,
		.span_labelled = span_labelled,
		.span_destroyed = span_destroyed,
		.span_cpu = span_cpu,
		.span_wall = span_wall,
		.span_allocations = span_allocations,
		.span_heap = span_heap,
		.samples = samples,
		.flush = flush,
		.fini = fini,
	};
	recorders[number] = recorder;
	return recorder;
}

void event_recorder_destroy(struct event_recorder *recorder)
{
	free(recorder->spans);
	free(recorder);
}

const struct recorded_span *event_recorder_find(const struct event_recorder *recorder,
						const char *name)
{
	for (size_t i = recorder->count; i-- > 0;)
		if (strcmp(recorder->spans[i].name, name) == 0)
			return &recorder->spans[i];
	return NULL;
}

const struct recorded_span *event_recorder_span(const struct event_recorder *recorder,
						uint64_t id)
{
	return find(recorder, id);
}
