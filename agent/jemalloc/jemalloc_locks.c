/*
 * The locks of the private jemalloc: a word each, the first of what the archive takes for
 * a pthread_mutex_t, and the kernel to wait by. Functions of the C library's names may be
 * the program's, or those of a library in front of it (profilers of locks, finders of
 * deadlocks): they would be entered from within malloc(), which they may call, and by a
 * thread that the program does not know. Context: hook where jemalloc serves the program,
 * else collector.
 *
 *	FREE -lock-> HELD -others come-> WAITED_FOR -unlock-> FREE, one of them is woken
 *
 * A zeroed lock is free, so those that the archive has in its variables need no call.
 * Around a fork it holds all locks of the program's heap, and the child makes them anew.
 */
#include "jemalloc_locks.h"

#include "sp_syscall.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>

enum { FREE, HELD, WAITED_FOR };

/* These names are put into the archive for pthread_mutex_lock and so on. */
int sp_je_lock_init(_Atomic uint32_t *lock, const void *attributes);
int sp_je_lock_try(_Atomic uint32_t *lock);
int sp_je_yield(void);

static_assert(sizeof(_Atomic uint32_t) <= sizeof(pthread_mutex_t) &&
		      _Alignof(_Atomic uint32_t) <= _Alignof(pthread_mutex_t),
	      "a lock lies where the archive has room for another");

int sp_je_lock_init(_Atomic uint32_t *lock, const void *attributes)
{
	(void)attributes;
	atomic_store_explicit(lock, FREE, memory_order_relaxed);
	return 0;
}

/* Acquire, here and below: pairs with the release in sp_je_lock_give(). */
int sp_je_lock_try(_Atomic uint32_t *lock)
{
	uint32_t state = FREE;

	return atomic_compare_exchange_strong_explicit(
		       lock, &state, HELD, memory_order_acquire, memory_order_relaxed)
		       ? 0
		       : EBUSY;
}

/* The archive has tried and has spun before it calls this. */
int sp_je_lock_take(_Atomic uint32_t *lock)
{
	/* Whoever has waited does not know of others that still do. */
	while (atomic_exchange_explicit(lock, WAITED_FOR, memory_order_acquire) != FREE)
		sp_syscall4(SYS_futex, lock, FUTEX_WAIT_PRIVATE, WAITED_FOR, NULL);
	return 0;
}

int sp_je_lock_give(_Atomic uint32_t *lock)
{
	if (atomic_exchange_explicit(lock, FREE, memory_order_release) == WAITED_FOR)
		sp_syscall3(SYS_futex, lock, FUTEX_WAKE_PRIVATE, 1);
	return 0;
}

int sp_je_yield(void)
{
	sp_syscall0(SYS_sched_yield);
	return 0;
}

/* Ours have no attributes. */
int sp_je_attributes_init(void *attributes);
int sp_je_attributes_set(void *attributes, int type);
int sp_je_attributes_fini(void *attributes);

int sp_je_attributes_init(void *attributes)
{
	(void)attributes;
	return 0;
}

int sp_je_attributes_set(void *attributes, int type)
{
	(void)attributes;
	(void)type;
	return 0;
}

int sp_je_attributes_fini(void *attributes)
{
	(void)attributes;
	return 0;
}

/* For its background threads to wait by: there are none (sp_je_no_thread()), so that
 * nobody ever waits, or wakes. */
int sp_je_no_condition(void *condition, const void *attributes);

int sp_je_no_condition(void *condition, const void *attributes)
{
	(void)condition;
	(void)attributes;
	return 0;
}
