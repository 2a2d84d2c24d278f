/*
 * The order of what is told, round by round: spans that are new, each after the spans
 * around it; labels that others have been given, and what each has done since; memory,
 * when its interval is over; spans that are no more; samples; and a flush, when there is
 * enough or it is time. Deltas are what a span's sums are beyond what was told, and all
 * of them together are what all spans' sums come to: nothing is lost by rounding, nor by
 * a clock whose rate becomes known better. Context: collector.
 */
#include "span_reporters.h"

#include "profile_common.h"
#include "sample_batch.h"
#include "sp_heap.h"
#include "sp_log.h"
#include "sp_recording_spans.h"
#include "sp_syscall.h"
#include "span_records.h"
#include "told_times.h"

#include <string.h>

struct event_reporter {
	const struct sp_reporter_ops *ops;
	void *state;
	bool is_on;
	bool has_said_unflushed;
};

struct sp_span_reporters {
	struct sp_absorber *absorber;
	struct sp_reporter_config config;
	struct event_reporter reporters[SP_EVENT_REPORTERS_MAX];
	uint32_t count;
	struct sp_span_records records;
	struct sp_told_time all_busy, all_idle; /* of all spans there ever were */
	struct sp_sample_collection *samples;
	/* Scratch: a span and those around it. */
	struct sp_span_record **chain;
	uint64_t chain_capacity;
	uint64_t last_heap_ns, last_flush_ns;
	/* Since the last flush: calls of any kind, and samples among them. */
	uint64_t unflushed_calls, unflushed_samples;
	bool has_told_heap, has_said_missed;
};

/* --- calls --- */

static void switch_off(struct event_reporter *reporter, int err)
{
	sp_log_error("reporter %s failed: %s; it is switched off", reporter->ops->name,
		     strerrordesc_np(-err));
	reporter->is_on = false;
	if (reporter->ops->fini)
		reporter->ops->fini(reporter->state);
}

/* Of all that are interested and have not failed. */
#define TELL(reporters_, call_, ...)                                                     \
	do {                                                                             \
		for (uint32_t told_ = 0; told_ < (reporters_)->count; told_++) {         \
			struct event_reporter *reporter_ =                               \
				&(reporters_)->reporters[told_];                         \
			int err_;                                                        \
                                                                                         \
			if (!reporter_->is_on || !reporter_->ops->call_)                 \
				continue;                                                \
			err_ = reporter_->ops->call_(reporter_->state, __VA_ARGS__);     \
			if (err_)                                                        \
				switch_off(reporter_, err_);                             \
		}                                                                        \
		(reporters_)->unflushed_calls++;                                         \
	} while (0)

/* What a reporter can't flush is lost; it goes on. */
static void say_unflushed(struct event_reporter *reporter, int err)
{
	if (reporter->has_said_unflushed)
		return;
	reporter->has_said_unflushed = true;
	sp_log_error("reporter %s cannot write: %s; what it had is lost",
		     reporter->ops->name, strerrordesc_np(-err));
}

static void flush(struct sp_span_reporters *reporters)
{
	for (uint32_t i = 0; i < reporters->count; i++) {
		struct event_reporter *reporter = &reporters->reporters[i];
		int err;

		if (!reporter->is_on || !reporter->ops->flush)
			continue;
		err = reporter->ops->flush(reporter->state);
		if (err)
			say_unflushed(reporter, err);
	}
	reporters->unflushed_calls = reporters->unflushed_samples = 0;
}

static bool is_flush_due(const struct sp_span_reporters *reporters, uint64_t now_ns)
{
	const struct sp_reporter_config *config = &reporters->config;

	return reporters->unflushed_samples >= config->samples_max ||
	       now_ns - reporters->last_flush_ns >= config->heap_interval_ns;
}

static const struct sp_recording_header *
header_of(const struct sp_span_reporters *reporters)
{
	return reporters->absorber->recording->header;
}

static bool is_tracked(const struct sp_span_reporters *reporters, uint32_t untracked)
{
	return !(header_of(reporters)->span_untracked & untracked);
}

/* --- new spans --- */

/* What a reporter is given of a span, for as long as the span lasts. */
struct announced {
	struct sp_span_info info;
	uint8_t trace_id[16];
	struct sp_view_label labels[SP_SPAN_LABELS_MAX];
	uint64_t scope[];
};

static struct sp_span_record *around(const struct sp_span_reporters *reporters,
				     const struct sp_span_record *record)
{
	return sp_span_record_find(&reporters->records, record->parent);
}

static struct announced *make_announced(const struct sp_span_reporters *reporters,
					const struct sp_span_record *record)
{
	const struct sp_span_record *outer = record;
	uint32_t count = 0;
	struct announced *announced;

	while (count < SP_SPAN_SCOPE_MAX && (outer = around(reporters, outer)) != NULL)
		count++;
	announced = sp_heap_zalloc(sizeof(*announced) + count * sizeof(uint64_t));
	if (!announced)
		return NULL;
	outer = record;
	for (uint32_t i = 0; i < count; i++) {
		outer = around(reporters, outer);
		announced->scope[i] = outer->id;
	}
	announced->info.scope = announced->scope;
	announced->info.scope_count = count;
	memcpy(announced->trace_id, record->trace_id, sizeof(announced->trace_id));
	announced->info.trace_id = announced->trace_id;
	return announced;
}

static void copy_labels(const struct sp_recording *recording, uint32_t label_set,
			struct announced *announced)
{
	const struct sp_label_set *set = sp_recording_label_set(recording, label_set);
	struct sp_view_sample sample = {.label_count = 0};

	if (set)
		sp_profile_add_recorded_labels(recording, set, &sample);
	memcpy(announced->labels, sample.labels, sizeof(announced->labels));
	announced->info.labels = announced->labels;
	announced->info.label_count = sample.label_count;
}

static void announce(struct sp_span_reporters *reporters, struct sp_span_record *record)
{
	const struct sp_recording *recording = reporters->absorber->recording;
	const struct sp_span_path *path = sp_recording_span_path(recording, record->path);
	const struct sp_callsite *callsite =
		path ? sp_recording_callsite(recording, path->callsite) : NULL;
	struct announced *announced = make_announced(reporters, record);
	struct sp_span_info *info;

	if (!announced) {
		reporters->records.missed_spans++;
		return;
	}
	info = &announced->info;
	info->id = record->id;
	info->follows = record->follows;
	info->name = sp_recording_span_text(recording, callsite ? callsite->name : 0);
	info->target = sp_recording_span_text(recording, callsite ? callsite->target : 0);
	info->file = sp_recording_span_text(recording, callsite ? callsite->file : 0);
	info->line = callsite ? callsite->line : 0;
	info->is_process = callsite && callsite->source == SP_SPAN_SOURCE_ENVIRONMENT;
	info->span_id = record->span_id;
	info->created_ns =
		sp_span_realtime_ns(header_of(reporters), record->created_ticks);
	copy_labels(recording, record->label_set, announced);
	record->announced = announced;
	record->has_new_labels = false;
	TELL(reporters, span_created, info);
}

/* The place of what it had before is theirs, too. */
static void tell_labels(struct sp_span_reporters *reporters,
			struct sp_span_record *record)
{
	struct announced *announced = record->announced;

	copy_labels(reporters->absorber->recording, record->label_set, announced);
	TELL(reporters, span_labelled, &announced->info);
	record->has_new_labels = false;
}

/* Those around it first, from the outermost that nobody has been told of. */
static void announce_with_scope(struct sp_span_reporters *reporters,
				struct sp_span_record *record)
{
	uint64_t count = 0;

	while (record && !record->announced) {
		if (count == reporters->chain_capacity) {
			uint64_t capacity = count ? count * 2 : 64;
			struct sp_span_record **chain = sp_heap_realloc(
				reporters->chain,
				capacity * sizeof(struct sp_span_record *));

			if (!chain)
				break;
			reporters->chain = chain;
			reporters->chain_capacity = capacity;
		}
		reporters->chain[count++] = record;
		record = around(reporters, record);
	}
	while (count)
		announce(reporters, reporters->chain[--count]);
}

/* --- what they do --- */

static uint64_t system_part(const struct sp_span_reporters *reporters, uint64_t cpu_ns)
{
	const struct sp_recording_header *header = header_of(reporters);
	double user = (double)sp_atomic_value(&header->process_user_ns);
	double system = (double)sp_atomic_value(&header->process_system_ns);

	return user + system > 0
		       ? sp_profile_integer((double)cpu_ns * system / (user + system))
		       : 0;
}

static void tell_change(struct sp_span_reporters *reporters,
			struct sp_span_record *record)
{
	double tick_ns = sp_span_ns_per_tick(header_of(reporters));
	const struct sp_span_delta *sums = &record->absorbed;
	struct sp_span_sums *told = &record->told;
	uint64_t cpu_ns = sp_told_beyond(sums->cpu_ns, &told->cpu_ns);
	uint64_t system_ns = system_part(reporters, cpu_ns);
	const struct sp_span_cpu cpu = {cpu_ns - system_ns, system_ns};
	const struct sp_span_wall wall = {
		sp_told_time_beyond(sums->busy_ticks, tick_ns, &told->busy,
				    &reporters->all_busy),
		sp_told_time_beyond(sums->idle_ticks, tick_ns, &told->idle,
				    &reporters->all_idle),
	};
	const struct sp_span_allocations allocations = {
		sp_told_beyond(sums->allocations, &told->allocations),
		sp_told_beyond(sums->alloc_bytes, &told->alloc_bytes),
	};

	if (cpu_ns && is_tracked(reporters, SP_UNTRACKED_CPU))
		TELL(reporters, span_cpu, record->id, &cpu);
	if ((wall.busy_ns | wall.idle_ns) && is_tracked(reporters, SP_UNTRACKED_WALL))
		TELL(reporters, span_wall, record->id, &wall);
	if ((allocations.count | allocations.bytes) &&
	    is_tracked(reporters, SP_UNTRACKED_ALLOCATIONS))
		TELL(reporters, span_allocations, record->id, &allocations);
	reporters->unflushed_samples++;
	record->has_changed = false;
}

/* Of all that is told at one time. */
struct heap_roundings {
	struct sp_rounding bytes, objects;
};

static void tell_heap(struct sp_span_reporters *reporters, struct sp_span_record *record,
		      struct heap_roundings *roundings)
{
	const struct sp_span_heap total = {
		sp_profile_round(record->heap_bytes, &roundings->bytes),
		sp_profile_round(record->heap_objects, &roundings->objects),
	};
	bool has_heap = total.bytes | total.count;

	/* Once more when it is gone. */
	if (has_heap || record->has_heap)
		TELL(reporters, span_heap, record->id, &total);
	record->has_heap = has_heap;
}

/* --- life --- */

static void note_changed(void *context, const struct sp_span *span,
			 const struct sp_span_delta *delta)
{
	struct sp_span_reporters *reporters = context;

	sp_span_records_change(&reporters->records, span, delta);
}

static void note_ended(void *context, const struct sp_span *span)
{
	struct sp_span_reporters *reporters = context;

	sp_span_records_end(&reporters->records, span);
}

static void note_sample(void *context, const struct sp_cpu_record *record,
			const uint64_t *frames, uint32_t frame_count)
{
	struct sp_span_reporters *reporters = context;

	sp_sample_collection_add(reporters->samples, record, frames, frame_count);
}

static bool wants_events(const struct sp_reporter_ops *ops)
{
	return ops->span_created || ops->span_labelled || ops->span_destroyed ||
	       ops->span_cpu || ops->span_wall || ops->span_allocations ||
	       ops->span_heap || ops->samples;
}

static void begin(struct sp_span_reporters *reporters, const struct sp_reporter_ops *ops)
{
	struct event_reporter *reporter = &reporters->reporters[reporters->count];
	int err;

	if (!wants_events(ops) || reporters->count == SP_EVENT_REPORTERS_MAX)
		return;
	*reporter = (struct event_reporter){.ops = ops};
	err = ops->init ? ops->init(&reporter->state, &reporters->config) : 0;
	if (err) {
		sp_log_error("reporter %s does not start: %s", ops->name,
			     strerrordesc_np(-err));
		return;
	}
	reporter->is_on = true;
	reporters->count++;
}

static bool wants_samples(const struct sp_span_reporters *reporters)
{
	for (uint32_t i = 0; i < reporters->count; i++)
		if (reporters->reporters[i].ops->samples)
			return true;
	return false;
}

static bool want_events(const struct sp_reporter_ops *const *list, size_t count)
{
	bool has_any = false;

	for (size_t i = 0; i < count; i++)
		has_any |= wants_events(list[i]);
	return has_any;
}

bool sp_span_reporters_await(struct sp_absorber *absorber,
			     const struct sp_reporter_ops *const *list, size_t count)
{
	if (!want_events(list, count))
		return false;
	absorber->telling_tid = SP_NO_THREAD;
	return true;
}

static void destroy_unused(struct sp_span_reporters *reporters)
{
	sp_span_reporters_forget(reporters->absorber);
	sp_heap_free(reporters);
}

struct sp_span_reporters *
sp_span_reporters_create(struct sp_absorber *absorber,
			 const struct sp_reporter_ops *const *list, size_t count,
			 const struct sp_reporter_config *config, uint64_t now_ns)
{
	struct sp_span_reporters *reporters =
		want_events(list, count) ? sp_heap_zalloc(sizeof(*reporters)) : NULL;

	if (!reporters) {
		sp_span_reporters_forget(absorber);
		return NULL;
	}
	reporters->absorber = absorber;
	reporters->config = *config;
	reporters->last_heap_ns = reporters->last_flush_ns = now_ns;
	reporters->records.recording = absorber->recording;
	for (size_t i = 0; i < count; i++)
		begin(reporters, list[i]);
	if (wants_samples(reporters)) {
		reporters->samples = sp_sample_collection_create(absorber->recording,
								 config->samples_max);
		absorber->sample_taken = reporters->samples ? note_sample : NULL;
	}
	if (!reporters->count) {
		destroy_unused(reporters);
		return NULL;
	}
	absorber->context = reporters;
	absorber->span_changed = note_changed;
	absorber->span_ended = note_ended;
	sp_span_reporters_move_to(reporters, (uint32_t)sp_syscall0(SYS_gettid));
	return reporters;
}

void sp_span_reporters_move_to(struct sp_span_reporters *reporters, uint32_t tid)
{
	reporters->absorber->telling_tid = tid;
}

void sp_span_reporters_forget(struct sp_absorber *absorber)
{
	absorber->telling_tid = 0;
	absorber->span_changed = NULL;
	absorber->span_ended = NULL;
	absorber->sample_taken = NULL;
	absorber->context = NULL;
}

void sp_span_reporters_look(struct sp_span_reporters *reporters)
{
	sp_span_records_find_silent(&reporters->records);
}

static void tell_samples(struct sp_span_reporters *reporters, bool is_final)
{
	_Atomic uint64_t *untold_samples = &reporters->absorber->untold_samples;
	struct sp_sample_batch batch;

	if (!reporters->samples)
		return;
	while (sp_sample_collection_next(reporters->samples, &batch)) {
		batch.missed_samples += atomic_exchange(untold_samples, 0);
		TELL(reporters, samples, &batch);
		reporters->unflushed_samples += batch.count;
	}
	sp_sample_collection_empty(reporters->samples);
	batch.missed_samples += is_final ? atomic_exchange(untold_samples, 0) : 0;
	if (batch.missed_samples)
		TELL(reporters, samples, &batch);
}

static void tell_new(struct sp_span_reporters *reporters)
{
	struct sp_span_records *records = &reporters->records;

	for (uint64_t i = 0; i < records->used; i++)
		for (struct sp_span_record *record = &records->items[i]; record;
		     record = record->next)
			if (record->id && !record->announced)
				announce_with_scope(reporters, record);
}

static void tell_changes(struct sp_span_reporters *reporters)
{
	struct sp_span_records *records = &reporters->records;

	for (uint64_t i = 0; i < records->used; i++)
		for (struct sp_span_record *record = &records->items[i]; record;
		     record = record->next) {
			if (record->has_new_labels && record->announced)
				tell_labels(reporters, record);
			if (record->has_changed && record->announced)
				tell_change(reporters, record);
		}
}

static void tell_ends(struct sp_span_reporters *reporters)
{
	struct sp_span_records *records = &reporters->records;

	for (uint64_t i = 0; i < records->used; i++) {
		struct sp_span_record *record = &records->items[i];

		while (record->has_ended) {
			if (record->announced)
				TELL(reporters, span_destroyed, record->id);
			sp_span_record_forget(record);
		}
	}
}

/* A program that ends before the first interval is over has its totals told, too. */
static void tell_memory(struct sp_span_reporters *reporters, uint64_t now_ns,
			bool is_final)
{
	struct sp_span_records *records = &reporters->records;
	struct heap_roundings roundings = {0};

	if (!is_tracked(reporters, SP_UNTRACKED_HEAP) ||
	    (now_ns - reporters->last_heap_ns < reporters->config.heap_interval_ns &&
	     (!is_final || reporters->has_told_heap)))
		return;
	reporters->last_heap_ns = now_ns;
	reporters->has_told_heap = true;
	sp_span_records_sum_heap(records);
	for (uint64_t i = 0; i < records->used; i++)
		for (struct sp_span_record *record = &records->items[i]; record;
		     record = record->next)
			if (record->announced)
				tell_heap(reporters, record, &roundings);
}

void sp_span_reporters_tell(struct sp_span_reporters *reporters, uint64_t now_ns,
			    bool is_final)
{
	struct sp_span_records *records = &reporters->records;

	tell_new(reporters);
	tell_changes(reporters);
	tell_memory(reporters, now_ns, is_final);
	tell_ends(reporters);
	tell_samples(reporters, is_final);
	if (reporters->unflushed_calls && (is_final || is_flush_due(reporters, now_ns))) {
		reporters->last_flush_ns = now_ns;
		flush(reporters);
	}
	if (records->missed_spans && !reporters->has_said_missed) {
		reporters->has_said_missed = true;
		sp_log_error("no memory to tell reporters of all spans");
	}
}

bool sp_span_reporters_are_on(const struct sp_span_reporters *reporters)
{
	for (uint32_t i = 0; i < reporters->count; i++)
		if (reporters->reporters[i].is_on)
			return true;
	return false;
}

void sp_span_reporters_destroy(struct sp_span_reporters *reporters)
{
	sp_span_reporters_forget(reporters->absorber);
	if (reporters->unflushed_calls)
		flush(reporters);
	for (uint32_t i = 0; i < reporters->count; i++) {
		struct event_reporter *reporter = &reporters->reporters[i];

		if (reporter->is_on && reporter->ops->fini)
			reporter->ops->fini(reporter->state);
	}
	sp_span_records_fini(&reporters->records);
	if (reporters->samples)
		sp_sample_collection_destroy(reporters->samples);
	sp_heap_free(reporters->chain);
	sp_heap_free(reporters);
}
