/*
 * What the counted victim tells of itself, in a file that outlives it: the CPU time of
 * each thread, by the thread's own clock. Written after the fact, some 20 us late.
 */
#ifndef COUNTED_H
#define COUNTED_H

#include <stdatomic.h>
#include <stdint.h>

#define COUNTED_FILE "counted"
#define COUNTED_THREADS_MAX 16

struct counted {
	_Atomic int64_t running_ns[COUNTED_THREADS_MAX]; /* of the thread at that place */
	_Atomic int64_t ended_ns; /* of those that ended, up to their last word */
	_Atomic int64_t ended_threads;
};

#endif
