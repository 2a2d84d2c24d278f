/*
 * One round of the reporter thread. How often it comes is the thread's business
 * (reporter_thread.c); what a round does depends on what has happened since the
 * last, so that a sleeping program costs next to nothing. Context: collector.
 */
#include "sp_collector.h"

#include "heap_absorb.h"
#include "sp_clock.h"
#include "sp_heap_capture.h"
#include "sp_pages.h"
#include "sp_process_identity.h"
#include "sp_recording_writer.h"
#include "sp_ring.h"
#include "sp_span_capture.h"
#include "sp_syscall.h"
#include "sp_unwind.h"

#include "span_absorb.h"
#include "span_reporters.h"
#include <stdlib.h>
#include <string.h>

/* A round for so much CPU time of the program's, and how often it comes whatever that
 * is: a program that has a part of a processor pays for a part of the rounds. */
#define ROUND_CPU_NS (SP_NS_PER_SECOND / 4)
#define ROUND_PERIOD_MIN_NS (SP_NS_PER_SECOND / 4)
#define ROUND_PERIOD_MAX_NS SP_NS_PER_SECOND
/* Of thousands of threads a list is dear: it takes a thousandth of the time, but comes
 * once a second. */
#define LISTING_PERIOD_NS (SP_NS_PER_SECOND / 4)
#define LISTING_PERIOD_MAX_NS SP_NS_PER_SECOND
#define LISTING_SHARE 1000U
/* Whoever is new on the list is believed when seen again. */
#define SECOND_LOOK_NS (SP_NS_PER_SECOND / 20)
#define CLOCKS_PERIOD_NS (SP_NS_PER_SECOND / 4)
#define HEAP_PERIOD_NS (2 * SP_NS_PER_SECOND)
/* Two clocks are compared over at least that: reading them takes some 30 ns. */
#define CALIBRATION_NS_MIN UINT64_C(10000)
/* Less CPU time than this since the last look: the program sleeps. */
#define IDLE_CPU_NS UINT64_C(1000000)
/* This part of the time or more: it is at work, also where nobody is sampled yet. */
#define BUSY_PARTS 32U
/* Free rings and slots kept ready for threads that are about to come. Of rings so many,
 * or as many as are in use: where hundreds of threads are at work, ours waits for long
 * until it may run again. */
#define RINGS_AHEAD 1U
#define RINGS_AHEAD_MANY 64U
#define SLOTS_AHEAD 32U

/* Of a thread that lives. */
static const struct sp_group *group_of(const struct sp_recording *recording,
				       const struct sp_slot *slot)
{
	uint32_t group = atomic_load_explicit(&slot->group, memory_order_relaxed);

	return sp_recording_item(recording, SP_SECTION_GROUPS, group % SP_GROUPS);
}

/* Threads of the kernel are never sampled. */
static bool may_want_ring(const struct sp_recording *recording,
			  const struct sp_slot *slot)
{
	uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);

	if (state == SP_SLOT_FREE ||
	    atomic_load_explicit(&slot->ring, memory_order_relaxed))
		return false;
	return state != SP_SLOT_LIVE ||
	       sp_atomic_value(&group_of(recording, slot)->entry_address) !=
		       SP_ENTRY_KERNEL_WORKER;
}

static uint64_t rings_in_use(const struct sp_recording *recording)
{
	uint64_t all = sp_recording_used(recording, SP_SECTION_RINGS_LARGE) +
		       sp_recording_used(recording, SP_SECTION_RINGS_SMALL);
	uint64_t free = sp_atomic_value(&recording->header->free_ring_count);

	return all > free ? all - free : 0;
}

static void keep_rings_ahead(struct sp_recording *recording)
{
	uint64_t slots = sp_recording_used(recording, SP_SECTION_SLOTS);
	uint64_t in_use = rings_in_use(recording);
	uint64_t most = in_use < RINGS_AHEAD_MANY ? RINGS_AHEAD_MANY : in_use;
	uint64_t wanted = 0;

	for (uint64_t i = 0; i < slots && wanted < most; i++)
		wanted += may_want_ring(
			recording, sp_recording_item(recording, SP_SECTION_SLOTS, i));
	sp_ring_pool_grow(recording, wanted < RINGS_AHEAD ? RINGS_AHEAD : wanted);
}

static void keep_storage_ahead(struct sp_collector *collector)
{
	struct sp_recording *recording = collector->recording;
	uint64_t live = atomic_load_explicit(&recording->header->live_slots,
					     memory_order_relaxed);

	keep_rings_ahead(recording);
	if (live + SLOTS_AHEAD > sp_recording_reserved(recording, SP_SECTION_SLOTS))
		sp_recording_reserve(recording, SP_SECTION_SLOTS, live + 4 * SLOTS_AHEAD);
	sp_heap_keep_ahead(collector->absorber);
	sp_span_keep_ahead(collector->absorber);
	sp_heap_filter_keep_ahead(recording);
	sp_heap_capture_make_large_pages(recording);
}

void sp_collector_keep_ahead(struct sp_collector *collector)
{
	if (!sp_absorber_try_lock(collector->absorber, (uint32_t)sp_syscall0(SYS_gettid)))
		return;
	keep_storage_ahead(collector);
	sp_absorber_unlock(collector->absorber);
}

/* Entry functions of threads are plain addresses until somebody who knows the
 * modules writes them as frames. */
static void name_groups(struct sp_recording *recording)
{
	const struct sp_unwind_snapshot *snapshot =
		atomic_load_explicit(&sp_unwind_snapshot, memory_order_acquire);
	struct sp_group *groups = sp_recording_item(recording, SP_SECTION_GROUPS, 0);

	for (uint32_t i = 1; i < SP_GROUPS && snapshot; i++) {
		uint64_t address = atomic_load_explicit(&groups[i].entry_address,
							memory_order_relaxed);
		const struct sp_unwind_module *module;

		if (!address ||
		    atomic_load_explicit(&groups[i].entry_frame, memory_order_relaxed))
			continue;
		module = sp_unwind_find_module(snapshot, address);
		atomic_store_explicit(
			&groups[i].entry_frame,
			module ? sp_frame_make(module->id, address - module->base)
			       : sp_frame_make(SP_MODULE_NONE, address),
			memory_order_relaxed);
	}
}

/* Better from round to round; of a process that ends after less than one, as good as can
 * be. */
static void calibrate_cycles(struct sp_recording_header *header)
{
	uint64_t elapsed_ns, cycles, cycles_per_second;

	sp_clock_read_both(&elapsed_ns, &cycles);
	elapsed_ns -= header->start_monotonic_ns;
	if (elapsed_ns < CALIBRATION_NS_MIN)
		return;
	cycles_per_second = (uint64_t)((double)(cycles - header->start_cycles) * 1e9 /
				       (double)elapsed_ns);
	atomic_store_explicit(&header->cycles_per_second, cycles_per_second,
			      memory_order_relaxed);
	atomic_store_explicit(&header->span_ticks_per_second,
			      sp_clock_has_steady_cycles ? cycles_per_second
							 : SP_NS_PER_SECOND,
			      memory_order_relaxed);
}

/* What the process has of the kernel, beside what malloc() says it gave out. */
static void read_memory(struct sp_collector *collector)
{
	uint64_t resident_pages, shared_pages;
	char text[256], *at;

	/* Pages: of the address space, resident, and those of files and shared memory. */
	sp_process_read_open(sp_process_open("statm"), text, sizeof(text));
	strtoull(text, &at, 10);
	resident_pages = strtoull(at, &at, 10);
	shared_pages = strtoull(at, &at, 10);
	if (resident_pages > shared_pages)
		atomic_store_explicit(&collector->recording->header->anonymous_bytes,
				      (resident_pages - shared_pages) * SP_PAGE_BYTES,
				      memory_order_relaxed);
}

/* The time in which a program takes ROUND_CPU_NS at the rate of the last look. */
static uint64_t round_period_ns(uint64_t used_ns, uint64_t elapsed_ns)
{
	const uint64_t slowest = ROUND_PERIOD_MAX_NS / ROUND_CPU_NS;
	uint64_t period_ns;

	if (used_ns < elapsed_ns / slowest)
		return ROUND_PERIOD_MAX_NS;
	period_ns = (uint64_t)((double)ROUND_CPU_NS * (double)elapsed_ns /
			       ((double)used_ns + 1));
	return period_ns > ROUND_PERIOD_MIN_NS ? period_ns : ROUND_PERIOD_MIN_NS;
}

/* Does the program do anything? Its threads and clocks need no look otherwise. */
static bool has_worked(struct sp_collector *collector, uint64_t now_ns)
{
	uint64_t host_ns = sp_clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) -
			   sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
	uint64_t used_ns = host_ns - collector->last_host_cpu_ns;
	uint64_t elapsed_ns = now_ns - collector->last_look_ns;

	collector->last_look_ns = now_ns;
	collector->is_program_busy =
		used_ns >= IDLE_CPU_NS && used_ns >= elapsed_ns / BUSY_PARTS;
	collector->round_period_ns = round_period_ns(used_ns, elapsed_ns);
	if (used_ns < IDLE_CPU_NS)
		return false;
	collector->last_host_cpu_ns = host_ns;
	return true;
}

static uint64_t listing_period_ns(const struct sp_collector *collector)
{
	uint64_t period_ns =
		collector->strangers.has_news ? SECOND_LOOK_NS : LISTING_PERIOD_NS;
	uint64_t affordable_ns = collector->listing_cpu_ns * LISTING_SHARE;

	if (affordable_ns > LISTING_PERIOD_MAX_NS)
		return LISTING_PERIOD_MAX_NS;
	return affordable_ns > period_ns ? affordable_ns : period_ns;
}

/* The second look does not wait for the program to do something. */
static bool is_listing_due(const struct sp_collector *collector, uint64_t now_ns,
			   bool is_awake)
{
	return (is_awake || collector->strangers.has_news) &&
	       now_ns - collector->last_listing_ns >= listing_period_ns(collector);
}

static void follow_threads(struct sp_collector *collector, uint64_t now_ns)
{
	uint64_t before_ns = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);

	collector->last_listing_ns = now_ns;
	sp_collector_list_threads(collector);
	collector->listing_cpu_ns = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - before_ns;
	collector->calls->verify_signal();
}

uint64_t sp_collector_pace_max_ns(const struct sp_collector *collector)
{
	if (collector->strangers.has_news)
		return listing_period_ns(collector);
	return collector->is_program_busy ? collector->round_period_ns : UINT64_MAX;
}

uint64_t sp_collector_pace_ns(const struct sp_collector *collector)
{
	/* What spans come to is told to others soon, and ended ones make room. A callsite
	 * alone is none yet. */
	return sp_recording_used(collector->recording, SP_SECTION_SPAN_PATHS)
		       ? ROUND_PERIOD_MIN_NS
		       : collector->round_period_ns;
}

/* Locked, so that no slot goes to another thread meanwhile. */
static void publish_heap(struct sp_collector *collector)
{
	if (!sp_absorber_try_lock(collector->absorber, (uint32_t)sp_syscall0(SYS_gettid)))
		return;
	sp_heap_capture_publish(collector->recording);
	sp_absorber_unlock(collector->absorber);
}

static void follow_clocks(struct sp_collector *collector, uint64_t now_ns, bool is_final)
{
	struct sp_recording_header *header = collector->recording->header;

	collector->last_clocks_ns = now_ns;
	name_groups(collector->recording);
	sp_collector_read_clocks(collector);
	publish_heap(collector);
	if (is_final && header->heap_rate_bytes)
		read_memory(collector);
	atomic_store_explicit(&header->last_update_monotonic_ns, now_ns,
			      memory_order_relaxed);
	atomic_store_explicit(&header->are_clocks_final, is_final, memory_order_relaxed);
}

/* Nobody saw those start that have no address. */
static bool has_named_group(const struct sp_recording *recording,
			    const struct sp_slot *slot)
{
	const struct sp_group *group = group_of(recording, slot);

	return !sp_atomic_value(&group->entry_address) ||
	       sp_atomic_value(&group->entry_frame);
}

void sp_collector_note_clocks(struct sp_recording *recording, struct sp_slot *slot)
{
	struct sp_recording_header *header = recording->header;

	calibrate_cycles(header);
	/* All of them are many lines of the cache. */
	if (!has_named_group(recording, slot))
		name_groups(recording);
	sp_collector_read_thread_clock(header, slot);
	sp_collector_read_process_clock(header);
	sp_heap_capture_publish(recording);
	atomic_store_explicit(&header->last_update_monotonic_ns, sp_clock_monotonic_ns(),
			      memory_order_relaxed);
}

/* Locked, for reporters of events; when all have failed nobody need know of spans. */
static void look_at_spans(struct sp_collector *collector)
{
	if (!collector->reporters)
		return;
	if (sp_span_reporters_are_on(collector->reporters)) {
		sp_span_reporters_look(collector->reporters);
		return;
	}
	sp_span_reporters_destroy(collector->reporters);
	collector->reporters = NULL;
}

/* What a handler that drains leaves, spans among it, is taken later, but in the last
 * round. */
static bool lock_for_round(struct sp_collector *collector, bool is_final)
{
	bool is_locked = sp_absorber_lock_within(collector->absorber,
						 (uint32_t)sp_syscall0(SYS_gettid),
						 is_final ? SP_NS_PER_SECOND : 0);

	if (is_final)
		collector->was_kept_out = !is_locked;
	return is_locked;
}

static bool are_clocks_due(const struct sp_collector *collector, uint64_t now_ns,
			   bool is_awake)
{
	return is_awake && now_ns - collector->last_clocks_ns >= CLOCKS_PERIOD_NS;
}

uint64_t sp_collector_round(struct sp_collector *collector, bool is_final)
{
	uint64_t now_ns = sp_clock_monotonic_ns();
	uint64_t taken = 0;
	bool is_awake;

	/* First: whoever is told of times is told by the rate that is known now. */
	calibrate_cycles(collector->recording->header);
	/* Each time: it takes note of when that was. */
	is_awake = has_worked(collector, now_ns);
	if (is_final || now_ns - collector->last_heap_ns >= HEAP_PERIOD_NS) {
		collector->last_heap_ns = now_ns;
		sp_heap_capture_ask_absorb();
	}
	if (lock_for_round(collector, is_final)) {
		sp_span_settle_others(is_final ||
				      are_clocks_due(collector, now_ns, is_awake));
		taken = sp_absorber_drain(collector->absorber);
		keep_storage_ahead(collector);
		look_at_spans(collector);
		sp_absorber_unlock(collector->absorber);
	}
	if (collector->reporters)
		sp_span_reporters_tell(collector->reporters, now_ns, is_final);
	is_awake |= taken != 0;
	if (is_final || is_listing_due(collector, now_ns, is_awake))
		follow_threads(collector, now_ns);
	if (is_final || are_clocks_due(collector, now_ns, is_awake))
		follow_clocks(collector, now_ns, is_final);
	return taken;
}
