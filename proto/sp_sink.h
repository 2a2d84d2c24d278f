/*
 * Where bytes go. The seam for tests: a memory sink makes whatever writes testable.
 */
#ifndef SP_SINK_H
#define SP_SINK_H

#include <stddef.h>

struct sp_sink {
	/* Context: collector. Takes all of the data and returns 0, or -errno. */
	int (*write)(struct sp_sink *sink, const void *data, size_t size_bytes);
};

#endif
