/*
 * The tables of spans as a killed process left them, or as they were copied while it
 * wrote them: items that are not filled yet and texts that nobody refers to are nothing
 * unusual. What points astray loses what it points to, and is counted; only sums that
 * cannot be are refused. Context: collector.
 */
#include "recording_check_span.h"

#include "sp_recording_spans.h"
#include "span_stays.h"

/* As for the other sums. Idle time may be more: it is that of many spans at once, and is
 * cut where it is shown. */
#define SUM_MAX (UINT64_C(1) << 62)
/* The slowest and the fastest clock there may be. */
#define TICKS_PER_SECOND_MIN UINT64_C(1000000)
#define TICKS_PER_SECOND_MAX UINT64_C(1000000000000)

static void *item_at(const struct sp_recording *recording, enum sp_section_kind kind,
		     uint64_t index)
{
	return sp_recording_item(recording, kind, index);
}

/* --- tables --- */

static void end_texts(struct sp_recording *recording)
{
	uint64_t used = sp_recording_used(recording, SP_SECTION_SPAN_TEXT);

	if (used)
		*(char *)item_at(recording, SP_SECTION_SPAN_TEXT, used - 1) = '\0';
}

static bool mend_text(const struct sp_recording *recording, uint32_t *offset)
{
	if (!*offset || *offset < sp_recording_used(recording, SP_SECTION_SPAN_TEXT))
		return false;
	*offset = 0;
	return true;
}

static void count_damage(const struct sp_recording *recording, bool is_damaged)
{
	sp_recording_count(recording, SP_LOSS_DAMAGED, is_damaged);
}

static void mend_callsites(struct sp_recording *recording)
{
	uint64_t count = sp_recording_used(recording, SP_SECTION_CALLSITES);

	for (uint64_t i = 0; i < count; i++) {
		struct sp_callsite *callsite =
			item_at(recording, SP_SECTION_CALLSITES, i);
		bool is_damaged = false;

		if (!sp_recording_callsite(recording, (uint32_t)i))
			continue;
		is_damaged |= mend_text(recording, &callsite->name);
		is_damaged |= mend_text(recording, &callsite->target);
		is_damaged |= mend_text(recording, &callsite->file);
		if (callsite->source >= SP_SPAN_SOURCE_COUNT) {
			callsite->source = SP_SPAN_SOURCE_API;
			is_damaged = true;
		}
		count_damage(recording, is_damaged);
	}
}

/* In order: what is outside of a path has been looked at. Its depth is what it is. */
static void mend_paths(struct sp_recording *recording)
{
	uint64_t count = sp_recording_used(recording, SP_SECTION_SPAN_PATHS);

	for (uint32_t i = 0; i < count; i++) {
		struct sp_span_path *path = item_at(recording, SP_SECTION_SPAN_PATHS, i);
		const struct sp_span_path *parent = NULL;
		bool is_damaged = false;

		if (!sp_recording_span_path(recording, i))
			continue;
		if (path->parent && path->parent <= i)
			parent = sp_recording_span_path(recording, path->parent - 1);
		if (path->parent && !parent) {
			path->parent = 0;
			is_damaged = true;
		}
		path->depth = parent ? parent->depth + 1 : 1;
		is_damaged |= !sp_recording_callsite(recording, path->callsite);
		count_damage(recording, is_damaged);
	}
}

static void mend_label_sets(struct sp_recording *recording)
{
	uint64_t count = sp_recording_used(recording, SP_SECTION_LABEL_SETS);

	for (uint32_t i = 0; i < count; i++) {
		struct sp_label_set *set = item_at(recording, SP_SECTION_LABEL_SETS, i);
		bool is_damaged = false;

		if (!sp_recording_label_set(recording, i))
			continue;
		if (set->path && !sp_recording_span_path(recording, set->path - 1)) {
			set->path = 0;
			is_damaged = true;
		}
		for (unsigned int text = 0; text < 2 * SP_SPAN_LABELS_MAX; text++)
			is_damaged |= mend_text(recording, &set->labels[text]);
		is_damaged |= mend_text(recording, &set->thread_name);
		is_damaged |= mend_text(recording, &set->process_title);
		count_damage(recording, is_damaged);
	}
}

/* --- spans --- */

static bool is_counted(const struct sp_span *span)
{
	uint32_t state = atomic_load_explicit(&span->state, memory_order_relaxed);

	return state == SP_SPAN_OPEN || state == SP_SPAN_CLOSED || state == SP_SPAN_HELD;
}

/* Of stays that make no sense, what was taken over. */
static bool mend_stays(struct sp_span *span, uint64_t last_ticks)
{
	uint64_t use = sp_atomic_value(&span->use), busy_ticks;

	if (sp_span_stays_at(span, last_ticks, &busy_ticks))
		return false;
	/* As it is while nobody is inside. */
	if (use & SP_SPAN_USE_COUNT)
		atomic_store_explicit(&span->idle_ticks,
				      sp_atomic_value(&span->absorbed_idle_ticks) -
					      last_ticks,
				      memory_order_relaxed);
	atomic_store_explicit(&span->stay_ticks,
			      sp_atomic_value(&span->absorbed_busy_ticks),
			      memory_order_relaxed);
	atomic_store_explicit(&span->use, use & ~(SP_SPAN_USE_COUNT | SP_SPAN_USE_SHARED),
			      memory_order_relaxed);
	return true;
}

static void mend_spans(struct sp_recording *recording)
{
	uint64_t count = sp_recording_used(recording, SP_SECTION_SPANS);
	uint64_t last_ticks = sp_recording_last_ticks(recording);

	for (uint64_t i = 0; i < count; i++) {
		struct sp_span *span = item_at(recording, SP_SECTION_SPANS, i);
		uint32_t state = atomic_load_explicit(&span->state, memory_order_relaxed);

		if (is_counted(span) && sp_recording_span_path(recording, span->path)) {
			count_damage(recording, mend_stays(span, last_ticks));
			continue;
		}
		/* One that was being created has done nothing yet. */
		count_damage(recording,
			     state != SP_SPAN_FREE && state != SP_SPAN_CLAIMED);
		atomic_store_explicit(&span->state, SP_SPAN_FREE, memory_order_relaxed);
	}
}

/* --- sums --- */

struct sums {
	uint64_t busy_ticks, cpu_ns, allocations, alloc_bytes, entered, spans;
};

static bool add_value(uint64_t *sum, uint64_t value)
{
	*sum += value;
	return value <= SUM_MAX && *sum <= SUM_MAX;
}

static bool add(uint64_t *sum, const _Atomic uint64_t *word)
{
	return add_value(sum, sp_atomic_value(word));
}

static bool add_path(struct sums *sums, const struct sp_span_path *path)
{
	return add(&sums->busy_ticks, &path->busy_ticks) &&
	       add(&sums->cpu_ns, &path->cpu_ns) &&
	       add(&sums->allocations, &path->allocations) &&
	       add(&sums->alloc_bytes, &path->alloc_bytes) &&
	       add(&sums->entered, &path->entered) && add(&sums->spans, &path->spans);
}

static bool add_span(struct sums *sums, const struct sp_span *span, uint64_t last_ticks)
{
	uint64_t busy_ticks = 0;

	sp_span_stays_at(span, last_ticks, &busy_ticks);
	return add_value(&sums->busy_ticks, busy_ticks) &&
	       add(&sums->cpu_ns, &span->cpu_ns) &&
	       add(&sums->allocations, &span->allocations) &&
	       add(&sums->alloc_bytes, &span->alloc_bytes) &&
	       add(&sums->entered, &span->entered);
}

bool sp_recording_has_sane_span_sums(const struct sp_recording *recording)
{
	uint64_t paths = sp_recording_used(recording, SP_SECTION_SPAN_PATHS);
	uint64_t spans = sp_recording_used(recording, SP_SECTION_SPANS);
	uint64_t last_ticks = sp_recording_last_ticks(recording);
	struct sums sums = {0};

	for (uint64_t i = 0; i < paths; i++)
		if (!add_path(&sums, item_at(recording, SP_SECTION_SPAN_PATHS, i)))
			return false;
	for (uint64_t i = 0; i < spans; i++) {
		const struct sp_span *span = item_at(recording, SP_SECTION_SPANS, i);

		if (is_counted(span) && !add_span(&sums, span, last_ticks))
			return false;
	}
	return true;
}

/* --- all --- */

static bool has_sane_settings(const struct sp_recording_header *header)
{
	uint64_t ticks = sp_atomic_value(&header->span_ticks_per_second);

	return header->span_probability_millionths <= 1000000 &&
	       (!ticks ||
		(ticks >= TICKS_PER_SECOND_MIN && ticks <= TICKS_PER_SECOND_MAX));
}

const char *sp_recording_check_spans(struct sp_recording *recording)
{
	if (!has_sane_settings(recording->header))
		return "damaged: its clock or its part of spans makes no sense";
	end_texts(recording);
	mend_callsites(recording);
	mend_paths(recording);
	mend_label_sets(recording);
	mend_spans(recording);
	/* Here already: what is absorbed could carry a sum over the end of its word. */
	if (!sp_recording_has_sane_span_sums(recording))
		return "damaged: its span sums make no sense";
	return NULL;
}
