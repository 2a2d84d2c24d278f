/*
 * A sink into memory that can fail at a chosen write.
 */
#ifndef MEMORY_SINK_H
#define MEMORY_SINK_H

#include "sp_sink.h"

#include <stdint.h>

struct memory_sink {
	struct sp_sink sink; /* first member */
	uint8_t *data;
	size_t size_bytes;
	size_t writes;
	size_t failing_write; /* from 1; 0: none. All after it fail too. */
	int error;	      /* what a failing write returns, such as -ENOSPC */
};

void memory_sink_init(struct memory_sink *sink);
/* Forgets what was written; it still fails where it is told to. */
void memory_sink_empty(struct memory_sink *sink);
void memory_sink_fini(struct memory_sink *sink);

#endif
