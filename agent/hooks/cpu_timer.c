/*
 * The per-thread CPU timer and its signal handler. A timer carries the number and
 * the generation of its slot, so the handler needs no thread-local storage: it
 * works on raw clone() threads, which share that of their creator, and a signal
 * that outlived its thread is told from one of the slot's next thread. Context:
 * signal for the handler, hook for the rest.
 */
#include "sp_cpu_timer.h"

#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_signal.h"
#include "sp_span_capture.h"
#include "sp_syscall.h"
#include "sp_thread.h"

#include <errno.h>

/* What a timer hands to the handler: magic, generation of the slot, its index. */
#define COOKIE_MAGIC UINT64_C(0x5350)
#define COOKIE_INDEX_BITS 24
#define COOKIE_INDEX_FORKED ((UINT32_C(1) << COOKIE_INDEX_BITS) - 1)

static uint64_t make_cookie(uint32_t index, uint32_t generation)
{
	return COOKIE_MAGIC << 48 |
	       (uint64_t)(generation & 0xffffff) << COOKIE_INDEX_BITS | index;
}

/* The kernel's struct sigevent, which the C library's differs from in names only. */
static int create_timer(clockid_t clock, int tid, uint64_t cookie)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = sp_signal_number(),
		.sigev_value = {.sival_ptr = (void *)(uintptr_t)cookie},
	};
	int timer = -1;
	long err;

	event._sigev_un._tid = tid;
	if (!event.sigev_signo)
		return -EINVAL;
	err = sp_syscall3(SYS_timer_create, clock, &event, &timer);
	return err < 0 ? (int)err : timer;
}

/* Uniform in (0, period]: threads that start together do not tick together. */
static uint64_t first_phase_ns(uint64_t period_ns, uint32_t salt)
{
	uint64_t x = sp_clock_cycles() + (uint64_t)salt * UINT64_C(0x9e3779b97f4a7c15);

	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 33;
	return 1 + x % period_ns;
}

static int start_timer(int timer, uint32_t salt)
{
	uint64_t period_ns = sp_capture.period_ns;
	uint64_t phase_ns = first_phase_ns(period_ns, salt);
	struct itimerspec when = {
		.it_interval = {(time_t)(period_ns / SP_NS_PER_SECOND),
				(long)(period_ns % SP_NS_PER_SECOND)},
		.it_value = {(time_t)(phase_ns / SP_NS_PER_SECOND),
			     (long)(phase_ns % SP_NS_PER_SECOND)},
	};

	return (int)sp_syscall4(SYS_timer_settime, timer, 0, &when, NULL);
}

int sp_cpu_timer_arm(struct sp_slot *slot)
{
	uint32_t tid = atomic_load_explicit(&slot->tid, memory_order_relaxed);
	uint32_t generation =
		atomic_load_explicit(&slot->generation, memory_order_relaxed);
	int timer = -EAGAIN;

	if (!sp_capture.period_ns) /* no CPU profile is wanted */
		return 0;
	if (atomic_fetch_add_explicit(&sp_capture.timers_armed, 1, memory_order_relaxed) <
	    sp_capture.timers_max)
		timer = create_timer(sp_clock_of_thread((int)tid), (int)tid,
				     make_cookie(sp_thread_slot_index(slot), generation));
	if (timer < 0) {
		atomic_fetch_sub_explicit(&sp_capture.timers_armed, 1,
					  memory_order_relaxed);
		/* A thread that is gone already needs none. */
		if (timer != -EINVAL && timer != -ESRCH)
			sp_recording_count(&sp_capture.recording, SP_LOSS_NO_TIMER, 1);
		return timer;
	}
	atomic_store_explicit(&slot->timer, timer, memory_order_relaxed);
	return start_timer(timer, tid);
}

void sp_cpu_timer_disarm(struct sp_slot *slot)
{
	int timer = atomic_exchange_explicit(&slot->timer, -1, memory_order_relaxed);

	if (timer < 0)
		return;
	sp_syscall1(SYS_timer_delete, timer);
	atomic_fetch_sub_explicit(&sp_capture.timers_armed, 1, memory_order_relaxed);
}

/* A fork child's first timer is older than its slot: what it will carry, when known. */
static _Atomic uint64_t forked_cookie;
static int forked_timer = -1;

void sp_cpu_timer_arm_forked(void)
{
	int tid = (int)sp_syscall0(SYS_gettid);
	int timer = -1;

	if (sp_capture.period_ns)
		timer = create_timer(sp_clock_of_thread(tid), tid,
				     make_cookie(COOKIE_INDEX_FORKED, 0));
	forked_timer = timer;
	atomic_store_explicit(&forked_cookie, 0, memory_order_relaxed);
	atomic_store_explicit(&sp_capture.timers_armed, timer >= 0 ? 1 : 0,
			      memory_order_relaxed);
	if (timer >= 0)
		start_timer(timer, (uint32_t)tid);
}

void sp_cpu_timer_disarm_forked(void)
{
	if (forked_timer >= 0)
		sp_syscall1(SYS_timer_delete, forked_timer);
	forked_timer = -1;
}

void sp_cpu_timer_give_forked(struct sp_slot *slot)
{
	uint32_t generation =
		atomic_load_explicit(&slot->generation, memory_order_relaxed);

	/* Relaxed: the state of the capture publishes both. */
	atomic_store_explicit(&slot->timer, forked_timer, memory_order_relaxed);
	atomic_store_explicit(&forked_cookie,
			      make_cookie(sp_thread_slot_index(slot), generation),
			      memory_order_relaxed);
}

static void begin_if_forked(void)
{
	int saved_errno = errno;

	if (atomic_load_explicit(&sp_capture.state, memory_order_relaxed) ==
		    SP_CAPTURE_FORKED &&
	    sp_capture.begin_in_child)
		sp_capture.begin_in_child();
	errno = saved_errno;
}

/* The live slot of a timer, or NULL. */
static struct sp_slot *slot_of(uint64_t cookie)
{
	struct sp_slot *slot;

	if ((cookie & COOKIE_INDEX_FORKED) == COOKIE_INDEX_FORKED) {
		begin_if_forked();
		cookie = atomic_load_explicit(&forked_cookie, memory_order_relaxed);
	}
	if (!cookie || !sp_capture_is_running())
		return NULL;
	slot = sp_thread_slot_at((uint32_t)(cookie & COOKIE_INDEX_FORKED));
	/* Acquire, and the state first: who sees a next thread's state sees its
	 * generation. */
	if (!slot ||
	    atomic_load_explicit(&slot->state, memory_order_acquire) != SP_SLOT_LIVE ||
	    (atomic_load_explicit(&slot->generation, memory_order_relaxed) & 0xffffff) !=
		    (cookie >> COOKIE_INDEX_BITS & 0xffffff))
		return NULL;
	return slot;
}

/* A handler that was preempted has not worked all the time. */
#define HANDLER_CYCLES_MAX UINT64_C(100000)

static void count_cycles(struct sp_slot *slot, uint64_t cycles)
{
	if (cycles > HANDLER_CYCLES_MAX)
		cycles = HANDLER_CYCLES_MAX;
	atomic_fetch_add_explicit(&slot->handler_cycles, cycles, memory_order_relaxed);
}

static SP_COLD void forward(int signal_number, siginfo_t *info, void *ucontext)
{
	int saved_errno = errno;

	sp_signal_forward(signal_number, info, ucontext);
	errno = saved_errno;
}

/*
 * A sample leaves errno alone, and does not even look at it: it makes no call that sets
 * it, and a raw clone() thread may have a thread pointer of its own, with no errno. Nor
 * does it count on an aligned stack pointer: emulators (QEMU 7) bring any.
 */
__attribute__((force_align_arg_pointer)) SP_SAMPLING void
sp_cpu_timer_handler(int signal_number, siginfo_t *info, void *ucontext)
{
	uint64_t cookie = (uint64_t)(uintptr_t)info->si_ptr;
	uint64_t start_cycles = sp_clock_cycles();
	struct sp_slot *slot;

	if (sp_unlikely(info->si_code != SI_TIMER || cookie >> 48 != COOKIE_MAGIC)) {
		forward(signal_number, info, ucontext);
		return;
	}
	atomic_fetch_add(&sp_capture.handlers_running, 1);
	slot = slot_of(cookie);
	if (sp_likely(slot)) {
		uint32_t overrun = info->si_overrun > 0 ? (uint32_t)info->si_overrun : 0;

		sp_capture_cpu_sample(slot, 1 + overrun, ucontext);
		/* A sign of life, in case it is the last one. */
		if (sp_span_is_on())
			atomic_store_explicit(&slot->span_seen_ticks, sp_clock_ticks(),
					      memory_order_relaxed);
		count_cycles(slot, sp_clock_cycles() - start_cycles);
	}
	atomic_fetch_sub(&sp_capture.handlers_running, 1);
}
