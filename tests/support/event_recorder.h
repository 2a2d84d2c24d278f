/*
 * A reporter of events that keeps what it is told and holds it against the rules of
 * sp_reporter.h, call by call. One for each recorder that a test begins; what breaks a
 * rule is an assertion that fails.
 */
#ifndef EVENT_RECORDER_H
#define EVENT_RECORDER_H

#include "sp_reporter.h"

#include <pthread.h>

struct recorded_span {
	const struct sp_span_info *info; /* the reporter's own, alive while it is */
	uint64_t id;
	char name[64];
	uint64_t scope[8];
	uint32_t scope_count;
	uint64_t user_ns, system_ns, busy_ns, idle_ns;
	uint64_t allocations, alloc_bytes;
	uint64_t heap_bytes, heap_count; /* last total */
	char labels[128]; /* "key=value," of each, as they were told last */
	unsigned int label_calls, cpu_calls, wall_calls, allocation_calls, heap_calls;
	unsigned int created_at;   /* number of the call */
	unsigned int destroyed_at; /* 0: it is not */
};

struct event_recorder {
	struct sp_reporter_ops ops; /* to be begun */
	struct sp_reporter_config config;
	struct recorded_span *spans;
	size_t count, capacity;
	unsigned int calls, inits, finis, flushes;
	unsigned int unflushed_calls;
	uint64_t samples, sampled_ns, missed_samples, largest_batch;
	uint64_t last_labelled; /* samples with a span_name */
	pthread_t thread;
	/* Fails from this call on; 0: never. */
	unsigned int fails_at;
	int error;	 /* of init() */
	int flush_error; /* of each flush() */
};

/* Only so many at once. */
#define EVENT_RECORDERS_MAX 3

/* number: from 0; recorders are told apart by it. */
struct event_recorder *event_recorder_create(unsigned int number);
void event_recorder_destroy(struct event_recorder *recorder);

/* The last span of that name; NULL if there was none. */
const struct recorded_span *event_recorder_find(const struct event_recorder *recorder,
						const char *name);
/* NULL if it was never told of. */
const struct recorded_span *event_recorder_span(const struct event_recorder *recorder,
						uint64_t id);

#endif
