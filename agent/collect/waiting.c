/*
 * See waiting.h.
 */
#include "waiting.h"

#include "sp_clock.h"
#include "sp_syscall.h"

#include <linux/futex.h>
#include <time.h>

long sp_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
	struct timespec timeout = {(time_t)(timeout_ns / SP_NS_PER_SECOND),
				   (long)(timeout_ns % SP_NS_PER_SECOND)};

	return sp_syscall4(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &timeout);
}

void sp_futex_wake_all(_Atomic uint32_t *word)
{
	sp_syscall3(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

uint32_t sp_ticket_draw(struct sp_ticket_queue *queue)
{
	return atomic_fetch_add(&queue->tickets, 1) + 1;
}

bool sp_ticket_await(struct sp_ticket_queue *queue, uint32_t ticket, uint64_t timeout_ns)
{
	uint64_t deadline_ns = sp_clock_monotonic_ns() + timeout_ns;

	for (;;) {
		uint32_t served =
			atomic_load_explicit(&queue->served, memory_order_acquire);
		uint64_t now_ns = sp_clock_monotonic_ns();

		if ((int32_t)(served - ticket) >= 0)
			return true;
		if (now_ns >= deadline_ns)
			return false;
		sp_futex_wait(&queue->served, served, deadline_ns - now_ns);
	}
}

void sp_ticket_serve(struct sp_ticket_queue *queue, uint32_t tickets)
{
	atomic_store_explicit(&queue->served, tickets, memory_order_release);
	sp_futex_wake_all(&queue->served);
}

void sp_ticket_forget(struct sp_ticket_queue *queue)
{
	atomic_store_explicit(&queue->tickets, 0, memory_order_relaxed);
	atomic_store_explicit(&queue->served, 0, memory_order_relaxed);
}

void sp_step_tell(_Atomic uint32_t *step)
{
	atomic_store_explicit(step, 1, memory_order_relaxed);
	sp_futex_wake_all(step);
}

void sp_step_await(_Atomic uint32_t *step, const _Atomic bool *has_thread,
		   uint64_t timeout_ns)
{
	uint64_t deadline_ns = sp_clock_monotonic_ns() + timeout_ns;

	while (atomic_load_explicit(has_thread, memory_order_relaxed) &&
	       !atomic_load_explicit(step, memory_order_relaxed)) {
		uint64_t now_ns = sp_clock_monotonic_ns();

		if (now_ns >= deadline_ns)
			return;
		sp_futex_wait(step, 0, deadline_ns - now_ns);
	}
}
