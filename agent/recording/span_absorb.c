/*
 * From spans to the sums of their paths. A span's sums only grow; what was taken over
 * stands beside them, and both change in one journal change with the path's sums. An
 * entry is given back only when that change is over. Context: signal, consumer lock
 * held.
 */
#include "span_absorb.h"

#include "journal.h"
#include "sp_clock.h"
#include "sp_recording_span.h"
#include "sp_recording_writer.h"
#include "span_stays.h"
#include "span_use.h"

#define SPANS_AHEAD 64U
#define TEXT_BYTES_AHEAD 2048U
#define ITEMS_AHEAD 32U

static struct sp_span *span_at(const struct sp_absorber *absorber, uint64_t index)
{
	return sp_recording_item(absorber->recording, SP_SECTION_SPANS, index);
}

static uint64_t above(uint64_t value, uint64_t before)
{
	return value > before ? value - before : 0;
}

static void read_delta(const struct sp_span *span, uint64_t end_ticks,
		       struct sp_span_delta *delta)
{
	uint64_t known_busy = sp_atomic_value(&span->absorbed_busy_ticks);
	uint64_t known_idle = sp_atomic_value(&span->absorbed_idle_ticks);
	uint64_t busy_ticks = known_busy, idle_ticks = known_idle;

	sp_span_stays_at(span, end_ticks, &busy_ticks);
	sp_span_idle_at(span, end_ticks, &idle_ticks);
	*delta = (struct sp_span_delta){
		.busy_ticks = busy_ticks - known_busy,
		.idle_ticks = above(idle_ticks, known_idle),
		.cpu_ns = above(sp_atomic_value(&span->cpu_ns),
				sp_atomic_value(&span->absorbed_cpu_ns)),
		.allocations = above(sp_atomic_value(&span->allocations),
				     sp_atomic_value(&span->absorbed_allocations)),
		.alloc_bytes = above(sp_atomic_value(&span->alloc_bytes),
				     sp_atomic_value(&span->absorbed_alloc_bytes)),
		.entered = above(sp_atomic_value(&span->entered),
				 sp_atomic_value(&span->absorbed_entered)),
	};
}

static bool is_zero(const struct sp_span_delta *delta)
{
	return !(delta->busy_ticks | delta->idle_ticks | delta->cpu_ns |
		 delta->allocations | delta->alloc_bytes | delta->entered);
}

/* Both sums of one value. */
static void move(struct sp_change *change, const _Atomic uint64_t *path_sum,
		 const _Atomic uint64_t *absorbed, uint64_t delta)
{
	if (!delta)
		return;
	sp_change_add(change, path_sum, delta);
	sp_change_add(change, absorbed, delta);
}

/* NULL in a damaged file. */
static struct sp_span_path *path_of(const struct sp_absorber *absorber,
				    const struct sp_span *span)
{
	return span->path < sp_recording_used(absorber->recording, SP_SECTION_SPAN_PATHS)
		       ? sp_recording_item(absorber->recording, SP_SECTION_SPAN_PATHS,
					   span->path)
		       : NULL;
}

static void put_state(struct sp_change *change, const struct sp_span *span,
		      enum sp_span_state state)
{
	/* State and generation share a word. */
	sp_change_put(
		change, span,
		(uint64_t)atomic_load_explicit(&span->generation, memory_order_relaxed)
				<< 32 |
			state);
}

static void absorb_delta(struct sp_absorber *absorber, struct sp_span *span,
			 const struct sp_span_delta *delta, bool is_closed)
{
	struct sp_span_path *path = path_of(absorber, span);
	struct sp_change change;

	sp_change_begin(&change, absorber->recording);
	if (path) {
		move(&change, &path->busy_ticks, &span->absorbed_busy_ticks,
		     delta->busy_ticks);
		move(&change, &path->idle_ticks, &span->absorbed_idle_ticks,
		     delta->idle_ticks);
		move(&change, &path->cpu_ns, &span->absorbed_cpu_ns, delta->cpu_ns);
		move(&change, &path->allocations, &span->absorbed_allocations,
		     delta->allocations);
		move(&change, &path->alloc_bytes, &span->absorbed_alloc_bytes,
		     delta->alloc_bytes);
		move(&change, &path->entered, &span->absorbed_entered, delta->entered);
		if (is_closed)
			sp_change_add(&change, &path->spans, 1);
	}
	if (is_closed)
		put_state(&change, span, SP_SPAN_HELD);
	sp_change_commit(&change, NULL, NULL);
	sp_absorber_step("span: absorbed");
}

static void give_back(struct sp_absorber *absorber, struct sp_span *span, uint64_t index)
{
	if (absorber->span_ended)
		absorber->span_ended(absorber->context, span);
	/* Release: pairs with the hook that takes the entry. */
	atomic_store_explicit(&span->state, SP_SPAN_FREE, memory_order_release);
	sp_absorber_step("span: free");
	if (absorber->give_span_back)
		absorber->give_span_back((uint32_t)index);
}

/* Is memory of a closed span in use, and does anybody want to know? */
static bool is_in_use(const struct sp_absorber *absorber, const struct sp_span *span)
{
	if (absorber->recording->header->span_untracked & SP_UNTRACKED_HEAP)
		return false;
	/* Acquire: no block, then no bytes. */
	return atomic_load_explicit(&span->live_blocks, memory_order_acquire) > 0;
}

/* True when it was closed. */
static bool absorb_span(struct sp_absorber *absorber, struct sp_span *span,
			uint32_t state, uint64_t now_ticks)
{
	bool is_closed = state == SP_SPAN_CLOSED;
	struct sp_span_delta delta;

	read_delta(span, is_closed ? sp_atomic_value(&span->closed_ticks) : now_ticks,
		   &delta);
	if (is_zero(&delta) && !is_closed)
		return false;
	if (absorber->span_changed)
		absorber->span_changed(absorber->context, span, &delta);
	absorb_delta(absorber, span, &delta, is_closed);
	return is_closed;
}

/* --- evicting --- */

static bool is_held(const struct sp_span *span)
{
	return atomic_load_explicit(&span->state, memory_order_relaxed) == SP_SPAN_HELD;
}

/* When the held spans were closed: how many in each of so many equal parts of the time
 * between the first and the last. */
#define AGES 64U

struct ages {
	uint64_t first_ticks, part_ticks;
	uint32_t spans[AGES];
};

static uint64_t age_of(const struct ages *ages, const struct sp_span *span)
{
	uint64_t part = above(sp_atomic_value(&span->closed_ticks), ages->first_ticks) /
			ages->part_ticks;

	return part < AGES ? part : AGES - 1;
}

static void find_ages(const struct sp_absorber *absorber, uint64_t used,
		      struct ages *ages)
{
	uint64_t first = UINT64_MAX, last = 0;

	for (uint64_t i = 0; i < used; i++) {
		const struct sp_span *span = span_at(absorber, i);
		uint64_t closed = sp_atomic_value(&span->closed_ticks);

		if (!is_held(span))
			continue;
		first = closed < first ? closed : first;
		last = closed > last ? closed : last;
	}
	*ages = (struct ages){.first_ticks = first,
			      .part_ticks = above(last, first) / AGES + 1};
	for (uint64_t i = 0; i < used; i++) {
		const struct sp_span *span = span_at(absorber, i);

		if (is_held(span))
			ages->spans[age_of(ages, span)]++;
	}
}

/* Of the held spans so many, those that were closed first: all of the first parts of
 * the time, and any of the part that must go half. There may be very many at once. */
static void evict(struct sp_absorber *absorber, uint64_t used, uint64_t excess)
{
	uint64_t whole_parts = 0, rest;
	struct ages ages;

	find_ages(absorber, used, &ages);
	for (rest = excess; whole_parts < AGES && ages.spans[whole_parts] <= rest;
	     whole_parts++)
		rest -= ages.spans[whole_parts];
	for (uint64_t i = 0; i < used; i++) {
		struct sp_span *span = span_at(absorber, i);
		uint64_t part;

		if (!is_held(span))
			continue;
		part = age_of(&ages, span);
		if (part > whole_parts || (part == whole_parts && !rest))
			continue;
		rest -= part == whole_parts;
		sp_recording_count(absorber->recording, SP_LOSS_SPAN_EVICTED, 1);
		give_back(absorber, span, i);
	}
}

/* Deeper ones are looked at together, and all of them where nobody is told. */
#define LEVELS_MAX 16U

struct pass {
	struct sp_absorber *absorber;
	uint32_t levels;
	uint64_t now_ticks, closed;
};

static uint32_t level_of(const struct pass *pass, const struct sp_span *span)
{
	const struct sp_span_path *path = path_of(pass->absorber, span);

	return path && path->depth < pass->levels ? path->depth : pass->levels;
}

/* False when there was none of that level, nor a deeper one. */
static bool absorb_level(struct pass *pass, uint32_t level)
{
	uint64_t used = sp_recording_used(pass->absorber->recording, SP_SECTION_SPANS);
	bool has_any = false;

	for (uint64_t i = 0; i < used; i++) {
		struct sp_span *span = span_at(pass->absorber, i);
		/* Acquire: what a closed span's threads added is all there. */
		uint32_t state = atomic_load_explicit(&span->state, memory_order_acquire);
		uint32_t span_level;

		if (state != SP_SPAN_OPEN && state != SP_SPAN_CLOSED)
			continue;
		span_level = level_of(pass, span);
		has_any |= span_level >= level;
		if (span_level != level ||
		    !absorb_span(pass->absorber, span, state, pass->now_ticks))
			continue;
		pass->closed++;
		/* At once, as others may be waiting for entries: but who is told of a
		 * span is told of those around it, too. */
		if (!pass->absorber->span_changed && !is_in_use(pass->absorber, span))
			give_back(pass->absorber, span, i);
	}
	return has_any;
}

/* That of the process itself, or what is known of it. */
static uint64_t look_at_clock(struct sp_absorber *absorber)
{
	uint64_t now_ticks = absorber->now_ticks
				     ? absorber->now_ticks()
				     : sp_recording_last_ticks(absorber->recording);

	atomic_store_explicit(&absorber->recording->header->span_last_ticks, now_ticks,
			      memory_order_seq_cst);
	/* Before anything is looked at: whoever changes it later knows of this look. */
	atomic_thread_fence(memory_order_seq_cst);
	return now_ticks;
}

/*
 * A span's time contains that of the spans inside, whose stays end before its own. It is
 * looked at before them: then nothing is in it that is not seen of them later in the
 * same pass, and what is left of it without them is never told too much.
 */
static uint64_t absorb_outer_first(struct sp_absorber *absorber)
{
	struct pass pass = {
		.absorber = absorber,
		.levels = absorber->span_changed ? LEVELS_MAX : 1,
		.now_ticks = look_at_clock(absorber),
	};
	uint32_t level = 1;

	while (level <= pass.levels && absorb_level(&pass, level))
		level++;
	return pass.closed;
}

/* Entries of spans that are over and have no memory in use; returns how many there are
 * of those that have. */
static uint64_t free_entries(struct sp_absorber *absorber, uint64_t used)
{
	uint64_t in_use = 0, held = 0;

	for (uint64_t i = 0; i < used; i++) {
		struct sp_span *span = span_at(absorber, i);

		if (is_held(span)) {
			if (is_in_use(absorber, span))
				held++;
			else
				give_back(absorber, span, i);
		}
		in_use += atomic_load_explicit(&span->state, memory_order_relaxed) !=
			  SP_SPAN_FREE;
	}
	absorber->spans_in_use = in_use;
	return held;
}

uint64_t sp_span_absorb(struct sp_absorber *absorber)
{
	uint64_t used = sp_recording_used(absorber->recording, SP_SECTION_SPANS);
	uint64_t closed = absorb_outer_first(absorber);
	uint64_t held = free_entries(absorber, used);

	if (held > absorber->held_spans_max && absorber->give_span_back) {
		evict(absorber, used, held - absorber->held_spans_max);
		absorber->spans_in_use -= held - absorber->held_spans_max;
	}
	if (absorber->span_pass_ended)
		absorber->span_pass_ended(absorber->spans_in_use);
	return closed;
}

static void keep_ahead(struct sp_recording *recording, enum sp_section_kind kind,
		       uint64_t ahead_items)
{
	uint64_t wanted = sp_recording_used(recording, kind) + ahead_items;
	uint64_t capacity = recording->header->sections[kind].capacity_items;

	sp_recording_reserve(recording, kind, wanted < capacity ? wanted : capacity);
}

void sp_span_keep_ahead(struct sp_absorber *absorber)
{
	struct sp_recording *recording = absorber->recording;
	uint64_t reserved = sp_recording_reserved(recording, SP_SECTION_SPANS);
	uint64_t capacity = recording->header->sections[SP_SECTION_SPANS].capacity_items;

	if (sp_recording_used(recording, SP_SECTION_SPAN_PATHS) == 0)
		return;
	keep_ahead(recording, SP_SECTION_SPAN_TEXT, TEXT_BYTES_AHEAD);
	keep_ahead(recording, SP_SECTION_CALLSITES, ITEMS_AHEAD);
	keep_ahead(recording, SP_SECTION_SPAN_PATHS, ITEMS_AHEAD);
	keep_ahead(recording, SP_SECTION_LABEL_SETS, ITEMS_AHEAD);
	/* Many spans are few entries, if they are short: the table grows with those
	 * that are open, and a little with how fast they come. */
	if (absorber->spans_in_use * 2 > reserved)
		sp_recording_reserve(recording, SP_SECTION_SPANS,
				     reserved * 2 < capacity ? reserved * 2 : capacity);
	else
		keep_ahead(recording, SP_SECTION_SPANS, SPANS_AHEAD);
}
