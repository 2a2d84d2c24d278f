/*
 * Our handler is the last of exit() and of quick_exit(). A second thread that ends the
 * process meanwhile would find no handler left and take the process away under whoever
 * writes. So the handler registers itself anew before it does anything: whoever comes
 * later meets it, and waits. Context: hook, cold.
 */
#include "process_end.h"

#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_held_signals.h"
#include "sp_hooks.h"
#include "sp_syscall.h"
#include "waiting.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

int __cxa_atexit(void (*function)(void *), void *argument, void *object);

/* Futex: 0, or the id of the thread that writes the profiles, or OVER: they are
 * written, or have taken too long. */
#define OVER UINT32_MAX
static _Atomic uint32_t writer;

static void (*write_profiles)(void);
static uint64_t wait_ns;

static void leave(uint32_t next)
{
	atomic_store_explicit(&writer, next, memory_order_release);
	sp_futex_wake_all(&writer);
}

static void await(uint32_t other)
{
	/* The program's handlers run before or after, never in the midst of its end. */
	uint64_t mask = sp_signals_hold();
	uint64_t deadline_ns = sp_clock_monotonic_ns() + wait_ns;

	/* Acquire: pairs with the release in leave(). */
	while (atomic_load_explicit(&writer, memory_order_acquire) == other) {
		uint64_t now_ns = sp_clock_monotonic_ns();

		if (now_ns >= deadline_ns) {
			leave(OVER);
			break;
		}
		sp_futex_wait(&writer, other, deadline_ns - now_ns);
	}
	sp_signals_release(mask);
}

/* A signal's handler that interrupted the writer would wait for itself. */
static bool is_myself(uint32_t thread)
{
	return thread == (uint32_t)sp_syscall0(SYS_gettid);
}

bool sp_process_end_awaits_other(void)
{
	uint32_t other = atomic_load_explicit(&writer, memory_order_acquire);

	if (!other || is_myself(other))
		return false;
	if (other != OVER)
		await(other);
	return true;
}

static void end(void (*register_anew)(void))
{
	uint32_t other = atomic_load_explicit(&writer, memory_order_relaxed);

	/* The state first: there may be no more system calls to make. */
	if (other == OVER ||
	    atomic_load_explicit(&sp_capture.state, memory_order_relaxed) ==
		    SP_CAPTURE_OFF ||
	    !sp_hooks_is_own_process() || is_myself(other))
		return;
	register_anew();
	other = 0;
	if (atomic_compare_exchange_strong(&writer, &other,
					   (uint32_t)sp_syscall0(SYS_gettid))) {
		write_profiles();
		leave(OVER);
	} else if (other != OVER) {
		await(other);
	}
}

static void at_exit(void *argument);
static void at_exit_quickly(void);

/* Bound to no library: it runs after all destructors. */
static void register_at_exit(void)
{
	__cxa_atexit(at_exit, NULL, NULL);
}

static void register_at_quick_exit(void)
{
	at_quick_exit(at_exit_quickly);
}

static void at_exit(void *argument)
{
	(void)argument;
	end(register_at_exit);
}

static void at_exit_quickly(void)
{
	end(register_at_quick_exit);
}

void sp_process_end_register(void (*write)(void), uint64_t timeout_ns)
{
	write_profiles = write;
	wait_ns = timeout_ns;
	/* Twice, for whoever comes before the first has registered itself anew. */
	for (int i = 0; i < 2; i++) {
		register_at_exit();
		register_at_quick_exit();
	}
}

void sp_process_end_goes_on(void)
{
	uint32_t other = atomic_load_explicit(&writer, memory_order_relaxed);

	if (other == OVER || is_myself(other))
		leave(0);
}

void sp_process_end_forked(void)
{
	atomic_store_explicit(&writer, 0, memory_order_relaxed);
}
