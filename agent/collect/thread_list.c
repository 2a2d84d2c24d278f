/*
 * Threads that nobody told us of (raw clone(), or born before the recording) are
 * found by listing the task directory, and vanish from it when they end. Context:
 * collector.
 */
#include "sp_collector.h"

#include "folder.h"
#include "sp_clock.h"
#include "sp_syscall.h"

#include <errno.h>
#include <string.h>

static struct sp_slot *slot_at(const struct sp_collector *collector, uint64_t index)
{
	return sp_recording_item(collector->recording, SP_SECTION_SLOTS, index);
}

/* Is a thread being born at this moment? Then one in the list may be it. */
static bool is_birth_under_way(const struct sp_collector *collector)
{
	uint64_t slots = sp_recording_used(collector->recording, SP_SECTION_SLOTS);

	for (uint64_t i = 0; i < slots; i++)
		if (atomic_load_explicit(&slot_at(collector, i)->state,
					 memory_order_acquire) == SP_SLOT_CLAIMED)
			return true;
	return false;
}

/* The list comes in ascending order and so do most slots: start at the last hit. */
static bool note_listed(struct sp_collector *collector, uint64_t *hint, int tid)
{
	uint64_t slots = sp_recording_used(collector->recording, SP_SECTION_SLOTS);

	for (uint64_t i = 0; i < slots; i++) {
		uint64_t at = (*hint + i) % slots;
		struct sp_slot *slot = slot_at(collector, at);
		uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);

		/* Free slots keep the number of their last thread, which may still be on
		 * its way out. */
		if (state != SP_SLOT_CLAIMED &&
		    atomic_load_explicit(&slot->tid, memory_order_relaxed) ==
			    (uint32_t)tid) {
			atomic_store_explicit(&slot->listed, collector->listing_round,
					      memory_order_relaxed);
			*hint = at + 1;
			return true;
		}
	}
	return false;
}

/*
 * A thread that pthread_create() makes has its slot before the kernel lists it: claimed
 * first, then live with its number. So one without is a stranger only if nothing is
 * being born and a second look finds no slot either.
 */
static bool is_stranger(struct sp_collector *collector, uint64_t *hint, int tid)
{
	return tid > 0 && tid != collector->own_tid &&
	       !note_listed(collector, hint, tid) && !is_birth_under_way(collector) &&
	       !note_listed(collector, hint, tid);
}

struct listing {
	struct sp_collector *collector;
	uint64_t hint;		/* see note_listed() */
	uint32_t stranger_hint; /* as that, among those of the last round */
};

static bool is_listed_before(struct listing *listing, int tid)
{
	const struct sp_strangers *strangers = &listing->collector->strangers;

	for (uint32_t i = 0; i < strangers->old_count; i++) {
		uint32_t at = (listing->stranger_hint + i) % strangers->old_count;

		if (strangers->old_tids[at] == tid) {
			listing->stranger_hint = at + 1;
			return true;
		}
	}
	return false;
}

static void keep_in_mind(struct sp_strangers *strangers, int tid, bool is_new)
{
	if (strangers->new_count < SP_STRANGERS_MAX) {
		strangers->new_tids[strangers->new_count++] = tid;
		strangers->has_news |= is_new;
	}
}

/*
 * A dying thread gives its slot back some time before the kernel takes it off the list.
 * So a stranger must be met in two rounds, but for those that were there first. One that
 * stays a stranger (it blocks our signal) is kept in mind, for it to be new only once.
 */
static void meet_stranger(struct listing *listing, int tid)
{
	struct sp_collector *collector = listing->collector;
	bool is_here_to_stay =
		collector->listing_round == 1 || is_listed_before(listing, tid);
	bool is_main = tid == (int)collector->recording->header->pid;

	if (!is_here_to_stay || !collector->calls->adopt_thread(tid, is_main))
		keep_in_mind(&collector->strangers, tid, !is_here_to_stay);
}

static void forget_old_strangers(struct sp_collector *collector)
{
	struct sp_strangers *strangers = &collector->strangers;

	memcpy(strangers->old_tids, strangers->new_tids,
	       strangers->new_count * sizeof(strangers->new_tids[0]));
	strangers->old_count = strangers->new_count;
	strangers->new_count = 0;
}

static int parse_number(const char *text)
{
	int number = 0;

	if (*text < '0' || *text > '9')
		return -1;
	for (; *text >= '0' && *text <= '9'; text++)
		number = number * 10 + (*text - '0');
	return number;
}

/* The kernel ends a list early when the thread that it stands at dies. */
static bool is_gone(const struct sp_collector *collector, uint32_t tid)
{
	return sp_syscall3(SYS_tgkill, collector->recording->header->pid, tid, 0) ==
	       -ESRCH;
}

/* Asked once its thread is gone: what that had to say it has said. */
static bool is_live_slot_of(const struct sp_slot *slot, uint32_t tid)
{
	return atomic_load_explicit(&slot->state, memory_order_acquire) == SP_SLOT_LIVE &&
	       atomic_load_explicit(&slot->tid, memory_order_relaxed) == tid;
}

/*
 * A live slot whose thread was listed once and is no longer, and whose number names
 * no thread, has lost it without a word; its time is what was read last.
 */
static void end_vanished(struct sp_collector *collector)
{
	uint64_t slots = sp_recording_used(collector->recording, SP_SECTION_SLOTS);

	for (uint64_t i = 0; i < slots; i++) {
		struct sp_slot *slot = slot_at(collector, i);
		uint64_t listed =
			atomic_load_explicit(&slot->listed, memory_order_relaxed);
		uint32_t tid = atomic_load_explicit(&slot->tid, memory_order_relaxed);

		if (listed && listed + 1 < collector->listing_round &&
		    is_live_slot_of(slot, tid) && is_gone(collector, tid) &&
		    is_live_slot_of(slot, tid))
			collector->calls->end_thread(
				slot, atomic_load_explicit(&slot->cpu_ns,
							   memory_order_relaxed));
	}
}

static bool visit_thread(void *context, int folder, const char *name)
{
	struct listing *listing = context;
	int tid = parse_number(name);

	(void)folder;
	if (is_stranger(listing->collector, &listing->hint, tid))
		meet_stranger(listing, tid);
	return false;
}

void sp_collector_list_threads(struct sp_collector *collector)
{
	struct listing listing = {.collector = collector};

	collector->listing_round++;
	collector->strangers.has_news = false;
	/* Who could not look has missed nobody. */
	if (sp_folder_walk("/proc/self/task", visit_thread, &listing) < 0) {
		collector->listing_round--;
		return;
	}
	forget_old_strangers(collector);
	end_vanished(collector);
	collector->calls->threads_listed();
}

/* Only the main thread lives through an exec, and its clock goes on. */
static uint64_t read_thread_clock(const struct sp_recording_header *header, uint32_t tid)
{
	uint64_t cpu_ns = sp_clock_read_ns(sp_clock_of_thread((int)tid));

	if (tid != header->pid)
		return cpu_ns;
	return cpu_ns > header->earlier_thread_cpu_ns
		       ? cpu_ns - header->earlier_thread_cpu_ns
		       : 0;
}

void sp_collector_read_thread_clock(const struct sp_recording_header *header,
				    struct sp_slot *slot)
{
	uint64_t cpu_ns = read_thread_clock(
		header, atomic_load_explicit(&slot->tid, memory_order_relaxed));

	/* Its thread may have ended in between and said its final time. */
	if (cpu_ns &&
	    atomic_load_explicit(&slot->state, memory_order_acquire) == SP_SLOT_LIVE)
		atomic_store_explicit(&slot->cpu_ns, cpu_ns, memory_order_relaxed);
}

void sp_collector_read_process_clock(struct sp_recording_header *header)
{
	struct sp_cpu_usage usage;

	sp_cpu_usage_read(&usage);
	atomic_store_explicit(&header->process_user_ns,
			      usage.user_ns - header->earlier_user_ns,
			      memory_order_relaxed);
	atomic_store_explicit(&header->process_system_ns,
			      usage.system_ns - header->earlier_system_ns,
			      memory_order_relaxed);
	atomic_store_explicit(&header->process_cpu_ns,
			      usage.cpu_ns - header->earlier_cpu_ns,
			      memory_order_relaxed);
}

void sp_collector_read_clocks(struct sp_collector *collector)
{
	struct sp_recording_header *header = collector->recording->header;
	uint64_t slots = sp_recording_used(collector->recording, SP_SECTION_SLOTS);

	for (uint64_t i = 0; i < slots; i++) {
		struct sp_slot *slot = slot_at(collector, i);

		if (atomic_load_explicit(&slot->state, memory_order_acquire) ==
		    SP_SLOT_LIVE)
			sp_collector_read_thread_clock(header, slot);
	}
	if (collector->own_tid)
		atomic_store_explicit(&header->agent_cpu_ns,
				      collector->agent_cpu_before_ns +
					      sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID),
				      memory_order_relaxed);
	/* The process last: it is never less than the sum of its threads. */
	sp_collector_read_process_clock(header);
}
