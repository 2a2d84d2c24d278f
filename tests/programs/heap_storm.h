/*
 * What heap_storm tells of itself in a file that outlives it: for each site how much
 * was about to be allocated and freed, and how much of it is done. Whenever it dies,
 * the truth lies between, at most one operation of each thread apart.
 */
#ifndef HEAP_STORM_H
#define HEAP_STORM_H

#include <stdatomic.h>
#include <stdint.h>

#define HEAP_STORM_FILE "storm"
#define HEAP_STORM_SITES 8U

/* One size each. */
#define HEAP_STORM_SIZES                                                                 \
	{                                                                                \
		16, 100, 400, 1000, 3000, 10000, 60000, 300000                           \
	}

struct heap_storm {
	struct {
		_Atomic int64_t allocs_begun, allocs_done;
		_Atomic int64_t frees_begun, frees_done;
		int64_t unused[4];
	} sites[HEAP_STORM_SITES];
	_Atomic int64_t threads;
};

#endif
