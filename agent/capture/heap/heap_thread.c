/*
 * The threads' state: a pool that is claimed from without a lock, in private memory
 * that a fork child gets zeroed. Threads that pthread_create() made get theirs at
 * birth and give it back at their end; others get one at their first allocation and
 * keep it. Context: hook.
 */
#include "heap_live.h"

#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_double.h"
#include "sp_pages.h"
#include "sp_poisson.h"
#include "sp_recording_heap.h"
#include "sp_syscall.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define THREADS_MAX 65535U
/* Of a limited address space little is ours. */
#define THREADS_MAX_LIMITED 1024U
/* That many at a time get memory. */
#define THREADS_STEP 1024U

SP_TLS struct sp_heap_thread *sp_heap_self;
/* The thread's end was noticed; what the C library still gives back for it only
 * counts. */
static SP_TLS bool has_ended;
/* Our own thread: not the program's allocations. */
static SP_TLS bool is_own;

struct sp_heap_global sp_heap_global;

static struct sp_heap_thread *pool;
static uint32_t pool_threads;
static _Atomic uint32_t pool_used, pool_opened;
static _Atomic uint64_t free_threads; /* tag << 32 | number */

struct lone_counters {
	_Atomic uint64_t allocations, frees, bytes, cost_cycles;
	_Atomic uint64_t variance; /* a double */
};

/* Of threads that have no state, or that had one without a slot; and of the time before
 * our constructor, unless that declines. */
static struct lone_counters lone, early;
static _Atomic bool is_early = true;

/* Whoever is to be the first to use that one; several may open the same. */
static bool open_for(uint32_t index)
{
	uint32_t opened = atomic_load_explicit(&pool_opened, memory_order_acquire);

	while (index >= opened) {
		uint32_t threads = pool_threads - opened;

		if (threads > THREADS_STEP)
			threads = THREADS_STEP;
		if (sp_pages_open(&pool[opened], threads * sizeof(*pool)) != 0)
			return false;
		if (atomic_compare_exchange_strong_explicit(
			    &pool_opened, &opened, opened + threads, memory_order_release,
			    memory_order_acquire))
			opened += threads;
	}
	return true;
}

int sp_heap_capture_init(const struct sp_heap_settings *settings)
{
	struct rlimit limit;
	size_t pool_bytes;

	pool_threads = THREADS_MAX;
	if (sp_syscall4(SYS_prlimit64, 0, RLIMIT_AS, NULL, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY)
		pool_threads = THREADS_MAX_LIMITED;
	pool_bytes = pool_threads * sizeof(*pool);
	pool = sp_pages_reserve(pool_bytes);
	if (!pool)
		return -ENOMEM;
	atomic_store_explicit(&pool_used, 0, memory_order_relaxed);
	atomic_store_explicit(&pool_opened, 0, memory_order_relaxed);
	atomic_store_explicit(&free_threads, 0, memory_order_relaxed);
	sp_syscall3(SYS_madvise, pool, pool_bytes, MADV_WIPEONFORK);
	if (!open_for(0)) {
		sp_pages_unmap(pool, pool_bytes);
		pool = NULL;
		return -ENOMEM;
	}
	sp_heap_global.rate_bytes = settings->rate_bytes;
	sp_heap_global.seed = settings->seed;
	sp_heap_global.is_exact = settings->rate_bytes == 1;
	return 0;
}

void sp_heap_tell_sampled(bool (*note)(const void *ptr, bool is_sampled),
			  bool (*is_noted)(const void *ptr))
{
	sp_heap_global.note = note;
	sp_heap_global.is_noted = is_noted;
}

bool sp_heap_is_noted(const void *ptr)
{
	return sp_heap_global.is_noted && sp_heap_global.is_noted(ptr);
}

/* --- the pool --- */

static struct sp_heap_thread *thread_at(uint32_t number)
{
	return &pool[number - 1];
}

static struct sp_heap_thread *take(void)
{
	uint64_t head = atomic_load_explicit(&free_threads, memory_order_acquire);
	uint32_t used;

	while ((uint32_t)head) {
		struct sp_heap_thread *thread = thread_at((uint32_t)head);
		uint64_t next = (head >> 32) + 1;

		next = next << 32 |
		       atomic_load_explicit(&thread->next_free, memory_order_relaxed);
		if (atomic_compare_exchange_weak_explicit(&free_threads, &head, next,
							  memory_order_acquire,
							  memory_order_acquire))
			return thread;
	}
	used = atomic_load_explicit(&pool_used, memory_order_relaxed);
	do {
		if (used >= pool_threads || !open_for(used))
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(
		&pool_used, &used, used + 1, memory_order_relaxed, memory_order_relaxed));
	pool[used].number = used + 1;
	return &pool[used];
}

static void give(struct sp_heap_thread *thread)
{
	uint64_t head = atomic_load_explicit(&free_threads, memory_order_relaxed);
	uint64_t next;

	do {
		atomic_store_explicit(&thread->next_free, (uint32_t)head,
				      memory_order_relaxed);
		next = ((head >> 32) + 1) << 32 | thread->number;
	} while (!atomic_compare_exchange_weak_explicit(
		&free_threads, &head, next, memory_order_release, memory_order_relaxed));
}

/* --- one thread --- */

static uint64_t first_point(struct sp_heap_thread *thread)
{
	if (sp_heap_global.is_exact)
		return 0;
	if (!sp_heap_global.rate_bytes)
		return UINT64_MAX;
	return sp_poisson_distance(&thread->random_state, sp_heap_global.rate_bytes);
}

static void prepare(struct sp_heap_thread *thread, struct sp_slot *slot)
{
	static _Atomic uint64_t born;
	uint64_t birth = atomic_fetch_add_explicit(&born, 1, memory_order_relaxed) + 1;
	uint64_t seed = sp_heap_global.seed
				? sp_heap_global.seed
				: sp_clock_monotonic_ns() ^
					  (uint64_t)(uintptr_t)__builtin_frame_address(0);

	thread->random_state = sp_random_begin(seed, birth);
	thread->bytes = 0;
	thread->allocations = 0;
	thread->frees = 0;
	thread->variance = 0;
	thread->cost_cycles = 0;
	thread->pending_live_bytes = 0;
	thread->live_step_bytes = 0;
	thread->sampling_at = 0;
	thread->freeing_at = 0;
	thread->birth = (uint32_t)birth;
	thread->slot = slot;
	thread->distances_left = 0;
	thread->sample_at = first_point(thread);
	/* Release: the reporter thread reads the counters from here on. */
	atomic_fetch_add_explicit(&thread->life, 1, memory_order_release);
}

static struct sp_heap_thread *begin(struct sp_slot *slot)
{
	struct sp_heap_thread *thread = take();

	if (!thread)
		return NULL;
	thread->tid = slot ? 0 : (uint32_t)sp_syscall0(SYS_gettid);
	prepare(thread, slot);
	sp_heap_self = thread;
	return thread;
}

/* Made if need be; NULL: none. */
static struct sp_heap_thread *thread_of_caller(void)
{
	if (sp_heap_self)
		return sp_heap_self;
	if (!atomic_load_explicit(&sp_heap_global.is_ready, memory_order_acquire) ||
	    has_ended || is_own || sp_heap_is_cut_off || !sp_capture_is_own_process())
		return NULL;
	return begin(NULL);
}

void sp_heap_thread_begin(struct sp_slot *slot)
{
	if (!atomic_load_explicit(&sp_heap_global.is_ready, memory_order_acquire))
		return;
	if (!sp_heap_self)
		begin(slot);
	else
		sp_heap_self->slot = slot;
}

/* They only grow; the reporter thread may copy them at the same time. */
static void raise_to(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t before = atomic_load_explicit(word, memory_order_relaxed);

	while (before < value &&
	       !atomic_compare_exchange_weak_explicit(
		       word, &before, value, memory_order_relaxed, memory_order_relaxed))
		;
}

/* Of one moment, or nearly so. */
struct counters {
	struct sp_slot *slot;
	uint64_t allocations, frees, bytes, cost_cycles;
	uint64_t variance; /* double; those that are not negative are ordered as their
			    * bits are */
};

static void read_counters(const struct sp_heap_thread *thread, struct counters *counters)
{
	counters->slot = __atomic_load_n(&thread->slot, __ATOMIC_RELAXED);
	counters->allocations = __atomic_load_n(&thread->allocations, __ATOMIC_RELAXED);
	counters->frees = __atomic_load_n(&thread->frees, __ATOMIC_RELAXED);
	counters->bytes = __atomic_load_n(&thread->bytes, __ATOMIC_RELAXED);
	counters->cost_cycles = __atomic_load_n(&thread->cost_cycles, __ATOMIC_RELAXED);
	__builtin_memcpy(&counters->variance, &thread->variance,
			 sizeof(counters->variance));
}

/* False: no thread's, or its last, who has said all itself. */
static bool read_foreign_counters(const struct sp_heap_thread *thread,
				  struct counters *counters)
{
	/* Acquire: pairs with prepare(). */
	uint32_t life = atomic_load_explicit(&thread->life, memory_order_acquire);

	if (!(life & 1))
		return false;
	read_counters(thread, counters);
	/* Before the next thread's values come, its last one's life has ended. */
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&thread->life, memory_order_relaxed) == life;
}

static void publish(const struct counters *counters)
{
	struct sp_slot *slot = counters->slot;

	raise_to(&slot->heap_allocations, counters->allocations);
	raise_to(&slot->heap_frees, counters->frees);
	raise_to(&slot->heap_bytes, counters->bytes);
	raise_to(&slot->heap_cost_cycles, counters->cost_cycles);
	raise_to(&slot->heap_variance, counters->variance);
}

/* By the thread itself, whose values are the latest: whoever raises a word meanwhile, to
 * what it read before, finds that it need not. Only where a handler comes between may a
 * word be the handler's blocks behind until the next sample. */
static void publish_own(const struct counters *counters)
{
	struct sp_slot *slot = counters->slot;

	atomic_store_explicit(&slot->heap_allocations, counters->allocations,
			      memory_order_relaxed);
	atomic_store_explicit(&slot->heap_frees, counters->frees, memory_order_relaxed);
	atomic_store_explicit(&slot->heap_bytes, counters->bytes, memory_order_relaxed);
	atomic_store_explicit(&slot->heap_cost_cycles, counters->cost_cycles,
			      memory_order_relaxed);
	atomic_store_explicit(&slot->heap_variance, counters->variance,
			      memory_order_relaxed);
}

void sp_heap_thread_publish(const struct sp_heap_thread *thread)
{
	struct counters counters;

	read_counters(thread, &counters);
	/* A handler that interrupted its thread may have forked just now. */
	if (sp_likely(counters.slot != NULL))
		publish_own(&counters);
}

static void add_variance(_Atomic uint64_t *word, uint64_t addend)
{
	uint64_t before = atomic_load_explicit(word, memory_order_relaxed);
	uint64_t sum;

	do {
		sum = sp_double_to_bits(sp_double_from_bits(before) +
					sp_double_from_bits(addend));
	} while (!atomic_compare_exchange_weak_explicit(
		word, &before, sum, memory_order_relaxed, memory_order_relaxed));
}

static void keep_counters(const struct counters *counters)
{
	atomic_fetch_add_explicit(&lone.allocations, counters->allocations,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&lone.frees, counters->frees, memory_order_relaxed);
	atomic_fetch_add_explicit(&lone.bytes, counters->bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&lone.cost_cycles, counters->cost_cycles,
				  memory_order_relaxed);
	add_variance(&lone.variance, counters->variance);
}

struct sp_heap_thread *sp_heap_threads(uint32_t *count)
{
	*count = atomic_load_explicit(&pool_used, memory_order_acquire);
	return pool;
}

void sp_heap_thread_end_life(struct sp_heap_thread *thread)
{
	uint64_t work = sp_heap_work_begin();
	uint32_t life = atomic_load_explicit(&thread->life, memory_order_relaxed);
	struct counters counters;

	read_counters(thread, &counters);
	if (counters.slot && sp_heap_global.rate_bytes)
		publish(&counters);
	if (sp_capture_is_running()) {
		sp_heap_batch_finish(thread);
		atomic_fetch_add_explicit(&sp_capture.recording.header->heap_live_bytes,
					  thread->pending_live_bytes,
					  memory_order_relaxed);
	}
	/* Whoever waits for samples to be over need not wait for one that was left. */
	thread->sampling_at = 0;
	/* In a child that a handler has forked just now it is nobody's, and was wiped:
	 * what it was before is the parent's to tell. */
	if (life & 1 && atomic_compare_exchange_strong_explicit(
				&thread->life, &life, life + 1, memory_order_release,
				memory_order_relaxed)) {
		/* Later: for a moment they may be missing, but never be there twice. */
		if (!counters.slot)
			keep_counters(&counters);
		give(thread);
	}
	sp_heap_work_end(work);
}

void sp_heap_thread_end(void)
{
	struct sp_heap_thread *thread = sp_heap_self;

	has_ended = true;
	if (!thread || !thread->number)
		return;
	sp_heap_self = NULL;
	sp_heap_thread_end_life(thread);
}

void sp_heap_thread_vanished(const struct sp_slot *slot)
{
	uint32_t used = atomic_load_explicit(&pool_used, memory_order_relaxed);
	struct counters counters;

	/* Left as it is, it would be taken for the slot's next thread. */
	for (uint32_t i = 0; i < used; i++)
		if (read_foreign_counters(&pool[i], &counters) && counters.slot == slot)
			sp_heap_thread_end_life(&pool[i]);
}

void sp_heap_thread_set_own(bool is_agent)
{
	static SP_TLS struct sp_heap_thread *set_aside;

	if (is_agent == is_own)
		return;
	is_own = is_agent;
	if (is_agent)
		set_aside = sp_heap_self;
	sp_heap_self = is_agent ? NULL : set_aside;
}

/* In a program that is not profiled this is all that happens. */
static bool is_counting(void)
{
	return atomic_load_explicit(&sp_heap_global.is_ready, memory_order_relaxed) ||
	       atomic_load_explicit(&is_early, memory_order_relaxed);
}

/* NULL: nobody wants to know. */
static struct lone_counters *lone_counters(void)
{
	if (is_own)
		return NULL;
	if (atomic_load_explicit(&sp_heap_global.is_ready, memory_order_relaxed))
		return &lone;
	return atomic_load_explicit(&is_early, memory_order_relaxed) ? &early : NULL;
}

void sp_heap_first_alloc(void *ptr, size_t size_bytes)
{
	struct sp_heap_thread *self;
	struct lone_counters *counters;

	if (!is_counting())
		return;
	self = thread_of_caller();
	if (self) {
		sp_heap_note_alloc(ptr, size_bytes);
		return;
	}
	counters = lone_counters();
	if (!counters)
		return;
	atomic_fetch_add_explicit(&counters->allocations, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&counters->bytes, size_bytes, memory_order_relaxed);
	if (!sp_heap_global.rate_bytes)
		return;
	if (counters == &lone && sp_capture_is_running())
		sp_recording_count(&sp_capture.recording, SP_LOSS_HEAP_NO_THREAD, 1);
	else if (sp_heap_is_cut_off)
		sp_heap_count_missed();
}

void sp_heap_first_free(void)
{
	struct sp_heap_thread *self;
	struct lone_counters *counters;

	if (!is_counting())
		return;
	self = thread_of_caller();
	if (self) {
		self->frees++;
		return;
	}
	counters = lone_counters();
	if (counters)
		atomic_fetch_add_explicit(&counters->frees, 1, memory_order_relaxed);
}

void sp_heap_note_failure(void)
{
	struct sp_heap_thread *self = sp_heap_self;
	int saved_errno = errno;
	uint64_t work;

	if (!self || !sp_heap_global.rate_bytes)
		return;
	self->sample_at = 0;
	work = sp_heap_work_begin();
	/* A wiped one is in a copy of the process that nobody told us of. */
	if (self->number && sp_capture_is_running())
		atomic_fetch_add_explicit(&sp_capture.recording.header->heap_failures, 1,
					  memory_order_relaxed);
	sp_heap_work_end(work);
	errno = saved_errno;
}

/* --- the process --- */

static void note_short_births(const struct sp_recording_header *header)
{
	sp_heap_global.short_births =
		(uint64_t)sp_heap_short_cycles(header) >> SP_HEAP_BIRTH_SHIFT;
}

void sp_heap_capture_publish(struct sp_recording *recording)
{
	struct sp_recording_header *header = recording->header;
	uint32_t used = atomic_load_explicit(&pool_used, memory_order_relaxed);
	uint64_t allocations =
		atomic_load_explicit(&lone.allocations, memory_order_relaxed);
	uint64_t frees = atomic_load_explicit(&lone.frees, memory_order_relaxed);
	uint64_t bytes = atomic_load_explicit(&lone.bytes, memory_order_relaxed);
	uint64_t cost_cycles = sp_atomic_value(&lone.cost_cycles);
	double variance = sp_double_from_bits(sp_atomic_value(&lone.variance));

	if (!header->heap_rate_bytes)
		return;
	note_short_births(header);
	for (uint32_t i = 0; i < used; i++) {
		struct counters counters;

		if (!read_foreign_counters(&pool[i], &counters))
			continue;
		if (counters.slot) {
			publish(&counters);
			continue;
		}
		allocations += counters.allocations;
		frees += counters.frees;
		bytes += counters.bytes;
		cost_cycles += counters.cost_cycles;
		variance += sp_double_from_bits(counters.variance);
	}
	raise_to(&header->orphan_heap_allocations, allocations);
	raise_to(&header->orphan_heap_frees, frees);
	raise_to(&header->orphan_heap_bytes, bytes);
	raise_to(&header->orphan_heap_cost_cycles, cost_cycles);
	raise_to(&header->orphan_heap_variance, sp_double_to_bits(variance));
}

void sp_heap_capture_begin(struct sp_recording *recording)
{
	struct sp_recording_header *header = recording->header;

	if (!pool)
		return;
	header->heap_rate_bytes = sp_heap_global.rate_bytes;
	if (sp_heap_global.rate_bytes) {
		header->early_heap_allocations = sp_atomic_value(&early.allocations);
		header->early_heap_frees = sp_atomic_value(&early.frees);
		header->early_heap_bytes = sp_atomic_value(&early.bytes);
		note_short_births(header);
		sp_heap_tell_missed(recording);
	}
	sp_heap_filter_begin(sp_heap_global.is_exact);
	if (sp_heap_global.is_exact)
		sp_heap_exact_begin(recording);
	sp_heap_counting_begin();
}

void sp_heap_capture_end_early(void)
{
	atomic_store_explicit(&is_early, false, memory_order_relaxed);
	if (!atomic_load_explicit(&sp_heap_global.is_ready, memory_order_relaxed))
		atomic_store_explicit(&sp_alloc_line.is_off, true, memory_order_relaxed);
}

static void forget(struct lone_counters *counters)
{
	atomic_store_explicit(&counters->allocations, 0, memory_order_relaxed);
	atomic_store_explicit(&counters->frees, 0, memory_order_relaxed);
	atomic_store_explicit(&counters->bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&counters->cost_cycles, 0, memory_order_relaxed);
	atomic_store_explicit(&counters->variance, 0, memory_order_relaxed);
}

void sp_heap_capture_forked(void)
{
	uint32_t used = 0;

	if (!pool)
		return;
	sp_heap_work_forked();
	/* What the interrupted work may still write to is nobody's state here. */
	if (sp_heap_is_cut_off && sp_heap_self)
		used = (uint32_t)(sp_heap_self - pool) + 1;
	/* The pool itself was wiped; a child that makes no recording only counts. */
	sp_heap_self = NULL;
	has_ended = false;
	atomic_store_explicit(&pool_used, used, memory_order_relaxed);
	atomic_store_explicit(&free_threads, 0, memory_order_relaxed);
	forget(&lone);
	forget(&early);
	sp_heap_filter_forget();
	sp_heap_stacks_forked();
}
