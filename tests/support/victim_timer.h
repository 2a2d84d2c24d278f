/*
 * What a victim was told of by a CPU timer of its own (own_timer.h of the programs),
 * however it ended.
 */
#ifndef VICTIM_TIMER_H
#define VICTIM_TIMER_H

#include "victim.h"

#include <stdint.h>

struct victim_timer {
	int64_t signals;
	int64_t cpu_ns; /* of its thread, at the last one */
};

/* Asserts that it had one. */
struct victim_timer victim_own_timer(const struct victim *victim);

#endif
