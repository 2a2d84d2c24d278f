/*
 * The locks of the private jemalloc, also for what lies around it. Context: hook where
 * jemalloc serves the program, else collector.
 */
#ifndef SP_JEMALLOC_LOCKS_H
#define SP_JEMALLOC_LOCKS_H

#include <stdatomic.h>
#include <stdint.h>

/* 0 in both cases. A zeroed lock is free. */
int sp_je_lock_take(_Atomic uint32_t *lock);
int sp_je_lock_give(_Atomic uint32_t *lock);

#endif
